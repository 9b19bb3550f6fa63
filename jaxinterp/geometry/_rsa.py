"""Representational similarity analysis: do two sides hold the same conditions apart?"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._arguments import as_int, check_choice, check_key
from ..stats._permutation import permutation_p
from ..stats._ranks import ranks
from ..stats._results import Result
from ..typing import ArrayLike, IntLike, KeyLike, StrLike
from ._matrices import as_matrices
from ._rdm import rdm
from ._rdm_comparison import (
    COMPARISONS,
    above,
    as_rdm,
    check_entries,
    compare_rdms,
    cosine,
    kendall,
    prepared,
)


def rsa(
    x: ArrayLike, y: ArrayLike, *, distance: StrLike = "correlation", comparison: StrLike = "spearman"
) -> Float[Array, ""]:
    r"""$\rho\big(D(x)_{i<j}, D(y)_{i<j}\big)$: the similarity of the dissimilarity matrices of two sides.

    Kriegeskorte et al. 2008 (https://doi.org/10.3389/neuro.06.004.2008).

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: responses to the same n conditions, at least 3; p and q may differ.
    - `distance`: as in `rdm`. `comparison`: as in `compare_rdms`.

    **Returns:** a number between -1 and 1.

    **Raises:** the errors of `rdm` and `compare_rdms`, and ValueError where the numbers of rows differ.

    ```python
    x = jax.random.normal(jax.random.key(0), (20, 32))
    ji.geometry.rsa(x, 2 * x + 1)                        # 1.0
    ```

    Laws: with the correlation distance a shift and a positive scale of each row change nothing; with a comparison of
    ranks an increasing function of the dissimilarities changes nothing.
    """
    a, b = as_matrices(x, y, 3)
    return compare_rdms(rdm(a, distance=distance), rdm(b, distance=distance), comparison=comparison)


@dataclasses.dataclass(frozen=True, eq=False)
class RSATest(Result):
    """A similarity beside those of shuffled conditions; made by `rsa_test`.

    - `similarity`: the similarity with the conditions in their own order.
    - `p`: how often a random order has a similarity at least as high; see `ji.stats.permutation_p`.
    - `null (resamples,)`: similarities with the conditions of one side in a random order.

    ```python
    a, b = ji.geometry.rdm(x[:20]), ji.geometry.rdm(y[:20])
    found = ji.geometry.rsa_test(a, b, key=jax.random.key(0), resamples=100)
    found.similarity, found.null.mean(), found.p
    ```
    """

    similarity: float
    p: float
    null: np.ndarray

    def records(self) -> list[dict[str, float]]:
        """One row: the similarity, its p-value, and mean and deviation of the null."""
        mean, deviation = float(self.null.mean()), float(self.null.std())
        return [{"similarity": self.similarity, "p": self.p, "null_mean": mean, "null_std": deviation}]

    def figure(self, *, title: str = "Similarity and chance") -> viz.Figure:
        """The null as a histogram, with the similarity in the caption."""
        edges = np.linspace(min(self.null.min(), self.similarity), max(self.null.max(), self.similarity), 41)
        return viz.histogram(
            {"shuffled conditions": np.histogram(self.null, edges)[0]},
            edges,
            title=title,
            x_axis="similarity",
            y_axis="share of orders",
            caption=f"As they are: {self.similarity:.3f}, p = {self.p:.2g}.",
        )


def rsa_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    key: KeyLike,
    comparison: StrLike = "spearman",
    resamples: IntLike = 1000,
) -> RSATest:
    r"""$p = P(\rho(a, \pi b \pi^\top) \ge \rho(a, b))$ over random orders $\pi$ of the conditions.

    Entries of a dissimilarity matrix are not independent, but conditions are. So the rows and the columns of one matrix
    are put into the same random order (Nili et al. 2014, https://doi.org/10.1371/journal.pcbi.1003553).

    **Arguments:**

    - `a`, `b (n, n)`, `comparison`: as in `compare_rdms`.
    - `key`: a `jax.random.key`, which draws the orders.
    - `resamples`: how many orders; 1,000 by default.

    **Returns:** `RSATest`.

    **Raises:** ValueError for no resamples and for an int in place of a key; the errors of `compare_rdms`.

    ```python
    a, b = ji.geometry.rdm(x[:20]), ji.geometry.rdm(y[:20])
    ji.geometry.rsa_test(a, b, key=jax.random.key(0), resamples=100).p
    ```

    Law: where the two matrices are independent, p is uniform.
    """
    key = check_key(key, "ji.geometry.rsa_test(a, b, key={})")
    count = as_int(resamples, "resamples", 1)
    observed = compare_rdms(a, b, comparison=comparison)
    first, second = (as_rdm(each, name).astype(observed.dtype) for each, name in ((a, "a"), (b, "b")))
    null = np.asarray(_shuffled(first, second, jax.random.split(key, count), comparison))
    return RSATest(float(observed), permutation_p(float(observed) - 1e-6, null), null)


@eqx.filter_jit
def _shuffled(
    a: Float[Array, "n n"], b: Float[Array, "n n"], keys: Array, comparison: str
) -> Float[Array, " resample"]:
    first, second = jnp.triu_indices(len(a), 1)
    kind = "cosine" if comparison == "kendall" else comparison
    fixed, moving = prepared(above(a), kind), prepared(above(b), kind)
    square = jnp.zeros(b.shape, b.dtype).at[first, second].set(moving)
    square = square + square.T  # ranks are those of the whole, in any order

    def one(key: Array) -> Array:
        order = jax.random.permutation(key, len(a))
        entries = square[order[first], order[second]]
        return kendall(fixed, entries) if comparison == "kendall" else cosine(fixed, entries)

    return jax.lax.map(one, keys)


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseCeiling(Result):
    """The interval in which the similarity of the best possible model lies; made by `noise_ceiling`.

    - `low`: the mean similarity of each subject with the mean of the others.
    - `high`: the mean similarity of each subject with the mean of all.

    ```python
    ceiling = ji.geometry.noise_ceiling([ji.geometry.rdm(x) for x in subjects])
    ceiling.low, ceiling.high
    ```
    """

    low: float
    high: float


def noise_ceiling(rdms: ArrayLike, *, comparison: StrLike = "spearman") -> NoiseCeiling:
    r"""$\langle \rho(D_s, \bar D_{-s}) \rangle_s$ and $\langle \rho(D_s, \bar D) \rangle_s$: the similarity that the best possible model would have.

    Subjects may be people, trainings with different random keys, or sets of prompts. The mean is taken of ranks for
    "spearman" and "kendall", of standardised entries for "pearson", and of entries scaled to length 1 for "cosine" (Nili
    et al. 2014, https://doi.org/10.1371/journal.pcbi.1003553). No matrix has a higher mean similarity with the subjects
    than this mean has. For "kendall" this holds only approximately.

    **Arguments:**

    - `rdms (subject, n, n)`: dissimilarities of the same conditions from two subjects or more.
    - `comparison`: as in `compare_rdms`.

    **Returns:** `NoiseCeiling`.

    **Raises:** ValueError for one subject; the errors of `compare_rdms`.

    ```python
    ji.geometry.noise_ceiling([ji.geometry.rdm(x) for x in subjects]).low
    ```

    Law: where all subjects have the same dissimilarities, the ceiling is 1.
    """
    check_choice(comparison, "comparison", COMPARISONS)
    each = [as_rdm(one, f"rdms[{i}]") for i, one in enumerate(rdms)]  # pyright: ignore
    if len(each) < 2 or len({one.shape for one in each}) > 1:
        raise ValueError(
            "A ceiling compares two subjects or more over the same conditions, (subject, n, n); got "
            f"{len(each)} with the shapes {sorted({one.shape for one in each})}."
        )
    stacked = jnp.stack(each)
    check_entries(np.asarray(stacked), "rdms")
    low, high = _ceiling(stacked, comparison)
    return NoiseCeiling(float(low), float(high))


@eqx.filter_jit
def _ceiling(rdms: Float[Array, "s n n"], comparison: str) -> tuple[Array, Array]:
    entries = prepared(above(rdms), comparison)
    if comparison in ("pearson", "cosine"):
        entries = entries / jnp.linalg.norm(entries, axis=-1, keepdims=True)
    # Sums of plain ranks are exact, so that equal sums stay equal when they are ranked in turn.
    added = ranks(above(rdms)) if comparison in ("spearman", "kendall") else entries
    total, count = added.sum(0, keepdims=True), len(added)
    means = (total - added) / (count - 1), jnp.broadcast_to(total / count, added.shape)
    if comparison == "kendall":
        pairs = [jax.vmap(kendall)(above(rdms), mean) for mean in means]
    else:
        pairs = [jax.vmap(lambda a, b: cosine(a, prepared(b, comparison)))(entries, mean) for mean in means]
    return pairs[0].mean(), pairs[1].mean()
