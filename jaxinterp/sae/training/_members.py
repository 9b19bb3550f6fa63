"""Members of a sweep, and the stacks that they are trained in."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...fit._checks import check_optimizer
from ...fit._members import grouped_optimizers, members_of, rated
from ...fit._state import State
from ...fit._sweep import stacked_state
from ...typing import ArrayLike, KeyLike, OptimizerLike, PyTree
from ..files._origin import Origin, with_origin
from ._resample import resample
from ._stack import StackTask
from ._state import Counts


class Member:
    """One dictionary of a sweep.

    - `kind`: its settings, with weights or without.
    - `optimizer`: any of optax; None: the kind's own recipe.
    - `key`: for its first weights; None: as `train` draws them from the key of the sweep.
    - `rate`: its updates are multiplied by it; None: by nothing.
    """

    def __init__(
        self, kind: Any, optimizer: OptimizerLike | None, key: KeyLike | None, rate: float | int | None
    ) -> None:
        self.kind, self.optimizer, self.key, self.rate = kind, optimizer, key, rate

    def begin(self, key: KeyLike, site: Any, x: ArrayLike, y: ArrayLike, rows: int, steps: int) -> None:
        """Draws the first weights; `rows` is the size of a batch, `key` that of the sweep."""
        first = jax.random.split(key)[0] if self.key is None else self.key
        self.sae = with_origin(self.kind.start(first, x, y), Origin())
        self.kind = kind = self.sae.kind
        self.site, self.dead_after = site, kind.dead_after(rows)
        optimizer = kind.optimizer(steps) if self.optimizer is None else self.optimizer
        check_optimizer(optimizer)
        self.plain = optimizer if self.rate is None else rated(optimizer)
        self.constrained = kind.constrain(self.plain)

    @property
    def signature(self) -> Any:
        """What the members of one stack have in common."""
        kind = self.kind
        # The draw of resampling depends on the number of features.
        size = kind.features if kind.renewals else None
        arrays = {**vars(self.sae), "metric": kind.metric, "origin": 0}
        absent = tuple(name for name, value in arrays.items() if value is None)
        return self.site, kind.program(), size, absent, self.rate is None


class Group:
    """The members of one stack, and the task and the state of all of them."""

    def __init__(self, members: list[Member], steps: int) -> None:
        order, self.optimizer = grouped_optimizers([one.constrained for one in members])
        self.members = [members[i] for i in order]
        self.site = members[0].site
        largest = max(self.members, key=lambda one: one.sae.features).sae
        limit = live = None
        sizes = np.asarray([one.sae.features for one in self.members])
        if largest.kind.limit is not None:
            limits = np.asarray([one.kind.limit for one in self.members])
            largest = largest.replace(kind=largest.kind.with_limit(int(limits.max())))
            limit = jnp.asarray(limits, jnp.int32) if len(set(limits)) > 1 else None
        if len(set(sizes)) > 1:
            live = jnp.arange(sizes.max(), dtype=jnp.int32)[None] < jnp.asarray(sizes, jnp.int32)[:, None]
        self.largest = largest
        after = jnp.asarray([one.dead_after for one in self.members], jnp.int32)
        self.renewals = largest.kind.renewals
        self.task = StackTask(self.optimizer, self.site, steps, after, limit, live)

    def begin(self, averaged: bool) -> State:
        """The state before the first step."""
        named = [[leaf for _, leaf in jax.tree_util.tree_leaves_with_path(one.sae)] for one in self.members]
        paths = jax.tree_util.tree_leaves_with_path(self.largest)
        leaves = [
            jnp.stack([_padded(jax.tree_util.keystr(path), row[i], like) for row in named])
            for i, (path, like) in enumerate(paths)
        ]
        sae = jax.tree.unflatten(jax.tree.structure(self.largest), leaves)
        rates = [one.rate for one in self.members]
        silent = jnp.zeros((len(self.members), *self.largest.encoder_bias.shape), jnp.int32)
        return stacked_state(
            sae,
            self.optimizer,
            sae.trainable(),
            Counts(silent),
            None if None in rates else [float(rate) for rate in rates if rate is not None],
            averaged,
        )

    def result(self, state: State, i: int) -> Any:
        """Member i, cut to its size."""
        own = self.members[i].sae
        sae = state.params if state.average is None else eqx.combine(state.average, state.params)
        pairs = zip(jax.tree.leaves(sae), jax.tree.leaves(own), strict=True)
        leaves = [a[(i, *(slice(n) for n in b.shape))] for a, b in pairs]
        found = jax.tree.unflatten(jax.tree.structure(own), leaves)
        return found if state.average is None else own.kind.project(found)

    def renew(self, state: State, key: KeyLike, x: Array) -> State:
        """Dead features of all members drawn anew."""
        dead = state.extra.silent >= self.task.dead_after[:, None]
        parts = []
        for here, own in zip(self.optimizer.slices, state.optimizer_state, strict=True):
            draw = eqx.filter_vmap(lambda sae, own, dead: resample(sae, own, dead, x, key=key))
            parts.append(draw(members_of(state.params, here), own, dead[here]))
        sae = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(sae for sae, _ in parts))
        counts = Counts(jnp.where(dead, 0, state.extra.silent))
        return State(sae, tuple(own for _, own in parts), state.step, counts, state.average)


def _padded(name: str, leaf: Array, like: PyTree) -> Array:
    """A leaf with the shape of the largest; rows of the decoder that are not there have norm 1."""
    short = [(0, n - m) for n, m in zip(like.shape, leaf.shape, strict=True)]
    value = leaf.shape[-1] ** -0.5 if name == ".decoder" else 0
    return jnp.pad(leaf, short, constant_values=value) if any(b for _, b in short) else leaf


def grouped(members: list[Member], steps: int) -> list[Group]:
    """Members that can share a stack, together."""
    found: dict[Any, list[Member]] = {}
    for one in members:
        found.setdefault(one.signature, []).append(one)
    return [Group(each, steps) for each in found.values()]
