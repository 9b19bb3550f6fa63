"""What weights alone say of neurons: how hard they are to fire, and what they write back."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import viz
from ..stats._results import Record, Result
from ..weights import process

BROKEN = "Weights of the MLPs or of their norms are NaN or infinite: is the model loaded whole, and does the dtype reach?"
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True, eq=False)
class WeightStatistics(Result):
    """Statistics `(layer, ff)` of the weights of every neuron; made by `ji.neurons.weight_statistics`.

    - `in_norm`, `out_norm`: the norms of the input and the output weights; `cosine`: the cosine between them.
    - `bias`: the bias of the input; `product`: the input norm times the bias. Both are NaN without biases, and `reason`
      says why.
    - `matrix`: the name of the matrix whose columns are the input weights.

    ```python
    found = ji.neurons.weight_statistics(model)
    found.product.shape, found.cosine, found.curve()
    ```
    """

    in_norm: np.ndarray
    bias: np.ndarray
    product: np.ndarray
    out_norm: np.ndarray
    cosine: np.ndarray
    matrix: str
    reason: str

    def curve(self) -> np.ndarray:
        r"""$\mathrm{median}_i(s_i) / \max_\ell \mathrm{median}_i |s_i|$ of the product, `(layer,)`."""
        top = np.median(np.abs(self.product), 1).max()
        return np.median(self.product, 1) / (top if top > 0 or np.isnan(top) else 1.0)

    def depth(self) -> np.ndarray:
        """Relative depth of each layer, `l / (L - 1)`."""
        return np.arange(len(self.product)) / max(1, len(self.product) - 1)

    def records(self) -> list[Record]:
        """One dict for each layer: quantiles and mean of each statistic."""
        curve, depth, found = self.curve(), self.depth(), []
        for layer in range(len(self.product)):
            row: dict[str, Any] = {"layer": layer, "depth": float(depth[layer]), "curve": float(curve[layer])}
            for what in ("product", "in_norm", "bias", "out_norm", "cosine"):
                x = getattr(self, what)[layer]
                row |= {f"{what}_{q}": float(np.quantile(x, at)) for q, at in QUANTILES.items()}
                row[f"{what}_mean"] = float(x.mean())
            found.append(row)
        return found

    def figure(self, *, title: str = "Weights by layer") -> viz.Figure:
        """The median of each statistic by layer, with a band from the first to the third quartile."""
        rows = self.records()
        names = [
            what
            for what in ("in_norm", "out_norm", "cosine", "product")
            if np.isfinite(getattr(self, what)).all()
        ]
        column = lambda name: [row[name] for row in rows]
        panels = {what: {what: column(f"{what}_median")} for what in names}
        bands = {what: {what: (column(f"{what}_q25"), column(f"{what}_q75"))} for what in names}
        return viz.line_panels(panels, bands=bands, x_axis="layer", title=title)


def weight_statistics(model: Any) -> WeightStatistics:
    r"""$s_i = \lVert w^{in}_i \rVert\, b^{in}_i$, and $\cos(w^{in}_i, w^{out}_i)$: statistics of the weights of neurons.

    Neurons with large input norms and large negative biases fire rarely. Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610) take this as a sign of superposition in the first layers. Norms are folded and the
    written vectors are centred first (`ji.weights.process`), so that layers can be compared.

    **Arguments:** `model`, of `ji.models`. The input weights of a gated MLP are those of the gate,
    `w_gate`, which the nonlinearity reads; the linear branch `w_in` only scales.

    **Returns:** `WeightStatistics`. Where an MLP has no bias, and its norm none to fold into one
    (Llama), `bias` and `product` are NaN and `reason` says so; the rest is as always.

    **Raises:** `ValueError` for a model without MLPs, an intervened one, and weights that are not finite.

    ```python
    found = ji.neurons.weight_statistics(model)
    found.curve(), found.matrix                          # (layer,), "w_in"
    ```

    Law: norms and products are those of the folded weights, one neuron at a time.
    """
    mlp = getattr(getattr(model, "blocks", None), "mlp", None)
    if mlp is None and not hasattr(model, "edits"):
        raise ValueError(f"This {type(model).__name__} has no MLP (ff=0), so it has no neurons.")
    mlp = process(model).blocks.mlp
    gated = mlp.w_gate is not None
    matrix = "w_gate" if gated else "w_in"
    bias = mlp.b_gate if gated else mlp.b_in
    norm, out, cosine = (np.asarray(x) for x in _norms(mlp.w_gate if gated else mlp.w_in, mlp.w_out))
    reason = ""
    if bias is None:
        reason = (
            f"The MLP has no bias beside {matrix}, and the norm before it no shift to make one: norm "
            "times bias says nothing of this model."
        )
        bias = np.full(norm.shape, np.nan, np.float32)
    elif not np.isfinite(np.asarray(bias).astype(np.float32)).all():
        raise ValueError(BROKEN)
    if not all(np.isfinite(x).all() for x in (norm, out, cosine)):
        raise ValueError(BROKEN)
    bias = np.asarray(bias).astype(np.float32)
    return WeightStatistics(norm, bias, norm * bias, out, cosine, matrix, reason)


@eqx.filter_jit
def _norms(w_in: Any, w_out: Any) -> tuple[Any, Any, Any]:
    w_in, w_out = w_in.astype(jnp.float32), w_out.astype(jnp.float32)
    norm, out = jnp.sqrt(jnp.square(w_in).sum(1)), jnp.sqrt(jnp.square(w_out).sum(2))
    dot = jnp.einsum("ldf,lfd->lf", w_in, w_out, precision="highest")
    length = norm * out
    return norm, out, jnp.where(length > 0, dot / jnp.where(length > 0, length, 1), 0)
