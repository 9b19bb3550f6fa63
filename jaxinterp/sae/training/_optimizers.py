"""Optimisers of the published recipes, as optax transforms."""

import functools
from typing import Any

import optax


@functools.lru_cache(32)
def adam(
    rate: float,
    steps: int,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    warm: int = 0,
    decay: float = 0.0,
    clip: float | None = None,
) -> Any:
    r"""Adam at rate $r \min(1, t/t_w)$, falling linearly to 0 over the last `decay` of the steps.

    **Arguments:** `rate`; `steps` of the whole run; `warm` steps of warm-up; `decay` a share of the
    steps; `clip` the largest norm of all gradients together.

    ```python
    optimizer = ji.sae.adam(5e-5, 100_000, decay=0.2, clip=1.0)
    ```
    """
    last = round(decay * steps)
    schedule: Any = optax.constant_schedule(rate)
    if last:
        schedule = optax.join_schedules([schedule, optax.linear_schedule(rate, 0.0, last)], [steps - last])
    if warm:
        rise = optax.linear_schedule(0.0, 1.0, warm)
        whole = schedule
        schedule = lambda step: rise(step + 1) * whole(step)
    made = optax.adam(schedule, b1=b1, b2=b2, eps=eps)
    return made if clip is None else optax.chain(optax.clip_by_global_norm(clip), made)
