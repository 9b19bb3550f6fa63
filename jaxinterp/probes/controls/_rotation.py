"""Whether neurons are special directions: the same sparse probes in a rotated basis."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ... import viz
from ..._tabular import Record, Tabular
from ...core._check import check_key
from ...stats._examples import as_examples
from ...stats._scores import metrics
from ...typing import ArrayLike, KeyLike
from ..linear._adaptive import adaptive
from ..linear._fit import fit
from ._selectivity import rows

KINDS = ("orthogonal", "gaussian")

ridged = functools.partial(adaptive, fit=fit, normalise=False)
"""Nested supports with a ridge, which does not see rotations: what differs is the basis alone."""


@dataclass(frozen=True, eq=False)
class Rotation(Tabular):
    """F1 of sparse probes by k; made by `rotation_baseline`.

    - `ks (k,)`: numbers of columns. `neurons (k,)`: F1 in the basis of neurons.
    - `rotated (count, k)`: F1 in each random basis.

    ```python
    found = ji.probes.rotation_baseline(x, y, [1, 2, 8], train=train, test=test, key=jax.random.key(0))
    found.ks, found.neurons, found.rotated.max(0)
    ```
    """

    ks: np.ndarray
    neurons: np.ndarray
    rotated: np.ndarray

    def records(self) -> list[Record]:
        """A row for each k: F1 of neurons, and the mean, least and largest F1 of the rotated bases."""
        return [
            {
                "k": int(k),
                "neurons": float(f1),
                "rotated": float(x.mean()),
                "rotated_low": float(x.min()),
                "rotated_high": float(x.max()),
            }
            for k, f1, x in zip(self.ks, self.neurons, self.rotated.T, strict=True)
        ]

    def figure(self, *, title: str = "Neurons beside rotated bases") -> viz.Figure:
        """F1 by k, in the basis of neurons and in rotated ones, whose band is from the least to the largest."""
        curves = {"neurons": self.neurons, "rotated": self.rotated.mean(0)}
        bands = {"rotated": (self.rotated.min(0), self.rotated.max(0))}
        return viz.lines(
            curves, x=self.ks, bands=bands, x_axis="neurons (k)", y_axis="F1", log=True, title=title
        )


def rotate(x: ArrayLike, key: KeyLike, kind: str = "orthogonal") -> np.ndarray:
    r"""$x R$: activations in a random basis, with R orthogonal, or Gaussian with $R_{jk} \sim \mathcal N(0, 1/d)$.

    Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610) use a Gaussian R, which also changes lengths. An orthogonal R
    keeps all distances, so that a dense probe with ridge gives the same predictions.

    **Arguments:**

    - `x (..., n, d)`: activations. All leading axes get the same R.
    - `key`: draws R.
    - `kind`: "orthogonal" (the default) or "gaussian".

    **Returns:** float32 `(..., n, d)`; products are at full precision.

    **Raises:** ValueError for another kind, NaN and infinity.

    ```python
    turned = ji.probes.rotate(x, jax.random.key(0))
    ```

    Law: an orthogonal rotation keeps $x x^\top$; a Gaussian one keeps it on average.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is 'orthogonal' or 'gaussian', the published one; got {kind!r}.")
    x = as_examples(x, layers=True).astype(np.float32)
    check_key(key, "ji.probes.rotate(x, {})")
    return np.asarray(_rotate(x, key, kind == "orthogonal"))


@eqx.filter_jit
def _rotate(x: Any, key: Any, orthogonal: bool) -> Any:
    d = x.shape[-1]
    basis = jax.random.normal(key, (d, d), jnp.float32) / float(np.sqrt(d))
    if orthogonal:
        basis, upper = jnp.linalg.qr(basis)
        # Signs of the triangle are the routine's habit; without them the basis is uniform.
        basis = basis * jnp.sign(jnp.diag(upper))[None]
    return jnp.matmul(x, basis, precision="highest")


def rotation_baseline(
    x: ArrayLike,
    y: ArrayLike,
    ks: Iterable[int] | None = None,
    *,
    train: ArrayLike,
    test: ArrayLike,
    key: KeyLike,
    count: int = 3,
    kind: str = "orthogonal",
    sweep: Callable[..., Mapping[int, Any]] = ridged,
) -> Rotation:
    r"""$F_1(k)$ of sparse probes on $x$ and on $x R$: whether neurons are a better basis than a random one.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1.
    - `ks`: as in `adaptive`.
    - `train`, `test`: indices of examples, or masks `(n,)`.
    - `key`: draws the bases.
    - `count`: how many random bases. Default 3.
    - `kind`: of the bases, as in `rotate`.
    - `sweep(x, y, ks)`: gives a mapping from k to a probe with `.decision(x)`. Default: `adaptive` with ridge
      probes on x as it is. Others: `adaptive` itself, the published sweep, or `best_subsets`, which proves
      its supports.

    **Returns:** `Rotation`, F1 on the test examples.

    **Raises:** as `adaptive` and `rotate`.

    ```python
    found = ji.probes.rotation_baseline(x, y, [1, 2, 8], train=train, test=test, key=jax.random.key(0))
    found.neurons, found.rotated.mean(0)
    ```

    Law: with all d neurons, an orthogonal rotation changes nothing.
    """
    x, y = as_examples(x), np.asarray(y)
    n = len(x)
    if y.shape != (n,) or count < 1:
        raise ValueError(f"y is ({n},) and count 1 or more; got {y.shape}, {count}.")
    train, test = rows(train, n, "train"), rows(test, n, "test")
    wanted = None if ks is None else list(ks)

    def scores(x: np.ndarray) -> dict[int, float]:
        found = sweep(x[train], y[train], wanted)
        return {k: metrics(y[test], probe.decision(x[test]))["f1"] for k, probe in found.items()}

    own = scores(x)
    turned = [scores(rotate(x, k, kind)) for k in jax.random.split(key, count)]
    return Rotation(
        np.array(list(own)),
        np.array(list(own.values())),
        np.array([[each[k] for k in own] for each in turned]),
    )
