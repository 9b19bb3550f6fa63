"""How many bits a probe saves: the online code."""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ._fit import fit
from ._input import as_examples, as_labels

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class Codelength:
    """Bits to send the labels: `bits`, `uniform` without a probe, `compression` uniform / bits.

    `ends (s,)`: how many examples each block ends at; `block_bits (s,)`, the first at one bit each.
    """

    bits: float
    uniform: float
    compression: float
    ends: np.ndarray
    block_bits: np.ndarray


def online_code(
    x: Any, y: Any, *, key: Any, fractions: Any = FRACTIONS, gamma: float | int = 1.0
) -> Codelength:
    r"""$L = t_1 - \sum_i \log_2 p_{\theta_i}(y_{t_i+1 : t_{i+1}} \mid x_{t_i+1 : t_{i+1}})$, each $\theta_i$ fitted on the first $t_i$.

    The prequential code of Voita & Titov 2020 (https://arxiv.org/abs/2003.12298) with logistic probes
    (unbalanced, for probabilities must fit). A block after one whose labels were all of one class is
    sent by their add-one frequencies.

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1}; `key` for the order of examples; `fractions`: where
    blocks end, rising, the last 1; `gamma` of the ridge.

    **Returns:** `Codelength`, in bits.

    **Raises:** as `best_subset`.

    ```python
    ji.probes.online_code(x, y, key=jax.random.key(0)).compression
    ```

    Law: about 1 for labels of pure noise, far above for separable ones; swapping the classes changes
    nothing.
    """
    x = as_examples(x)
    n = len(x)
    up = as_labels(y, n) > 0
    shares = np.asarray(fractions, np.float64)
    if (
        shares.ndim != 1
        or not shares.size
        or shares[-1] != 1
        or (np.diff(shares, prepend=0) <= 0).any()
    ):
        raise ValueError(f"fractions rise from above 0 to 1; got {fractions!r}.")
    order = np.asarray(jax.random.permutation(key, n))
    x, up = x[order], up[order]
    ends = np.unique(np.maximum(1, np.round(shares * n).astype(int)))
    bits = [float(ends[0])]
    for start, end in itertools.pairwise(ends.tolist()):
        seen, new = up[:start], up[start:end]
        if seen.all() or not seen.any():
            score = np.full(end - start, np.log((seen.sum() + 1) / (start - seen.sum() + 1)))
        else:
            score = fit(x[:start], seen, gamma=gamma, balanced=False).decision(x[start:end])
        bits.append(float(np.logaddexp(0, np.where(new, -score, score)).sum() / np.log(2)))
    total = float(sum(bits))
    return Codelength(total, float(n), n / total, ends, np.array(bits))
