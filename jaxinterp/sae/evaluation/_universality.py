"""The best match of each feature of a dictionary in another dictionary."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ...core._check import check_key
from ...stats._results import Result
from ...typing import ArrayLike, DictionaryLike, KeyLike
from ._activation_pairs import ActivationPairs, blocks
from ._feature_moments import FeatureMoments, batch_moments, compensated, features_of
from ._rotated import Rotated


@dataclass(frozen=True, eq=False)
class Universality(Result):
    """The best match of each feature of the first dictionary in the second; made by `universality`.

    ```python
    found = ji.sae.universality(small, large, stream[:2], baseline=key)
    found.correlation, found.partner, found.excess
    ```
    """

    correlation: np.ndarray
    "The largest Pearson correlation, `(features,)`; 0 for a feature that never varies."
    partner: np.ndarray
    "The feature of the second dictionary that has it, `(features,)`; -1 where there is none."
    decoder: np.ndarray | None
    "The cosine of the two decoder rows, `(features,)`; None for dictionaries of different widths."
    logits: np.ndarray | None
    "The correlation of the two rows of logit weights, `(features,)`; None without `logits=`."
    tokens: int
    "How many tokens were read."
    baseline: np.ndarray | None = None
    "The largest correlation with random features, `(features,)`; None without `baseline=`."

    def figure(self, *, title: str = "Best matches of features") -> viz.Figure:
        """A histogram of correlations, beside those with random features where there are any."""
        found = {"features": self.correlation} | ({} if self.baseline is None else {"random": self.baseline})
        edges = np.linspace(min(0.0, *(float(np.nanmin(x)) for x in found.values())), 1.0, 26)
        counts = {name: np.histogram(np.clip(x, None, 1.0), edges)[0] for name, x in found.items()}
        return viz.histogram(counts, edges, x_axis="correlation", title=title)

    @property
    def excess(self) -> np.ndarray:
        """`correlation` minus `baseline`. Gurnee et al. 2024 call a neuron universal above 0.5."""
        if self.baseline is None:
            raise ValueError(
                "The excess needs a baseline: ji.sae.universality(a, b, x, baseline=jax.random.key(0))."
            )
        return self.correlation - self.baseline


@respelled(batch="batch_size=")
def universality(
    a: DictionaryLike,
    b: DictionaryLike,
    x: ArrayLike,
    *,
    logits: ArrayLike | None = None,
    batch_size: int = 4096,
    block: int = 4096,
    batches: int | None = None,
    baseline: KeyLike | None = None,
    progress: bool = True,
) -> Universality:
    r"""$\max_j \mathrm{corr}_t(f^A_i(t), f^B_j(t))$ of each feature i of A, over the same tokens.

    The first pass computes means and deviations. The second computes products of standardised features,
    one block of A's features after another. So an array `(block, features of B)` is in memory, not the activations of
    all tokens. Sums are in float32 with compensation. In Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features) the median between two trainings is 0.72.

    **Arguments:**

    - `a`, `b`: dictionaries of one site, of two sites, or of two models.
    - `x`: activations `(n, d)`, a pair of arrays with the same tokens, a list of batches or of pairs, or
      a `ji.data.stream` with `batches`.
    - `logits`: the unembedding `(d, vocab)` with the gain of the last norm multiplied in, or a pair of
      `ji.sae.logit_weights`. None (the default): the result has no `logits`.
    - `batch_size`: how many tokens run at a time; 4,096 by default.
    - `block`: how many features of A are compared at a time; 4,096 by default.
    - `batches`: how many batches of a stream are read.
    - `baseline`: a `jax.random.key` to compare with random features too: B's features times a Gaussian
      matrix with rows of norm 1, which have B's subspace and none of its directions (Gurnee et al.
      2024, https://arxiv.org/abs/2401.12181). None (the default): no baseline.
    - `progress`: shows progress bars on stderr; True by default.

    **Returns:** a `Universality`.

    **Raises:** ValueError for activations of another width, and for an iterator that ends.

    ```python
    first, second = (ji.sae.TopK(d=512, features=64, k=4).init(jax.random.key(i)) for i in (0, 1))
    found = ji.sae.universality(first, second, stream[:2])
    np.median(found.correlation)
    ```

    Law: equal to `np.corrcoef` to 1e-6, for every split of the tokens into batches.
    """
    pairs = ActivationPairs(a, b, x, batch_size, batches)
    key = None if baseline is None else check_key(baseline, "ji.sae.universality(..., baseline={})")
    moments = [FeatureMoments(), FeatureMoments()]

    def add(moments: Any, x_a: Any, x_b: Any, weight: Any) -> Any:
        for moment, sae, part in ((moments[0], a, x_a), (moments[1], b, x_b)):
            moment.add(*batch_moments(sae, part, weight))
        return moments

    moments = pairs.fold(moments, add, "means", progress)
    n = moments[0].count
    of_a, of_b = (m.standard() for m in moments)
    count = len(of_a[0])
    block = min(block, count)
    best, partner = np.zeros(count, np.float32), np.full(count, -1, np.int32)
    for start in blocks(count, block):
        total = jnp.zeros((2, block, len(of_b[0])), jnp.float32)
        own = jnp.int32(start)

        def multiply(total: Any, x_a: Any, x_b: Any, weight: Any, own: Any = own) -> Any:
            return _products((a, b, x_a, x_b, weight, of_a, of_b, own), total)

        total = pairs.fold(total, multiply, f"features from {start}", progress)
        value, where = _largest(total, jnp.float32(n))
        best[start : start + block], partner[start : start + block] = value, where
    dead = np.asarray(of_a[1]) == 0
    best[dead], partner[dead] = 0, -1
    both: Any = a, b
    rows = [np.asarray(sae.decoder, np.float32) for sae in both]
    rows = [r.reshape(len(r), -1) for r in rows]
    same = rows[0].shape[1] == rows[1].shape[1]
    chance = None
    if key is not None:
        how: Any = {"batch_size": batch_size, "block": block, "batches": batches, "progress": progress}
        rotated: Any = Rotated(b, key)
        chance = universality(a, rotated, x, **how).correlation
    return Universality(
        best,
        partner,
        _paired(rows[0], rows[1], partner) if same else None,
        None if logits is None else _of_logits(logits, rows, partner),
        int(n),
        chance,
    )


@eqx.filter_jit(donate="all-except-first")
def _products(fixed: Any, total: Any) -> Any:
    """Adds the products of the standardised features of one batch, for one block of A."""
    a, b, x_a, x_b, weight, of_a, of_b, start = fixed
    z = lambda f, m, gain: (f - m[None]) * gain[None]
    cut = lambda v: jax.lax.dynamic_slice_in_dim(v, start, total.shape[1], -1)
    first = z(cut(features_of(a, x_a)), cut(of_a[0]), cut(of_a[1])) * weight[:, None]
    return compensated(total, jnp.matmul(first.T, z(features_of(b, x_b), *of_b), precision="highest"))


@jax.jit
def _largest(total: Any, n: Any) -> tuple[Any, Any]:
    r = total[0] / n
    return jnp.max(r, -1), jnp.argmax(r, -1).astype(jnp.int32)


def _paired(a: np.ndarray, b: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Cosine of each row with its partner's, 0 without one."""
    other = b[np.maximum(partner, 0)]
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine = np.einsum("fd,fd->f", a, other) / np.maximum(norms, 1e-20)
    return np.where(partner < 0, 0, cosine).astype(np.float32)


def _of_logits(logits: Any, rows: list[np.ndarray], partner: np.ndarray) -> np.ndarray:
    """Correlation over the vocabulary, through the Gram matrix of the unembedding: no row of it is made."""
    pair = logits if isinstance(logits, tuple) else (logits, logits)
    parts = []
    for part, own in zip(pair, rows, strict=True):
        written = np.asarray(getattr(part, "rows", own), np.float64)
        w = np.asarray(getattr(part, "unembed", part), np.float64)
        if w.ndim != 2 or written.shape[-1] != len(w) or len(written) != len(own):
            raise ValueError(
                f"logits is an unembedding (d, vocab) of the width of the decoder, {own.shape[-1]}, "
                f"or a pair of ji.sae.logit_weights of all features; got {w.shape}."
            )
        parts.append((written, w - w.mean(-1, keepdims=True)))
    (a, w_a), (b, w_b) = parts
    if w_a.shape[1] != w_b.shape[1]:
        raise ValueError("Logit weights are compared over one vocabulary; these have two sizes.")
    b = b[np.maximum(partner, 0)]
    form = lambda p, g, q: np.einsum("fd,fd->f", p @ g, q)
    own = form(a, w_a @ w_a.T, a) * form(b, w_b @ w_b.T, b)
    r = form(a, w_a @ w_b.T, b) / np.sqrt(np.maximum(own, 1e-30))
    return np.where(partner < 0, 0, r).astype(np.float32)
