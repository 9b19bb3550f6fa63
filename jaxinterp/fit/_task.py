"""A task from a loss that a user writes."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..typing import KeyLike, PyTree
from ._checks import check_optimizer, check_trained, loss_numbers
from ._state import Now
from ._step import Slope, Task

Loss: TypeAlias = Callable[[PyTree, PyTree, Now], tuple[Array, Mapping[str, Array]]]
"A function of parameters, a batch and `Now` to a number `()` and more numbers by name."
After: TypeAlias = Callable[[PyTree, PyTree, Now], tuple[PyTree, PyTree]]
"A function of parameters, `extra` and `Now` to new parameters and a new `extra`."


class LossTask(Task):
    """What `train` and `sweep` minimise: a loss `(params, batch, now) -> (value, numbers)`.

    - `optimizer`: any of optax.
    - `loss`: a function, or an `equinox.Module` that is called, whose arrays are then data.
    - `static`: the leaves of the parameters that are no arrays.
    - `follow`: None, or a function `(params, extra, now) -> (params, extra)` after each update.
    - `key`: folded with the step for `now.key`; one key for each member of a sweep; or None.
    - `member`: in a sweep the numbers of the members on a leading axis, or None.
    - `many`: whether parameters have a leading member axis.
    - `which`: which arrays are trained, as `equinox.partition` takes it.
    """

    optimizer: Any
    loss: Loss
    static: PyTree
    follow: After | None = None
    key: KeyLike | None = None
    member: PyTree = None
    many: bool = eqx.field(static=True, default=False)
    which: PyTree = eqx.is_inexact_array

    def is_trained(self, params: PyTree) -> PyTree:
        return jax.tree.map(self.which, params) if callable(self.which) else self.which

    def slope(self, params: PyTree, fixed: PyTree, batch: PyTree, now: Now) -> Slope:
        if not self.many:
            return self._one(params, fixed, now.extra, self.key, self.member, batch, now.step)

        def one(params: PyTree, fixed: PyTree, extra: PyTree, key: Any, member: PyTree) -> tuple[PyTree, Any]:
            slope = self._one(params, fixed, extra, key, member, batch, now.step)
            return slope.gradient, slope.aux

        return Slope(*jax.vmap(one)(params, fixed, now.extra, self.key, self.member))

    def _one(
        self,
        params: PyTree,
        fixed: PyTree,
        extra: PyTree,
        key: Any,
        member: PyTree,
        batch: PyTree,
        step: Array,
    ) -> Slope:
        now = self._now(step, extra, key, member)

        def objective(params: PyTree) -> tuple[Array, dict[str, Array]]:
            value, aux = loss_numbers(self.loss(eqx.combine(params, fixed, self.static), batch, now))
            return value.astype(jnp.float32), {"loss": value, **aux}

        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        return Slope(gradient, aux, value, lambda params: objective(params)[0])

    def after(
        self, params: PyTree, extra: PyTree, aux: Any, now: Now
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        follow = self.follow
        if follow is not None:

            def one(params: PyTree, extra: PyTree, key: Any, member: PyTree) -> tuple[PyTree, PyTree]:
                whole, extra = follow(
                    eqx.combine(params, self.static), extra, self._now(now.step, extra, key, member)
                )
                return eqx.filter(whole, eqx.is_array), extra

            run = jax.vmap(one) if self.many else one
            params, extra = run(params, extra, self.key, self.member)
        return params, extra, aux

    def _now(self, step: Array, extra: PyTree, key: Any, member: PyTree) -> Now:
        return Now(step, extra, None if key is None else jax.random.fold_in(key, step), member)


def loss_task(params: PyTree, loss: Any, optimizer: Any, **fields: Any) -> tuple[LossTask, PyTree]:
    """The task of a loss, and the arrays of `params`; its other leaves stay in the task.

    Raises ValueError for an optimizer that is none of optax, and where nothing is trained.
    """
    check_optimizer(optimizer)
    arrays, static = eqx.partition(params, eqx.is_array)
    task = LossTask(optimizer, loss, static, **fields)
    check_trained(eqx.filter(arrays, task.is_trained(arrays)))
    return task, arrays
