"""Sparse combinations of units in a dictionary's place: what a sparse probe reads, as features."""

from collections.abc import Iterable, Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import as_int
from ...typing import ArrayLike, IntLike, JaxArray, ProbesLike
from ._coder import Coder, Sites

EXAMPLE = "ji.sae.Combinations(640, [[3, 14], [7]], [[1.0, -0.5], [1.0]])"


@final
class Combinations(Coder):
    r"""$f_c = \mathrm{ReLU}(\sum_{j \in S_c} w_{cj}\, x_j + b_c)$: weighted sums of a few units as features.

    Use it in place of a dictionary, as `Neurons`. `examples`, `browse`, `interpret` and `rating_study` then show, explain
    and score the units that a sparse probe reads. `combinations` makes it from probes.

    **Arguments:**

    - `d`: the width of the site, `model.config.ff` at `mlp_post`.
    - `supports`: the units of each combination, different ints from 0 in any order.
    - `weights`: the weights of these units for each combination, not all 0.
    - `bias (combination,)`: the number that is added before the ReLU. Default None: 0.
    - `layers`: how many layers stand side by side in a row of `layers * d` units, as in activations
      `(context, layer * d)`. The site is then a list of that many: `site=["mlp_post[0]", "mlp_post[1]"]`.
      Default None: one site.

    **Raises:** ValueError for an empty support, and for weights of another shape or all 0; IndexError for units that
    the site lacks or that stand twice in a support.

    ```python
    both = ji.sae.Combinations(640, [[14, 3]], [[-0.5, 1.0]])
    found = ji.sae.examples(both, model, corpus, site="mlp_post[2]")
    ```

    Laws: one unit with the weight 1 equals that of `Neurons`, bit for bit; the order of a support changes
    nothing, bit for bit. A feature that fires and is fixed at a value has this value afterwards.
    """

    support: JaxArray  # (combination, k), rising, -1 behind the last
    weights: JaxArray  # (combination, k), 0 behind the last
    bias: JaxArray
    width: int = eqx.field(static=True)
    sources: int | None = eqx.field(static=True)

    def __init__(
        self,
        d: IntLike,
        supports: ArrayLike,
        weights: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        layers: IntLike | None = None,
    ) -> None:
        self.width = as_int(d, "d, the width of the site,", 1)
        self.sources = None if layers is None else as_int(layers, "layers", 1)
        support, weight = _checked(supports, weights, self.width * (self.sources or 1))
        shift = np.zeros(len(support)) if bias is None else np.asarray(bias, np.float64)
        if shift.shape != (len(support),) or not np.isfinite(shift).all():
            raise ValueError(
                f"bias is a finite number for each of {len(support)} combinations; got {shift.tolist()!r}."
            )
        self.support = jnp.asarray(support, jnp.int32)
        self.weights, self.bias = jnp.asarray(weight, jnp.float32), jnp.asarray(shift, jnp.float32)

    @property
    def d(self) -> int:
        """The width of the site, of each where there are several."""
        return self.width

    @property
    def features(self) -> int:
        """The number of combinations."""
        return self.support.shape[0]

    @property
    def decoder(self) -> JaxArray:  # pyright: ignore[reportIncompatibleVariableOverride]
        r"""$w_c / \lVert w_c \rVert^2$ `(combination, layers * d)`: the directions that raise a combination by 1."""
        n, width = self.features, self.width * (self.sources or 1)
        rows = self.weights / jnp.square(self.weights).sum(-1, keepdims=True)
        at = jnp.where(self.support < 0, width, self.support)  # beyond the end: dropped
        return jnp.zeros((n, width), jnp.float32).at[jnp.arange(n)[:, None], at].set(rows, mode="drop")

    @property
    def writes_back(self) -> bool:
        """Whether there is one site, which it reads and writes."""
        return self.sources is None

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., combination)` of activations `(..., d)`, or `(..., layers, d)`."""
        x = jnp.asarray(x)
        own = (self.width,) if self.sources is None else (self.sources, self.width)
        if x.shape[-len(own) :] != own:
            wanted = "layers, d" if len(own) > 1 else "d"
            raise ValueError(f"These combinations read (..., {wanted}) with {own}; got the shape {x.shape}.")
        x = x.reshape(*x.shape[: -len(own)], -1)
        # Only what is read counts: a NaN in another unit stays there.
        units = jnp.take(x, jnp.maximum(self.support, 0), -1)
        weights = jnp.broadcast_to(self.weights.astype(x.dtype), units.shape)
        parts = jnp.where(jnp.broadcast_to(self.support >= 0, units.shape), units * weights, 0)
        total = parts.sum(-1)
        return jax.nn.relu(total + jnp.broadcast_to(self.bias.astype(x.dtype), total.shape))

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Features times their directions, in the shape of the activations."""
        f = jnp.asarray(f)
        y = jnp.matmul(f, self.decoder.astype(f.dtype), precision="highest")
        return y if self.sources is None else y.reshape(*f.shape[:-1], self.sources, self.width)

    def read_site(self, site: Sites) -> Sites:
        """All sites that it reads: directions stand side by side."""
        return site


def combinations(
    probes: ProbesLike, *, layers: IntLike | None = None, scale: ArrayLike | None = None, bias: bool = True
) -> Combinations:
    r"""$f = \mathrm{ReLU}(w \cdot x_S + b)$: sparse probes as features, for the tools of dictionaries.

    **Arguments:**

    - `probes`: a probe with `support`, `weights` and `bias` of `ji.probes.best_subset` or `fit`; a list of such probes;
      a result by k of `best_subsets` or `adaptive`; or the result of `ji.probes.fit_many`.
    - `layers`: how many layers the columns of x hold, layer by layer. Default None: one.
    - `scale`: the numbers `(column,)` by which the columns of x were divided before the fit. Default None.
    - `bias`: whether the bias is added, so that a feature fires where the probe says yes. Default True.
      Without it a feature fires where the weighted sum is above 0.

    **Returns:** `Combinations`, in the order of the probes.

    **Raises:** ValueError for probes of different widths or without a support; the errors of `Combinations`.

    ```python
    neurons = ji.data.activations(model, corpus, "mlp_post[2]")             # (token, 640)
    probe = ji.probes.best_subset(neurons[:, :40], is_german, k=2)          # the first 40 neurons, to be quick
    combined = ji.sae.combinations(probe)
    combined.features, combined.encode(neurons[:, :40]).shape
    ```

    Law: features are `max(0, probe.decision(x))`.
    """
    several = _listed(probes)
    widths = {int(each.features) for each in several}
    count = 1 if layers is None else as_int(layers, "layers", 1)
    if len(widths) != 1 or next(iter(widths)) % count:
        raise ValueError(
            f"Probes of one call read rows of one width, a multiple of layers={count}; got {sorted(widths)}."
        )
    total = widths.pop()
    by = np.ones(total) if scale is None else np.broadcast_to(np.asarray(scale, np.float64), (total,))
    if not (np.isfinite(by) & (by > 0)).all():
        raise ValueError(f"scale holds what columns were divided by, positive numbers ({total},).")
    supports, weights, shifts = [], [], []
    for each in several:
        # Probes of one call of fit_many are arrays (..., k), filled up with -1.
        k = np.shape(each.support)[-1]
        for support, weight in zip(
            np.reshape(each.support, (-1, k)), np.reshape(each.weights, (-1, k)), strict=True
        ):
            supports.append(support[support >= 0])
            weights.append(weight[support >= 0] / by[support[support >= 0]])
        shifts.extend(np.ravel(each.bias).tolist())
    return Combinations(total // count, supports, weights, shifts if bias else None, layers=layers)


def _listed(probes: Any) -> list[Any]:
    if isinstance(probes, Mapping):
        probes = list(probes.values())
    if isinstance(probes, Iterable) and not hasattr(probes, "support"):
        several = list(probes)
    else:
        several = [probes]
    for each in several:
        if any(not hasattr(each, name) for name in ("support", "weights", "bias", "features")):
            raise ValueError(
                "A combination comes from a probe with a support and weights: "
                f"ji.sae.combinations(ji.probes.best_subset(x, y, k=3)); got {type(each).__name__}. From "
                f"numbers: {EXAMPLE}."
            )
    if not several:
        raise ValueError("There is no probe: ji.sae.combinations([first, second]).")
    return several


def _checked(supports: Any, weights: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Supports that rise, and their weights, in two arrays `(combination, k)`."""
    rows, sizes = list(supports), list(weights)
    if not rows or len(rows) != len(sizes):
        raise ValueError(
            f"Combinations have a support and weights each: {EXAMPLE}; got {len(rows)} supports and "
            f"{len(sizes)} of weights."
        )
    columns = [np.asarray(row) for row in rows]
    numbers = [np.asarray(row, np.float64) for row in sizes]
    for i, (units, w) in enumerate(zip(columns, numbers, strict=True)):
        if units.ndim != 1 or not units.size or not np.issubdtype(units.dtype, np.integer):
            raise ValueError(
                f"A support is a list of units, at least one int: {EXAMPLE}; number {i} is {rows[i]!r}."
            )
        if units.min() < 0 or units.max() >= width:
            wrong = units[(units < 0) | (units >= width)][0]
            raise IndexError(f"Units here are 0..{width - 1}; support {i} has {wrong}.")
        if len(np.unique(units)) < len(units):
            raise IndexError(f"A support holds distinct units; number {i} is {units.tolist()}.")
        if w.shape != units.shape or not np.isfinite(w).all() or not w.any():
            raise ValueError(
                f"Combination {i} has one finite weight for each of {len(units)} units, not all 0; got "
                f"{w.tolist()!r}."
            )
    most = max(map(len, columns))
    support, weight = np.full((len(rows), most), -1), np.zeros((len(rows), most))
    for i, (units, w) in enumerate(zip(columns, numbers, strict=True)):
        order = np.argsort(units)
        support[i, : len(units)], weight[i, : len(units)] = units[order], w[order]
    return support, weight
