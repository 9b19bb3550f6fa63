r"""A step of a dictionary block of features by block: no gradient and no array of all features of a batch is held."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import as_int
from ...fit._state import Now
from ...fit._step import apply_optimizer
from ...typing import IntLike, OptimizerLike, PyTree
from ..kinds._losses import Progress
from ..kinds._parts import Part, PartPlace
from ._optimizers import parts_of
from ._separable import check_separable
from ._slices import block_at, split, written
from ._state import DictionaryTask

ARRAYS = 4  # of (batch, block), in float32, that a block holds at once
SLOW = 8  # so many times fewer features than fit are refused, where features have few divisors
EASY = 128  # a block of a multiple of so many features fits an accelerator's tiles


class BlocksTask(DictionaryTask):
    r"""The loss of one dictionary of a `PartsKind`, whose features are updated `block` at a time.

    The sums over features are added up first. Their gradient then gives that of each block, which is used at once.
    Pre-activations are computed twice, and for kinds with a choice three times. Where the optimizer clips by the norm
    of all gradients, gradients are computed twice, first for their norm.
    """

    block: int
    clip: float | None = None  # `clip_norm` of the optimizer, which is its functions alone inside a program

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
        still, shared = split(fixed)[0], split(params)[1]

        def part(own: PyTree, shared: PyTree, first: Any) -> Part:
            """What the block with the trained leaves `own` adds; `shared` ones have no axis of features."""
            sae = eqx.combine(own, shared, block_at(still, first, size), fixed)
            own_dead = jax.lax.dynamic_slice_in_dim(dead, first, size, -1)
            return kind.part(sae, x, progress._replace(dead=own_dead), PartPlace(first, choice))

        def add(i: Any, carry: Any) -> Any:
            # Without the barrier the compiler keeps a rounded copy of all weights during the loop.
            sums, own = carry[0], jax.lax.optimization_barrier(carry[1])
            more = part(block_at(own, i * size, size), shared, i * size).sums
            return jax.tree.map(jnp.add, sums, more), own

        zero = lambda tree: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
        head = block_at(split(params)[0], 0, size)
        sums = zero(jax.eval_shape(lambda: part(head, shared, 0).sums))
        sums, own = jax.lax.fori_loop(*turns, add, (sums, split(params)[0]))

        def total(sums: PyTree, shared: PyTree) -> Any:
            terms = kind.terms(eqx.combine(shared, head, fixed), sums, x, y, progress)
            first, *rest = terms.values()
            return sum(rest, first), terms

        (value, terms), slopes = jax.value_and_grad(total, (0, 1), has_aux=True)(sums, shared)

        def slope(here: PyTree, first: Any) -> tuple[PyTree, PyTree, Any]:
            """The gradients of a block and of shared leaves, and its features."""
            one = lambda own, shared: _pair(part(own, shared, first))
            _, back, f = jax.vjp(one, here, shared, has_aux=True)
            return *back(slopes[0]), f

        own, scale = self._scale(own, slope, slopes[1], m)

        def move(i: Any, carry: Any) -> Any:
            own, memory, of_shared, times, least = carry
            first = i * size
            here = block_at(own, first, size)
            gradient, more, f = slope(here, first)
            new, kept = self._updated(
                scaled(gradient, scale), zero(shared), here, shared, block_at(memory, first, size), rest
            )
            # Without the barrier whole arrays are read again after they were written, and are copied for that.
            new, kept = jax.lax.optimization_barrier((split(new)[0], split(kept)[0]))
            count = jnp.sum(f != 0, 0, dtype=jnp.float32)
            times = jax.lax.dynamic_update_slice_in_dim(times, count, first, -1)
            least = jnp.minimum(least, jnp.min(jnp.where(f > 0, f, jnp.inf)).astype(jnp.float32))
            own, memory = written(own, new, first), written(memory, kept, first)
            return own, memory, jax.tree.map(jnp.add, of_shared, more), times, least

        memory, rest = split(optimizer_state)
        start = own, memory, slopes[1], jnp.zeros(dead.shape, jnp.float32), jnp.float32(jnp.inf)
        own, memory, of_shared, times, least = jax.lax.fori_loop(*turns, move, start)
        # The optimizer's count and its state of shared leaves move once, with the gradient of all blocks.
        of_shared = scaled(of_shared, scale)
        new, kept = self._updated(zero(head), of_shared, head, shared, block_at(memory, 0, size), rest)
        numbers = {"loss": value, **terms, "l0": jnp.sum(times) / len(x)}
        aux = numbers, times > 0, kind.updates(whole, least, progress), dead
        return eqx.combine(own, split(new)[1]), eqx.combine(memory, split(kept)[1]), aux

    def _scale(self, own: PyTree, slope: Any, of_shared: PyTree, features: int) -> tuple[PyTree, Any]:
        """The same leaves, and the factor by which all gradients are clipped; None where the optimizer does not clip."""
        if self.clip is None:
            return own, None

        def add(i: Any, carry: Any) -> Any:
            own, squares, of_shared = jax.lax.optimization_barrier(carry[0]), *carry[1:]
            gradient, more, _ = slope(block_at(own, i * self.block, self.block), i * self.block)
            return own, squares + squared(gradient), jax.tree.map(jnp.add, of_shared, more)

        turns = jnp.int32(0), jnp.int32(features // self.block)
        own, squares, of_shared = jax.lax.fori_loop(*turns, add, (own, jnp.float32(0), of_shared))
        norm = jnp.sqrt(squares + squared(of_shared))
        return own, jnp.where(norm < self.clip, 1, self.clip / norm)

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
    own = split(eqx.filter(sae, sae.trainable()))[0]
    weights = sum(np.size(leaf) for leaf in jax.tree.leaves(own)) // kind.features
    each = 4 * (ARRAYS * rows * (np.size(sae.encoder_bias) // kind.features) + 4 * weights)
    fitting = [
        size for size in range(1, kind.grain + 1) if not kind.grain % size and size * each <= max_bytes
    ]
    if not fitting:
        raise ValueError(
            f"max_bytes={max_bytes:,} is less than one feature of {rows} rows takes: {each:,}. Give at least "
            f"max_bytes={EASY * each:,}, or fewer rows: batch_size=."
        )
    best, room = max([size for size in fitting if not size % EASY] or fitting), max_bytes // each
    if best < EASY and SLOW * best <= min(room, kind.features):
        raise ValueError(
            f"max_bytes={max_bytes:,} has room for {room:,} of {kind.features:,} features, but blocks of one size, "
            f"each within one group, have {best:,} at most, which is slow. Give features= (and each group) as a "
            f"multiple of {EASY}, or max_bytes={SLOW * best * each - 1:,} to train in such blocks all the same."
        )
    check_separable(parts_of(optimizer)[0], sae)
    return best


def scaled(gradient: PyTree, factor: Any) -> PyTree:
    """A gradient times a number; None leaves it as it is."""
    if factor is None:
        return gradient
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), gradient)


def squared(gradient: PyTree) -> Any:
    """The squared norm of all leaves, in float32."""
    return sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(gradient))


def _pair(found: Part) -> tuple[Any, Any]:
    return found.sums, found.features
