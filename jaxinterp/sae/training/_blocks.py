r"""A step of a dictionary block of features by block: no gradient and no array of all features of a batch is held."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

from ..._arguments import as_int
from ...fit._state import Now
from ...fit._step import apply_optimizer
from ...mesh._dictionaries import feature_axis
from ...typing import ArrayLike, IntLike, OptimizerLike, PyTree
from ..kinds._losses import Progress
from ..kinds._parts import Part, PartPlace
from ._state import DictionaryTask

ARRAYS = 4  # of (batch, block), in float32, that a block holds at once
EASY = 128  # a block of a multiple of so many features fits an accelerator's tiles


class BlocksTask(DictionaryTask):
    r"""The loss of one dictionary of a `PartsKind`, whose features are updated `block` at a time.

    The sums over features are added up first. Their gradient then gives that of each block, which is used at once.
    Pre-activations are computed twice, and for kinds with a choice three times.
    """

    block: int

    def moved(
        self, params: PyTree, fixed: PyTree, optimizer_state: PyTree, batch: PyTree, now: Now
    ) -> tuple[PyTree, PyTree, Any]:
        x, y = batch[self.site]
        dead = now.extra.silent >= self.dead_after
        progress = Progress(now.step, fixed.kind.warm(now.step.astype(jnp.float32), self.steps), dead)
        whole = eqx.combine(params, fixed)
        kind, m, size = whole.kind, whole.features, self.block
        turns = jnp.int32(0), jnp.int32(m // size)
        choice = jax.lax.stop_gradient(kind.choice(whole, x, progress, ARRAYS * len(x) * size))
        still, shared = _split(fixed)[0], _split(params)[1]

        def part(own: PyTree, shared: PyTree, first: Any) -> Part:
            """What the block with the trained leaves `own` adds; `shared` ones have no axis of features."""
            sae = eqx.combine(own, shared, _block(still, first, size), fixed)
            own_dead = jax.lax.dynamic_slice_in_dim(dead, first, size)
            return kind.part(sae, x, progress._replace(dead=own_dead), PartPlace(first, choice))

        def add(i: Any, carry: Any) -> Any:
            # Without the barrier the compiler keeps a rounded copy of all weights during the loop.
            sums, own = carry[0], jax.lax.optimization_barrier(carry[1])
            more = part(_block(own, i * size, size), shared, i * size).sums
            return jax.tree.map(jnp.add, sums, more), own

        zero = lambda tree: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
        head = _block(_split(params)[0], 0, size)
        sums = zero(jax.eval_shape(lambda: part(head, shared, 0).sums))
        sums, own = jax.lax.fori_loop(*turns, add, (sums, _split(params)[0]))

        def total(sums: PyTree, shared: PyTree) -> Any:
            terms = kind.terms(eqx.combine(shared, head, fixed), sums, x, y, progress)
            first, *rest = terms.values()
            return sum(rest, first), terms

        (value, terms), slopes = jax.value_and_grad(total, (0, 1), has_aux=True)(sums, shared)

        def move(i: Any, carry: Any) -> Any:
            own, memory, of_shared, times, least = carry
            first = i * size
            here = _block(own, first, size)
            _, back, f = jax.vjp(
                lambda own, shared: _pair(part(own, shared, first)), here, shared, has_aux=True
            )
            gradient, more = back(slopes[0])
            new, kept = self._updated(gradient, zero(shared), here, shared, _block(memory, first, size), rest)
            # Without the barrier whole arrays are read again after they were written, and are copied for that.
            new, kept = jax.lax.optimization_barrier((_split(new)[0], _split(kept)[0]))
            count = jnp.sum(f != 0, 0, dtype=jnp.float32)
            times = jax.lax.dynamic_update_slice_in_dim(times, count, first, 0)
            least = jnp.minimum(least, jnp.min(jnp.where(f > 0, f, jnp.inf)).astype(jnp.float32))
            own, memory = _written(own, new, first), _written(memory, kept, first)
            return own, memory, jax.tree.map(jnp.add, of_shared, more), times, least

        memory, rest = _split(optimizer_state)
        start = own, memory, slopes[1], jnp.zeros(m, jnp.float32), jnp.float32(jnp.inf)
        own, memory, of_shared, times, least = jax.lax.fori_loop(*turns, move, start)
        # The optimizer's count and its state of shared leaves move once, with the gradient of all blocks.
        new, kept = self._updated(zero(head), of_shared, head, shared, _block(memory, 0, size), rest)
        numbers = {"loss": value, **terms, "l0": jnp.sum(times) / len(x)}
        aux = numbers, times > 0, kind.updates(whole, least, progress), dead
        return eqx.combine(own, _split(new)[1]), eqx.combine(memory, _split(kept)[1]), aux

    def _updated(
        self, own: PyTree, of_shared: PyTree, here: PyTree, shared: PyTree, memory: PyTree, rest: PyTree
    ) -> tuple[PyTree, PyTree]:
        """Trained leaves and the optimizer's state after an update: those of a block, and shared ones."""
        params = eqx.combine(here, shared)
        gradient, state = eqx.combine(own, of_shared), eqx.combine(memory, rest)
        updates, state = apply_optimizer(self.optimizer, gradient, state, params)
        return eqx.apply_updates(params, updates), state


def block_of(
    kind: Any, optimizer: OptimizerLike, sae: Any, rows: int, max_bytes: IntLike, mesh: Any = None
) -> int:
    """How many features a block has, so that its arrays take at most `max_bytes`. Raises ValueError where no step in blocks is possible."""
    name, max_bytes = type(kind).__name__, as_int(max_bytes, "max_bytes", 1)
    if mesh is not None:
        raise ValueError(
            "A mesh divides the features over its devices, and each updates its own at once: give mesh= or "
            "max_bytes=, not both."
        )
    if not kind.grain:
        raise ValueError(
            f"The loss of {name} is no sum over features, so that its steps take all features at once. Leave "
            "max_bytes= out, or divide the features over devices: mesh=."
        )
    each = 4 * (ARRAYS * rows + 4 * (sae.d + sae.decoder.shape[-1]))
    fitting = [
        size for size in range(1, kind.grain + 1) if not kind.grain % size and size * each <= max_bytes
    ]
    if not fitting:
        raise ValueError(
            f"max_bytes={max_bytes:,} is less than one feature of {rows} rows takes: {each:,}. Give at least "
            f"max_bytes={EASY * each:,}, or fewer rows: batch_size=."
        )
    check_separable(optimizer, sae)
    return max([size for size in fitting if not size % EASY] or fitting)


def check_separable(optimizer: OptimizerLike, sae: Any) -> None:
    """An optimizer that treats each feature by itself, seen by its updates of four features. Raises ValueError."""
    trained = eqx.filter(sae, sae.trainable())
    if not (_remembers_leaves(optimizer, trained) and _moves_alone(optimizer, trained)):
        raise ValueError(
            "max_bytes= needs an optimizer that treats each feature by itself, as ji.sae.adam(1e-4, steps) does. "
            "This one does not: it clips by the norm of all gradients (clip_norm=, which is in the recipe of Standard), "
            "or sums over features. Give another, or leave max_bytes= out."
        )


def _remembers_leaves(optimizer: OptimizerLike, trained: PyTree) -> bool:
    """Whether its state has numbers, and arrays with the names and shapes of trained leaves, and nothing else."""
    named = lambda tree: [
        (_name(path), np.shape(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    own = dict(named(trained))
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(optimizer.init, trained)
    whole = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), state)
    return all(not shape or own.get(name) == shape for name, shape in named(whole))


def _moves_alone(optimizer: OptimizerLike, trained: PyTree) -> bool:
    """Whether two updates of four features are those of two and two of them."""
    draw = np.random.default_rng(0)

    def small(path: Any, leaf: Any) -> ArrayLike:
        at = feature_axis(path, leaf)
        shape = tuple(4 if i == at else min(3, side) for i, side in enumerate(np.shape(leaf)))
        return jnp.asarray(draw.normal(size=shape).astype(np.float32))

    drawn = lambda: jax.tree_util.tree_map_with_path(small, trained)
    params, gradients = drawn(), [drawn(), drawn()]

    def updates(take: Callable[[PyTree], PyTree]) -> list[Any]:
        own, found = take(params), []
        with jax.numpy_dtype_promotion("standard"):
            state = take(optimizer.init(params))
        for gradient in gradients:
            moved, state = apply_optimizer(optimizer, take(gradient), state, own)
            found.append(moved)
        return found

    def pair(first: int) -> Callable[[PyTree], PyTree]:
        return lambda tree: eqx.combine(_block(_split(tree)[0], first, 2), _split(tree)[1])

    whole = updates(lambda tree: tree)
    return all(
        np.allclose(one, other, rtol=1e-4, atol=1e-7)
        for take in (pair(0), pair(2))
        for one, other in zip(jax.tree.leaves(take(whole)), jax.tree.leaves(updates(take)), strict=True)
    )


def _name(path: Any) -> str:
    return path[-1].name if path and isinstance(path[-1], jax.tree_util.GetAttrKey) else ""


def _pair(found: Part) -> tuple[Any, Any]:
    return found.sums, found.features


def _split(tree: PyTree) -> tuple[PyTree, PyTree]:
    """The leaves with an axis of features, and the others."""
    flags = jax.tree_util.tree_map_with_path(lambda path, leaf: feature_axis(path, leaf) is not None, tree)
    return eqx.partition(tree, flags)


def _block(tree: PyTree, first: Any, size: int) -> PyTree:
    """Features from `first` on, of leaves that have an axis of features."""

    def cut(path: Any, leaf: Any) -> Any:
        axis = feature_axis(path, leaf)
        return jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), first, size, axis or 0)

    return jax.tree_util.tree_map_with_path(cut, tree)


def _written(tree: PyTree, block: PyTree, first: Any) -> PyTree:
    """The leaves with those of a block in their place."""

    def write(path: Any, leaf: Any, own: Any) -> Any:
        if (
            own.ndim > 1
        ):  # else a TPU may turn the rows of whole arrays round, which needs a second copy of them
            own = with_layout_constraint(own, Layout(tuple(range(own.ndim))))
        return jax.lax.dynamic_update_slice_in_dim(leaf, own, first, feature_axis(path, leaf) or 0)

    return jax.tree_util.tree_map_with_path(write, tree, block)
