"""Neurons of which it is known which ones know a label: a benchmark of feature selection."""

import dataclasses

import jax
import numpy as np

from .._deprecations import key_by_name
from .._random import host_generator
from ..typing import ArrayLike, KeyLike


@dataclasses.dataclass(frozen=True, eq=False)
class FakeGelu:
    """Activations with known informative neurons; made by `fake_gelu`.

    - `x (n, d)`: activations, float32.
    - `y (n,)`: labels, 0 or 1.
    - `neurons (k,)`: the neurons that the label shifts.
    - `shift`: the size of the shift, in standard deviations.

    ```python
    planted = ji.toy.fake_gelu(key=jax.random.key(0), n=500, d=50)
    planted.recall([*planted.neurons[:4], 49])          # 0.8, or 1.0 where 49 is one of the five
    ```
    """

    x: np.ndarray
    y: np.ndarray
    neurons: np.ndarray
    shift: float

    def recall(self, found: ArrayLike) -> float:
        """The share of the informative neurons that are among those in `found`."""
        return float(np.isin(self.neurons, np.asarray(found)).mean())


@key_by_name("ji.toy.fake_gelu(key=jax.random.key(0))")
def fake_gelu(
    *,
    key: KeyLike,
    n: int = 2000,
    d: int = 200,
    k: int = 5,
    shift: float | int = 1.0,
    share: float = 0.1,
) -> FakeGelu:
    r"""$x = z\,\sigma(1.702 z)$, $z \sim N(0, I_d) + s\,y\,\mathbb 1_S$: the label shifts k of d neurons, the set S.

    The benchmark of feature selection of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610): Gaussian
    inputs to a fast GELU, with the shift before it.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 2,000 by default.
    - `d`: the number of neurons; 200 by default.
    - `k`: how many of them the label shifts; 5 by default.
    - `shift`: s, in standard deviations of z; 1 by default.
    - `share`: the share of positives, exact to a row, at least one example of each class; 0.1 by default.

    **Returns:** `FakeGelu`.

    ```python
    planted = ji.toy.fake_gelu(key=jax.random.key(0))
    scores = ji.probes.rank(planted.x, planted.y)
    planted.recall(np.argsort(-scores)[:5])
    ```

    Law: at the defaults, selection by mean difference, by F and by exact search has a recall of 0.8 or more; a random
    choice has k/d.
    """
    if not (1 <= k <= d and n >= 4 and 0 < share < 1):
        raise ValueError(
            f"Planted neurons need 1 <= k <= d, n >= 4 and 0 < share < 1; got k={k}, d={d}, n={n}, "
            f"share={share}."
        )
    rng = host_generator(key)
    y = np.zeros(n, int)
    y[rng.permutation(n)[: min(max(round(share * n), 1), n - 1)]] = 1
    neurons = np.sort(rng.choice(d, k, replace=False))
    z = rng.normal(size=(n, d))
    z[:, neurons] += float(shift) * y[:, None]
    return FakeGelu((z / (1 + np.exp(-1.702 * z))).astype(np.float32), y, neurons, float(shift))


@key_by_name("ji.toy.fake_gelu_trial(key=jax.random.key(0))")
def fake_gelu_trial(*, key: KeyLike, most_n: int = 30000, most_d: int = 6400) -> FakeGelu:
    r"""One trial of the published benchmark of `fake_gelu`, with n, d, k, shift and share drawn at random.

    n is log-uniform in 500..30000, d is 50 times one of 8..128, k is in 2..19, shift is log-uniform in 0.05..5, and
    share is log-uniform in 0.01..0.5. The benchmark has 200 trials; its score is the recall of the top k neurons.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `most_n`, `most_d`: the largest n and d; 30,000 and 6,400 by default. Smaller numbers make quick runs.

    **Returns:** `FakeGelu`.

    ```python
    planted = ji.toy.fake_gelu_trial(key=jax.random.key(0), most_n=1000, most_d=800)
    planted.x.shape, len(planted.neurons), planted.shift
    ```
    """
    ranges, inner = jax.random.split(key)
    rng = host_generator(ranges)
    log = lambda low, high: float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return fake_gelu(
        key=inner,
        n=int(log(500, max(most_n, 501))),
        d=50 * int(rng.integers(8, max(most_d // 50, 8) + 1)),
        k=int(rng.integers(2, 20)),
        shift=log(0.05, 5),
        share=log(0.01, 0.5),
    )
