"""Two sides of a comparison over the same tokens, as one corpus that a fold reads."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_numbers
from ..core._acts import Acts
from ..core._intervene import config_of
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._corpus import TokenCorpus, as_corpus
from ..corpus._fold import captured, folded
from ..corpus._size import fitting
from ._chance import Chance
from ._ranks import Measure, Ranks
from ._units import UnitStream, array_side, side_of

FAR = 2.0**30
"Columns of larger numbers, or of smaller ones than 1 over it, are scaled: float32 cannot hold every square."


class ReadPair(eqx.Module):
    """From a batch to the units of both sides `(token, unit)`, and which tokens count `(token,)`.

    The second side's units are followed by those of `chance`, where there is a baseline.
    """

    sides: tuple[Any, Any]  # of `Side`, or `Indicators`
    other: Any  # the second model, or None where the first one's run has both sides
    chance: Chance | None = None
    ranks: Ranks | None = None

    def __call__(self, batch: Batch, acts: Acts) -> tuple[jax.Array, jax.Array, jax.Array]:
        first, second = self.sides
        counted = batch.positions.reshape(-1)
        a = first(batch, acts)
        acts = acts if self.other is None else captured(self.other, second.captures, batch)
        b = second(batch, acts)
        if self.chance is not None:
            b = jnp.concatenate([b, self.chance(b, counted, batch.number)], 1)
        if self.ranks is not None:
            a, b = self.ranks(a, b)
        return a, b, counted


@dataclass(frozen=True, eq=False)
class Pair:
    """A checked comparison: the corpus, the model that its batches run, and what is read of them."""

    corpus: Any
    model: Any
    captures: list[str]
    read: ReadPair
    extra: Any

    @property
    def tokens(self) -> int:
        """How many tokens count."""
        return int(self.corpus.positions.sum())

    def fold(self, init: Any, step: Any, batch_size: Any, limit: int, mesh: Any, **options: Any) -> Any:
        """`ji.corpus.fold` over the batches; `limit` bounds the bytes of the units of one batch."""
        width = 2 * sum(side.count for side in self.read.sides) * (2 if self.read.chance is not None else 1)
        if batch_size == "auto" and isinstance(self.model, NoModel):
            batch_size = min(len(self.corpus), fitting(1, width, limit), 8192)
        parts = CorpusBatches(
            self.corpus, self.model, batch_size, extra=self.extra, width=width, max_bytes=limit, mesh=mesh
        )
        return folded(parts, self.model, self.captures, init, step, **options)


class NoModel(eqx.Module):
    """What stands where a fold over arrays has no model: nothing is captured, so nothing runs."""

    vocab: int = eqx.field(static=True, default=1)
    ctx: int = eqx.field(static=True, default=1)
    d: int = eqx.field(static=True, default=1)
    causal: bool = eqx.field(static=True, default=True)

    @property
    def config(self) -> Any:
        """Its own sizes."""
        return self

    @property
    def blocks(self) -> Any:
        """It has none."""
        return None

    def embed(self, tokens: Any, positions: Any, tap: Any) -> Any:
        """None: it never runs."""
        return None

    def tables(self, positions: Any) -> Any:
        """None."""
        return None

    def unembed(self, resid: Any, tap: Any) -> Any:
        """None."""
        return None


CALL = (
    "ji.neurons.correlations(model_a, model_b, tokens), or of two arrays (token, unit): "
    "ji.neurons.correlations(x, y)"
)


def as_pair(a: Any, b: Any, corpus: Any, *, measure: Measure = Measure(), mixed: bool = False) -> Pair:
    """Checks both sides: arrays with the same tokens, or units of models over one corpus.

    `mixed`: whether units are mixed with each other, as a rotation does, so that all of them have one scale.
    """
    for x in (a, b):
        if isinstance(x, tuple) and x and hasattr(x[0], "config"):
            raise ValueError(
                f"A pair (model, tokenizer), as ji.load returns it, is no model: give its first part; {CALL}."
            )
    arrays = [not isinstance(x, UnitStream) and not hasattr(x, "config") for x in (a, b)]
    if all(arrays):
        if corpus is not None:
            raise ValueError(f"Arrays hold a row for each token, and need no corpus; {CALL}.")
        return _of_arrays(a, b, measure, mixed)
    if any(arrays):
        raise ValueError(
            "Both sides are models, or both are arrays (token, unit); got one of each. Read the model first: "
            "x = ji.data.activations(model, tokens, 'mlp_post[1]')."
        )
    if corpus is None:
        raise ValueError(f"Two models are compared over one corpus; got none. {CALL}.")
    a, b = (x if isinstance(x, UnitStream) else UnitStream(x) for x in (a, b))
    configs = [config_of(x.model) for x in (a, b)]
    if configs[0].vocab != configs[1].vocab:
        raise ValueError(
            "Units are compared token by token, so both models read the same ids of one tokenizer; these "
            f"have vocabularies of {configs[0].vocab} and {configs[1].vocab} tokens. Compare their means over "
            "each text instead: arrays of ji.data.activations(model, tokens, site, reduce='mean'), a row for "
            "each text."
        )
    corpus = as_corpus(corpus)
    sides = side_of(a, corpus), side_of(b, corpus)
    _check_count(int(corpus.positions.sum()))
    other = None if b.model is a.model else b.model
    captures = [*sides[0].captures, *(sides[1].captures if other is None else ())]
    return Pair(corpus, a.model, list(dict.fromkeys(captures)), ReadPair(sides, other), None)


def _of_arrays(a: Any, b: Any, measure: Measure, mixed: bool) -> Pair:
    both = {name: as_numbers(x, f"stream_{name}") for name, x in (("a", a), ("b", b))}
    shapes = [x.shape for x in both.values()]
    if any(len(shape) != 2 or not shape[1] for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"Arrays are (token, unit), with the same tokens in the same order; got {shapes[0]} and "
            f"{shapes[1]}. {CALL}."
        )
    count = shapes[0][0]
    _check_count(count)
    both = {name: _narrow(x, measure, mixed) for name, x in both.items()}
    real = np.ones((count, 1), bool)
    numbers = np.zeros((count, 1), np.int32)
    corpus = TokenCorpus(numbers, real, real, numbers, np.full(count, None, object))
    sides = array_side(both["a"], "a"), array_side(both["b"], "b")
    return Pair(corpus, NoModel(), [], ReadPair(sides, None), both)


def _check_count(count: int) -> None:
    if count < 2:
        raise ValueError(f"A correlation is over two tokens or more; got {count}.")


def _narrow(x: Any, measure: Measure, mixed: bool) -> Any:
    """An array in float32, of which a measure takes what it takes of the array.

    Where float32 holds fewer digits or its squares do not fit, columns are moved to their means and scaled by
    powers of two, which no measure sees. Ranks stand for numbers of 64 bits where a measure reads ranks alone.
    """
    if x.dtype.kind == "c":
        raise ValueError(f"Units are real numbers; got {x.dtype}. Give x.real, or abs(x).")
    ends = [np.asarray(end).astype(np.float64) for end in (x.min(0), x.max(0))]
    size = np.maximum(*map(np.abs, ends))
    size = np.full_like(size, size.max()) if mixed else size
    far = np.isfinite(size) & (size > 0) & ((size < 1 / FAR) | (size > FAR))
    if x.dtype.itemsize < 8 and (measure.ranked or not far.any()):
        return x
    wide = np.asarray(x).astype(np.float64)
    if measure.ranked and not mixed:
        ranks = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in wide.T]
        return np.where(np.isfinite(wide), np.stack(ranks, 1), np.nan).astype(np.float32)
    wide = np.ldexp(wide, np.where(far, -np.frexp(np.where(far, size, 1))[1], 0))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the sums
        return (wide if measure.name == "cosine" else wide - wide.mean(0)).astype(np.float32)
