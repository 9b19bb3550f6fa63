"""Many trainings on the same batches in one compiled program."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._deprecations import respelled
from ..core._check import check_key
from ..typing import FloatLike, IntLike, KeyLike, NumberedBatches, OptimizerLike, PyTree
from ._checks import as_keys, check_alike, check_params_list, check_trained
from ._identity import optimizer_print
from ._loop import Run, drive
from ._members import ByMember, grouped_optimizers, rated, with_rates
from ._settings import OPTIONS, SettingsLike, check_counts, check_settings
from ._state import State, initial_state
from ._task import After, Loss, LossTask
from ._train import PER_DISPATCH, FitResult, as_batches, data_print, described


@respelled(
    **OPTIONS,
    key="keys=jax.random.split(key, members)",
    seeds="keys=jax.random.split(key, members)",
    seed="keys=jax.random.split(key, members)",
)
def sweep(
    params: Sequence[PyTree] | PyTree,
    batches: NumberedBatches,
    loss: Loss,
    optimizers: OptimizerLike | Sequence[OptimizerLike],
    *,
    steps: IntLike,
    members: Sequence[PyTree] | None = None,
    rates: Sequence[FloatLike] | None = None,
    keys: KeyLike | None = None,
    extra: PyTree = None,
    after: After | None = None,
    is_trained: PyTree = eqx.is_inexact_array,
    settings: SettingsLike | None = None,
) -> list[FitResult]:
    r"""$\min_{\theta_i} \mathbb E_x L(\theta_i; x, m_i)$ for many i: each batch is read once for all members.

    The members are stacked on a leading axis and trained under `vmap` in one program.

    **Arguments:**

    - `params`: a list of trees of the same structure and shapes, one for each member.
    - `batches`, `loss`, `steps`, `after`, `is_trained`, `settings`: as in `train`.
    - `optimizers`: one of optax for all members, or a list. Members with the same object share one
      update: prefer `rates` to optimizers that differ in the learning rate alone.
    - `members`: a list of trees of numbers of the same structure, such as `{"sparsity": 0.1}`; the loss
      reads those of its member as `now.member`.
    - `rates`: a list of numbers; the updates of member i are multiplied by `rates[i]`.
    - `keys`: `jax.random.key`s `(member,)`, or a list of them, from which `now.key` is folded.
    - `extra`: as in `train`; each member begins with a copy.

    **Returns:** a list of `FitResult`, one for each member. A member that diverges has NaN in its
    history and harms no other.

    **Raises:** ValueError where the numbers of members or the shapes of their parameters differ, for an
    optimizer with a line search, and as `train`.

    ```python
    starts = [jnp.zeros(3), jnp.ones(3)]
    found = ji.fit.sweep(starts, batches, loss, optax.sgd(0.1), rates=[1.0, 0.1], steps=100)
    [one.history["loss"][-1] for one in found]
    ```

    Law: each member is what `train` gives for it alone, to 1e-5.
    """
    settings = check_settings(settings)
    check_counts(steps=steps)
    steps = int(steps)
    check_params_list(params)
    params = list(params)
    if keys is not None:
        call = "keys=jax.random.split(jax.random.key(0), members)"
        keys = as_keys(keys, len(params), f"ji.fit.sweep(params, batches, loss, optimizers, {call}, ...)")
    many: Any = optimizers if isinstance(optimizers, list) else [optimizers] * len(params)
    counts = {"params": len(params), "optimizers": len(many)}
    for name, each in (("members", members), ("rates", rates), ("keys", keys)):
        counts |= {} if each is None else {name: len(each)}
    if len(set(counts.values())) > 1 or not params:
        raise ValueError(
            f"A sweep has as many of each as it has members, at least one; got {counts}. For every pair of "
            "two settings list the pairs: [(a, b) for a in first for b in second]."
        )
    if keys is not None:
        check_key(
            keys[0], "ji.fit.sweep(params, batches, loss, optimizer, keys=jax.random.split({}, members), ...)"
        )
    check_alike(params, "params")
    if members is not None:
        check_alike(members, "members")
    batch, read = as_batches(batches, True)
    plain = many if rates is None else [rated(one) for one in many]
    order, optimizer = grouped_optimizers(plain)
    arrays, statics = zip(*(eqx.partition(params[i], eqx.is_array) for i in order), strict=True)
    check_trained(eqx.filter(arrays[0], is_trained))
    if not all(eqx.tree_equal(statics[0], one) for one in statics):
        raise ValueError(
            "Members differ in arrays alone: their other leaves, such as functions and texts, are equal. "
            "Train those that differ in a function with ji.fit.train."
        )
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(v) for v in leaves]), *trees)
    task = LossTask(
        optimizer,
        loss,
        statics[0],
        after,
        None if keys is None else keys[np.asarray(order)],
        None if members is None else stack([members[i] for i in order]),
        True,
        is_trained,
    )
    state = stacked_state(
        stack(arrays),
        optimizer,
        task.which,
        None if extra is None else stack([extra] * len(params)),
        None if rates is None else [float(rates[i]) for i in order],
        settings.average is not None,
    )
    places = [(0, order.index(i)) for i in range(len(params))]
    run = Run("sweep", [task], [state], batch, read=read, members=places, decay=settings.average)
    known: dict[str, Any] = {}
    if settings.checkpoint is not None:
        trained = [eqx.filter(arrays[order.index(i)], task.which) for i in range(len(params))]
        known = {
            "params": [described(arrays[order.index(i)]) for i in range(len(params))],
            "members": [described(one) for one in members or ()],
            "rates": None if rates is None else [float(rate) for rate in rates],
            "keys": None if keys is None else np.asarray(jax.random.key_data(keys)).ravel().tolist(),
            "data": data_print(batches, batch),
            "optimizer": [optimizer_print(one, own, steps) for one, own in zip(many, trained, strict=True)],
        }
    about = {"steps": steps, "average": settings.average, **known}
    histories = drive(run, settings, steps=steps, per_dispatch=PER_DISPATCH, about=about)
    return [
        FitResult(eqx.combine(run.params(i), statics[0]), history, member_state(run.states[0], place[1]))
        for i, (history, place) in enumerate(zip(histories, places, strict=True))
    ]


def stacked_state(
    params: PyTree,
    optimizer: ByMember,
    is_trained: PyTree,
    extra: PyTree = None,
    rates: Sequence[float] | None = None,
    averaged: bool = False,
) -> State:
    """The state of members on a leading axis before the first step; `rates` for parts of `rated`."""
    state = initial_state(params, optimizer, is_trained, extra=extra, averaged=averaged)  # pyright: ignore[reportArgumentType]
    if rates is None:
        return state
    factors = jnp.asarray(rates, jnp.float32)
    moved = with_rates(state.optimizer_state, factors, optimizer.slices)
    return eqx.tree_at(lambda s: s.optimizer_state, state, moved)


def member_state(state: State, member: int) -> State:
    """The state of one member of a stack; the optimizer's state stays that of all."""
    pick = lambda tree: jax.tree.map(lambda leaf: leaf[member], tree)
    return State(
        pick(state.params), state.optimizer_state, state.step, pick(state.extra), pick(state.average)
    )
