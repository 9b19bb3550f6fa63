"""Members of a sweep: several trainings on the leading axis of one state, each with its own optimizer."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..typing import OptimizerLike, PyTree
from ._checks import check_optimizer
from ._step import apply_optimizer


@functools.lru_cache(32)  # one object for one optimizer: a second training compiles nothing again
def rated(optimizer: OptimizerLike) -> optax.GradientTransformation:
    r"""An optimizer whose updates are multiplied by a number in its state, $(u, r) \mapsto r\,u$.

    The number r is 1 at first. Members of a sweep that differ only in r share one update.

    ```python
    optimizer = ji.fit.rated(optax.adam(0.1))
    inner, r = optimizer.init(jnp.zeros(3))
    change, _ = optimizer.update(jnp.ones(3), (inner, 0.5 * r))     # half of the update of Adam
    ```
    """
    check_optimizer(optimizer)

    def init(params: PyTree) -> tuple[PyTree, Array]:
        return optimizer.init(params), jnp.ones((), jnp.float32)

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        updates, inner = apply_optimizer(optimizer, updates, state[0], params)
        return jax.tree.map(lambda u: u * state[1].astype(u.dtype), updates), (inner, state[1])

    return optax.GradientTransformation(init, update)


class ByMember:
    """An optimizer for trees with a leading member axis: members `cuts[i]:cuts[i + 1]` have `parts[i]`.

    Two of the same parts and cuts are equal, so that a second sweep compiles nothing again.
    """

    def __init__(self, parts: Sequence[OptimizerLike], cuts: Sequence[int]) -> None:
        self.parts, self.cuts = tuple(parts), tuple(cuts)

    @property
    def slices(self) -> list[slice]:
        """The members of each part."""
        return [slice(a, b) for a, b in itertools.pairwise(self.cuts)]

    def init(self, params: PyTree) -> tuple[PyTree, ...]:
        """The state of each part, with its members on the leading axis."""
        pairs = zip(self.parts, self.slices, strict=True)
        return tuple(jax.vmap(part.init)(members_of(params, here)) for part, here in pairs)

    def update(self, updates: PyTree, state: tuple[PyTree, ...], params: PyTree = None) -> tuple[PyTree, Any]:
        """The updates of all members, and the new states."""
        found = []
        for part, here, own in zip(self.parts, self.slices, state, strict=True):
            apply = jax.vmap(functools.partial(apply_optimizer, part))
            found.append(apply(members_of(updates, here), own, members_of(params, here)))
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(new for new, _ in found))
        return joined, tuple(own for _, own in found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByMember) and (self.parts, self.cuts) == (other.parts, other.cuts)

    def __hash__(self) -> int:
        return hash((self.parts, self.cuts))


def with_rates(state: tuple[PyTree, ...], rates: Float[Array, " member"], slices: list[slice]) -> Any:
    """The state of `ByMember` over parts of `rated`, with these factors."""
    return tuple((own[0], rates[here]) for own, here in zip(state, slices, strict=True))


def members_of(tree: PyTree, here: slice) -> PyTree:
    """Some members of a tree with a leading member axis."""
    return jax.tree.map(lambda leaf: leaf[here], tree)


def grouped_optimizers(optimizers: Sequence[OptimizerLike]) -> tuple[list[int], ByMember]:
    """An order of the members in which those with the same optimizer stand together, and the optimizer
    of all of them in that order."""
    first: dict[int, int] = {}
    for i, one in enumerate(optimizers):
        check_optimizer(one)
        first.setdefault(id(one), i)
    order = sorted(range(len(optimizers)), key=lambda i: first[id(optimizers[i])])
    parts, cuts = [], [0]
    for place, i in enumerate(order):
        if not parts or optimizers[i] is not parts[-1]:
            parts.append(optimizers[i])
            cuts[-1:] = [place, place]
        cuts[-1] = place + 1
    return order, ByMember(parts, cuts)
