"""How many bits a probe saves: the online code."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ..._tabular import Record, Tabular
from ...core._check import check_key
from ...stats._examples import as_examples
from ...typing import ArrayLike, FloatLike, KeyLike
from .._problem_axes import as_classes
from ..linear._dense import dense

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Codelength(Tabular):
    """How many bits the labels cost, block after block; made by `ji.probes.online_code`.

    - `bits`: the bits of all labels; 0 with one class.
    - `uniform`: the bits of the labels without a probe.
    - `compression`: `uniform` over `bits`; NaN with one class.
    - `ends`: `(s,)`, the number of examples at the end of each block.
    - `block_bits`: `(s,)`, the bits of each block; the examples of the first block cost log2 K bits each.
    - `curve`: `(s - 1,)`, the bits per example of the block after `ends[i]`, from the probe of the
      examples before it.
    - `area`: the area under the curve, as a mean over examples.

    ```python
    found = ji.probes.online_code(x, y, key=jax.random.key(0))
    found.bits, found.compression, found.curve
    ```
    """

    bits: float
    uniform: float
    compression: float
    ends: np.ndarray
    block_bits: np.ndarray
    curve: np.ndarray
    area: float

    def records(self) -> list[Record]:
        """A row for each block: how many examples there are at its end, its bits, and the bits of each example."""
        starts = np.concatenate([[0], self.ends[:-1]])
        return [
            {"end": int(end), "bits": float(bits), "bits_per_example": float(bits / (end - start))}
            for start, end, bits in zip(starts, self.ends, self.block_bits, strict=True)
        ]

    def figure(self, *, title: str = "Bits for each label") -> viz.Figure:
        """The bits of an example, by the number of examples that the probe has seen."""
        rows = self.records()[1:] or self.records()
        seen = [row["end"] for row in self.records()[:-1]] or [rows[0]["end"]]
        curve = {"probe": [row["bits_per_example"] for row in rows]}
        return viz.lines(curve, x=seen, log=True, x_axis="examples seen", y_axis="bits", title=title)

    @property
    def per_example(self) -> float:
        return self.bits / float(self.ends[-1])


@respelled(together="batched=", seed="key=jax.random.key(0)")
def online_code(
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: KeyLike,
    fractions: ArrayLike = FRACTIONS,
    gamma: FloatLike = 1.0,
    fit: Callable[..., Any] | None = None,
    classes: ArrayLike | None = None,
    batched: bool = True,
) -> Codelength:
    r"""$L = t_1 \log_2 K - \sum_i \log_2 p_{\theta_i}(y_{t_i+1 : t_{i+1}} \mid x_{t_i+1 : t_{i+1}})$, each $\theta_i$ fitted on the first $t_i$.

    The prequential code of Voita & Titov 2020 (https://arxiv.org/abs/2003.12298). The probes of all
    blocks are fitted in one call. The default is a softmax probe without balanced classes, because its probabilities
    have to match the data. Where the examples before a block lack a class, $(t_i p + 1) / (t_i + K)$ replaces p.

    **Arguments:**

    - `x`: activations `(n, d)`.
    - `y`: labels `(n,)` of any kind.
    - `key`: a `jax.random.key`, for the order of the examples.
    - `fractions`: where blocks end, as shares of the examples: rising, the last 1.
    - `gamma`: the ridge of the default probe; 1 by default.
    - `fit`: another probe function: `fit(x, y, weights=, classes=)` with weights `(blocks, n)`, 1 where
      an example was seen and 0 elsewhere, gives an object whose `.log_probs(x)` is `(blocks, n, K)`:
      `functools.partial(ji.probes.mlp, hidden=(64,), key=key)`.
    - `classes`: all classes; by default those of `y`.
    - `batched`: False calls `fit` for one block at a time, with `weights (n,)`; True by default.

    **Returns:** `Codelength`, in bits.

    **Raises:** ValueError for shapes that do not fit, NaN and infinity, fractions that do not rise.

    ```python
    ji.probes.online_code(x, y, key=jax.random.key(0)).compression
    ```

    Laws: the compression is about 1 for labels of pure noise, and far above 1 for separable ones; one class costs
    0 bits; other names for the classes give the same bits.
    """
    x = as_examples(x)
    n = len(x)
    which, kinds = as_classes(y, classes)
    if which.shape != (n,):
        raise ValueError(f"There is one label per example, ({n},); got the shape {which.shape}.")
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or not shares.size or shares[-1] != 1 or (np.diff(shares, prepend=0) <= 0).any():
        raise ValueError(f"fractions rise from above 0 to 1; got {fractions!r}.")
    ends = np.unique(np.maximum(1, np.round(shares * n).astype(int)))
    count, uniform = len(kinds), float(n * np.log2(len(kinds)))
    blocks = list(itertools.pairwise(ends.tolist()))
    if count == 1 or not blocks:
        bits = np.diff(ends, prepend=0) * np.log2(count)
        return _length(bits, uniform, ends)
    order = np.asarray(jax.random.permutation(check_key(key, "ji.probes.online_code(x, y, key={})"), n))
    x, which = x[order], which[order]
    seen = (np.arange(n)[None] < ends[:-1, None]).astype(np.float32)
    # A probe that saw one class only has nothing to fit; such blocks are counted, not fitted.
    shown = np.array([np.bincount(which[:t], minlength=count) for t in ends[:-1]])
    fitted = (shown > 0).sum(1) > 1
    fit = functools.partial(dense, balanced=False, gamma=float(gamma)) if fit is None else fit
    labels = np.arange(count)
    log_p = np.zeros((len(blocks), n, count))
    if batched and fitted.any():
        log_p[fitted] = fit(x, which, weights=seen[fitted], classes=labels).log_probs(x)
    else:
        for i in np.flatnonzero(fitted):
            log_p[i] = fit(x, which, weights=seen[i], classes=labels).log_probs(x)
    log_p[~fitted] = np.log(np.maximum(shown / shown.sum(1, keepdims=True), 1e-300))[~fitted, None]
    bits = [float(ends[0] * np.log2(count))]
    for i, (start, end) in enumerate(blocks):
        own = log_p[i, np.arange(start, end), which[start:end]]
        if (shown[i] == 0).any():
            own = np.log((start * np.exp(own) + 1) / (start + count))
        bits.append(float(-own.sum() / np.log(2)))
    return _length(np.array(bits), uniform, ends)


def _length(bits: np.ndarray, uniform: float, ends: np.ndarray) -> Codelength:
    total = float(bits.sum())
    curve = bits[1:] / np.diff(ends)
    area = float("nan")
    if len(curve) > 1:
        area = float(np.trapezoid(curve, ends[:-1]) / (ends[-2] - ends[0]))
    compression = uniform / total if total else float("nan")
    return Codelength(total, uniform, compression, ends, bits, curve, area)
