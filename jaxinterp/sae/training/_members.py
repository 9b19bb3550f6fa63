r"""Members of a sweep, and the stacks that they are trained in."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..files._origin import Origin, with_origin
from ._resample import resample
from ._stack import cut
from ._state import State


class Member:
    """One dictionary of a sweep."""

    def __init__(self, kind: Any, optimizer: Any, seed: int | None, rate: float | int | None):
        self.kind, self.optimizer, self.seed, self.rate = kind, optimizer, seed, rate

    def begin(self, key: Any, site: Any, x: Any, y: Any, rows: int, steps: int) -> None:
        first = jax.random.split(key)[0]
        first = first if self.seed is None else jax.random.fold_in(key, self.seed)
        self.sae = with_origin(self.kind.start(first, x, y), Origin())
        kind = self.kind = self.sae.kind
        self.site, self.dead_after = site, kind.dead_after(rows)
        transform = kind.optimizer(steps) if self.optimizer is None else self.optimizer
        self.plain = transform if self.rate is None else _rated(transform)
        self.transform = kind.constrain(self.plain)

    @property
    def signature(self) -> Any:
        """What members of one stack have in common."""
        kind = self.kind
        # The draw of resampling depends on the number of features.
        size = kind.features if kind.renewals else None
        arrays = {**vars(self.sae), "metric": kind.metric, "origin": 0}
        absent = tuple(name for name, value in arrays.items() if value is None)
        return self.site, kind.program(), size, absent, self.rate is None


class Group:
    """Members of one stack: their state, and what tells them apart."""

    def __init__(self, members: list[Member]) -> None:
        order = {id(one.transform): i for i, one in reversed(list(enumerate(members)))}
        self.members = sorted(members, key=lambda one: order[id(one.transform)])
        self.site = members[0].site
        largest = max(self.members, key=lambda one: one.sae.features).sae
        limit = live = None
        sizes = np.asarray([one.sae.features for one in self.members])
        if largest.kind.limit is not None:
            limits = np.asarray([one.kind.limit for one in self.members])
            largest = largest.replace(kind=largest.kind.with_limit(int(limits.max())))
            limit = jnp.asarray(limits, jnp.int32) if len(set(limits)) > 1 else None
        self.kind = largest
        if len(set(sizes)) > 1:
            live = jnp.arange(sizes.max(), dtype=jnp.int32)[None] < jnp.asarray(sizes, jnp.int32)[:, None]
        after = jnp.asarray([one.dead_after for one in self.members], jnp.int32)
        self.apart = after, limit, live
        cuts, self.transforms = [0], []
        for i, one in enumerate(self.members):
            if not i or one.transform is not self.members[i - 1].transform:
                self.transforms.append(one.transform)
                cuts[-1:] = [i, i]
            cuts[-1] = i + 1
        self.cuts = tuple(cuts)

    def begin(self, average: Any) -> State:
        named = [[leaf for _, leaf in jax.tree_util.tree_leaves_with_path(one.sae)] for one in self.members]
        paths = jax.tree_util.tree_leaves_with_path(self.kind)
        leaves = [
            jnp.stack([_padded(jax.tree_util.keystr(path), row[i], like) for row in named])
            for i, (path, like) in enumerate(paths)
        ]
        sae = jax.tree.unflatten(jax.tree.structure(self.kind), leaves)
        params, _ = eqx.partition(sae, sae.trainable())
        moments = []
        for i, transform in enumerate(self.transforms):
            here = slice(self.cuts[i], self.cuts[i + 1])
            state = jax.vmap(transform.init)(cut(params, here))
            if self.members[here.start].rate is not None:
                state = state[0], jnp.asarray([m.rate for m in self.members[here]], jnp.float32)
            moments.append(state)
        silent = jnp.zeros((len(self.members), *self.kind.encoder_bias.shape), jnp.int32)
        average = None if average is None else jax.tree.map(jnp.copy, params)
        return State(sae, tuple(moments), silent, average, jnp.zeros((), jnp.int32))

    def settings(self) -> Any:
        """For `several`: what is fixed."""
        return self.site, tuple(self.transforms), self.cuts, self.apart

    def result(self, state: State, i: int) -> Any:
        """Member i, cut to its size."""
        own = self.members[i].sae
        sae = state.sae if state.average is None else eqx.combine(state.average, state.sae)
        pairs = zip(jax.tree.leaves(sae), jax.tree.leaves(own), strict=True)
        leaves = [a[(i, *(slice(n) for n in b.shape))] for a, b in pairs]
        found = jax.tree.unflatten(jax.tree.structure(own), leaves)
        return found if state.average is None else own.kind.project(found)

    def again(self, state: State, key: Any, x: Any) -> State:
        """Dead features of all members drawn anew."""
        after = self.apart[0]
        dead = state.silent >= after[:, None]
        made = []
        for i, moments in enumerate(state.moments):
            here = slice(self.cuts[i], self.cuts[i + 1])
            draw = eqx.filter_vmap(resample, in_axes=(None, 0, 0, 0, None))
            made.append(draw(key, cut(state.sae, here), moments, dead[here], x))
        sae = jax.tree.map(lambda *parts: jnp.concatenate(parts), *(sae for sae, _ in made))
        silent = jnp.where(dead, 0, state.silent)
        return State(sae, tuple(m for _, m in made), silent, state.average, state.step)


def _padded(name: str, leaf: Any, like: Any) -> Any:
    """A leaf with the shape of the largest; rows of the decoder that are not there have norm 1."""
    short = [(0, n - m) for n, m in zip(like.shape, leaf.shape, strict=True)]
    value = leaf.shape[-1] ** -0.5 if name == ".decoder" else 0
    return jnp.pad(leaf, short, constant_values=value) if any(b for _, b in short) else leaf


@functools.lru_cache(32)
def _rated(transform: Any) -> Any:
    """The transform with its updates multiplied by a number that is kept in its state."""

    def init(params: Any) -> Any:
        return transform.init(params), jnp.ones((), jnp.float32)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        updates, inner = transform.update(updates, state[0], params)
        return jax.tree.map(lambda u: u * state[1], updates), (inner, state[1])

    return optax.GradientTransformation(init, update)


def grouped(members: list[Member]) -> list[Group]:
    """Members that can share a stack, together."""
    found: dict[Any, list[Member]] = {}
    for one in members:
        found.setdefault(one.signature, []).append(one)
    return [Group(some) for some in found.values()]
