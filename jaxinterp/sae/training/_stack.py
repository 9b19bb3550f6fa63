"""Steps of a stack of dictionaries: gradients under `vmap`, then each optimizer on its members."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ...fit._state import Now
from ...fit._step import Slope, Task
from ...typing import PyTree
from ..kinds._losses import Progress
from ._state import Counts, counted, gradient_of


class StackTask(Task):
    """The losses of several dictionaries of one kind, whose leaves have a leading member axis.

    - `optimizer`: of all members, `fit._members.ByMember`.
    - `site`: the key of their rows in the batch.
    - `steps`: of the whole training, for warm-ups.
    - `dead_after`: `(member,)`, after so many steps without firing a feature is dead.
    - `limit`: `(member,)`, the k of each member, or None where all have the same.
    - `live`: `(member, feature)`, which features a member has, or None where all have the same.
    """

    optimizer: Any
    site: Any
    steps: int
    dead_after: Int[Array, " member"]
    limit: Int[Array, " member"] | None
    live: Bool[Array, "member feature"] | None

    def is_trained(self, params: PyTree) -> PyTree:
        return params.trainable()

    def slope(self, params: PyTree, fixed: PyTree, batch: PyTree, now: Now) -> Slope:
        x, y = batch[self.site]
        dead = self.dead(now.extra)
        warm = fixed.kind.warm(now.step.astype(jnp.float32), self.steps)
        # One flag for all members: under `vmap` a condition of each would compute both sides.
        revive = jnp.any(dead)

        def member(params: PyTree, fixed: PyTree, dead: Array, limit: Any, live: Any) -> Any:
            return gradient_of(params, fixed, x, y, Progress(now.step, warm, dead, limit, revive), live)

        gradient, aux = jax.vmap(member)(params, fixed, dead, self.limit, self.live)
        return Slope(gradient, (*aux, dead, self.live))

    def after(self, params: PyTree, extra: Any, aux: Any, now: Now) -> tuple[PyTree, Counts, dict[str, Any]]:
        return counted(params, extra, *aux)

    def dead(self, counts: Counts) -> Array:
        """Which features of each member have not fired for long."""
        silent = counts.silent
        dead = silent >= self.dead_after.reshape(-1, *[1] * (silent.ndim - 1))
        if self.live is not None:
            dead &= self.live.reshape(len(self.live), *[1] * (dead.ndim - 2), -1)
        return dead
