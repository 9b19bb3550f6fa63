"""Activations as ranks, or as being among the largest: what Spearman and Jaccard compare.

Ranks need every value of a unit at once, which a stream never holds. A sample of the tokens stands for all
of them. Where the sample is all tokens, ranks are exact, with ties at their mean.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, as_number
from ..core._acts import Acts
from ..corpus._batches import Batch
from ..stats._ranks import places
from ..typing import FloatLike, IntLike

NAMES = ("pearson", "spearman", "cosine", "jaccard")
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclasses.dataclass(frozen=True)
class Measure:
    r"""The measure of similarity between two units, for `measure=` of `ji.neurons.correlations`.

    - `name`: "pearson"; "spearman", the same of ranks; "cosine", without centring; or "jaccard",
      $|A \cap B| / |A \cup B|$ of the tokens at which each unit is among its largest.
    - `share`: for "jaccard", the share of tokens that count as active; 0.01 by default. A unit is active at a
      token if its activation is above the quantile `1 - share`.
    - `sample`: for "spearman" and "jaccard", the number of tokens from which ranks and quantiles are estimated; by
      default as many as fit, up to all.

    ```python
    ji.neurons.correlations(x, y, measure=ji.neurons.Measure("jaccard", share=0.05))
    ```

    **Raises:** ValueError for another name, and a share that is not between 0 and 1.
    """

    name: str = "pearson"
    share: FloatLike = 0.01
    sample: IntLike | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"measure is one of {', '.join(NAMES)}; got {self.name!r}.")
        if not 0 < as_number(self.share, "share, of the tokens,", 0, 1) < 1:
            raise ValueError(f"share is a share of the tokens between 0 and 1; got {self.share!r}.")
        if self.sample is not None:
            as_int(self.sample, "sample, the number of tokens that stand for all,", 2)

    @property
    def centred(self) -> bool:
        """Whether means are subtracted."""
        return self.name in ("pearson", "spearman")

    @property
    def ranked(self) -> bool:
        """Whether it reads a sample first."""
        return self.name in ("spearman", "jaccard")


def as_measure(measure: Any) -> Measure:
    """A measure, or that of a name."""
    return measure if isinstance(measure, Measure) else Measure(measure)


class Ranks(eqx.Module):
    """Both sides as ranks between 0 and 1, or as 0 and 1: by their sorted samples `(unit, sample)`."""

    samples: tuple[Any, Any]
    name: str = eqx.field(static=True)
    place: int = eqx.field(static=True)  # of the threshold in the sample

    def __call__(self, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self._of(a, self.samples[0]), self._of(b, self.samples[1])

    def _of(self, x: jax.Array, sample: jax.Array) -> jax.Array:
        if self.name == "jaccard":
            ranks = (x > sample[:, self.place][None]).astype(jnp.float32)
        else:  # about 0: small numbers lose no digits in sums
            found = jax.vmap(places)(sample, x.astype(sample.dtype).T)
            ranks = (found / sample.shape[1] - 0.5).T
        return jnp.where(jnp.isfinite(x), ranks, jnp.nan)  # which the sums tell


def slots_of(positions: np.ndarray, size: int) -> np.ndarray:
    """The place in a sample of each token that counts, -1 for those that are not drawn.

    One token is drawn of each of `size` stretches of equal length. Where it stands in its stretch moves
    by the golden section, so that no period of the texts is met again and again.
    """
    count = int(positions.sum())
    i = np.arange(size)
    drawn = ((i + (i * GOLDEN) % 1) * (count / size)).astype(np.int64)
    of_count = np.full(count, -1, np.int32)
    of_count[np.minimum(drawn, count - 1)] = i
    found = np.full(positions.shape, -1, np.int32)
    found[positions] = of_count
    return found


class Drawn(eqx.Module):
    """One batch of the fold that fills a sample: `(sample, unit)` of both sides."""

    read: Any
    slots: Any  # (row, pos) of the corpus

    def __call__(self, state: Any, batch: Batch, acts: Acts) -> Any:
        a, b, counted = self.read(batch, acts)
        slot = self.slots[batch.rows].reshape(-1)
        size = state[0].shape[0]
        slot = jnp.where(counted & (slot >= 0), slot, size)
        return tuple(one.at[slot].set(x, mode="drop") for one, x in zip(state, (a, b), strict=True))


def sampled(measure: Measure, pair: Any, limit: int, **how: Any) -> tuple[Ranks, float]:
    """Reads the sample of both sides, and how far a rank may be from that among all tokens.

    The distance holds for each unit in 95 of 100 random samples (Dvoretzky, Kiefer and Wolfowitz); it is
    0 where the sample is all tokens.
    """
    widths = [side.count for side in pair.read.sides]
    widths[1] *= 1 if pair.read.chance is None else 2
    size = max(2, limit // (4 * sum(widths))) if measure.sample is None else int(measure.sample)
    size = min(pair.tokens, size)
    slots = jnp.asarray(slots_of(np.asarray(pair.corpus.positions), size))
    empty = tuple(jnp.zeros((size, n), jnp.float32) for n in widths)
    whole = pair.fold(empty, Drawn(pair.read, slots), limit=limit, progress="sample", **how)
    place = math.ceil(size * (1 - measure.share)) - 1
    a, b = (jnp.sort(x.T, axis=1) for x in whole)
    ranks = Ranks((a, b), measure.name, min(max(place, 0), size - 1))
    return ranks, 0.0 if size == pair.tokens else math.sqrt(math.log(40) / (2 * size))
