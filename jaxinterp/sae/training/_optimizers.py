"""Optimizers of the published recipes, as optax transforms."""

import functools
from typing import Any

import optax

from ..._arguments import as_int, as_number
from ..._deprecations import respelled
from ...typing import FloatLike, IntLike, OptimizerLike


@respelled(rate="learning_rate=", warm="warmup_steps=", decay="decay_share=", clip="clip_norm=")
@functools.lru_cache(32)
def adam(
    learning_rate: FloatLike,
    steps: IntLike,
    *,
    b1: FloatLike = 0.9,
    b2: FloatLike = 0.999,
    eps: FloatLike = 1e-8,
    warmup_steps: IntLike = 0,
    decay_share: FloatLike = 0.0,
    clip_norm: FloatLike | None = None,
) -> optax.GradientTransformation:
    r"""Adam at rate $r \min(1, t/t_w)$, which falls linearly to 0 over the last part of the steps.

    **Arguments:**

    - `learning_rate`: $r$.
    - `steps`: the number of steps of the whole training.
    - `b1`, `b2`, `eps`: those of `optax.adam`.
    - `warmup_steps`: $t_w$, the number of steps over which the rate rises; 0 by default.
    - `decay_share`: the share of the steps, at the end, over which the rate falls; 0 by default.
    - `clip_norm`: the largest norm of all gradients together; None (the default) clips nothing.

    **Raises:** ValueError for numbers out of their range: a rate of 0 learns nothing, and one below climbs.

    **Returns:** an optimizer of optax. The same arguments give the same object, so that a second training
    compiles nothing again.

    ```python
    optimizer = ji.sae.adam(5e-5, 100_000, decay_share=0.2, clip_norm=1.0)
    ```

    Law: the update of step t is that of `optax.adam` at the rate above.
    """
    learning_rate = as_number(learning_rate, "learning_rate", 1e-12, 1e9)
    steps, warmup_steps = as_int(steps, "steps", 1), as_int(warmup_steps, "warmup_steps", 0)
    last = round(as_number(decay_share, "decay_share", 0, 1) * steps)
    if clip_norm is not None:
        clip_norm = as_number(clip_norm, "clip_norm", 1e-12, 1e12)
    schedule: Any = optax.constant_schedule(learning_rate)
    if last:
        falling = optax.linear_schedule(learning_rate, 0.0, last)
        schedule = optax.join_schedules([schedule, falling], [steps - last])
    if warmup_steps:
        rise = optax.linear_schedule(0.0, 1.0, int(warmup_steps))
        whole = schedule
        schedule = lambda step: rise(step + 1) * whole(step)
    made = optax.adam(schedule, b1=b1, b2=b2, eps=eps)
    if clip_norm is None:
        return made
    clipped = Clipped(*optax.chain(optax.clip_by_global_norm(clip_norm), made))
    clipped.clip_norm, clipped.unclipped = clip_norm, made
    return clipped


class Clipped(optax.GradientTransformation):
    """An optimizer after a clip by the norm of all gradients. It says so: a step in blocks needs the norm before."""

    clip_norm: float
    unclipped: optax.GradientTransformation


def parts_of(optimizer: OptimizerLike) -> tuple[OptimizerLike, float | None]:
    """What is done with clipped gradients, and the norm at which they are clipped; None where nothing is known of one."""
    unclipped = getattr(optimizer, "unclipped", None)  # a copy by `jax.tree.map` has the functions alone
    return (optimizer, None) if unclipped is None else (unclipped, getattr(optimizer, "clip_norm", None))
