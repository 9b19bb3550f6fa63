"""Neurons whose weights point where a probe points, and what their activations say of a target."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..._tabular import Record, Tabular
from ...stats._examples import as_examples
from ...typing import ArrayLike, ModelLike
from ...weights import fold_norms
from ._ridge import as_targets


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned(Tabular):
    """Cosines between weights of neurons and directions; made by `aligned_neurons`.

    - `read (layer, ff, direction)`: of input weights. `write`: of output weights.
    - `gate`: of gate weights; None for a model without a gate.

    ```python
    found = ji.probes.aligned_neurons(model, model.w_unembed[:, 5])
    found.write.shape, found.top(3, of="write")
    ```
    """

    read: np.ndarray
    write: np.ndarray
    gate: np.ndarray | None

    def records(self) -> list[Record]:
        """A row for each of the hundred neurons of the largest cosine with each direction."""
        found = []
        for direction in range(self.read.shape[-1]):
            for row in self.top(100, direction):
                layer, neuron = row.pop("neuron")
                found.append({"direction": direction, "layer": layer, "neuron": neuron} | row)
        return found

    def top(self, n: int = 10, direction: int = 0, *, of: str = "all") -> list[dict[str, Any]]:
        """The n neurons with the largest |cos|: dicts of `neuron` (layer, index), `weights`, `cos`.

        **Arguments:**

        - `n`: number of neurons; 10 by default.
        - `direction`: number of the direction; 0 by default.
        - `of`: "read", "gate", "write", or "all" (by default), where the largest cosine of a neuron counts.
        """
        kinds = {"read": self.read, "gate": self.gate, "write": self.write}
        if of != "all" and kinds.get(of) is None:
            has = [name for name, cos in kinds.items() if cos is not None]
            raise ValueError(f"of= is 'all' or one of {has} here; got {of!r}.")
        chosen = {name: cos for name, cos in kinds.items() if cos is not None and of in ("all", name)}
        names = list(chosen)
        cos = np.stack([each[..., direction] for each in chosen.values()])
        which = np.abs(cos).argmax(0)
        largest = np.take_along_axis(cos, which[None], 0)[0]
        order = np.argsort(-np.abs(largest), axis=None, kind="stable")[:n]
        found = []
        for layer, neuron in zip(*np.unravel_index(order, largest.shape), strict=True):
            found.append(
                {
                    "neuron": (int(layer), int(neuron)),
                    "weights": names[which[layer, neuron]],
                    "cos": float(largest[layer, neuron]),
                }
            )
        return found


def aligned_neurons(model: ModelLike, directions: ArrayLike) -> Aligned:
    r"""$\cos(w^{\text{in}}_{li}, v)$ and $\cos(w^{\text{out}}_{li}, v)$: how strongly each neuron reads and writes a direction.

    The space and time neurons of Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207). The gains of
    norms are multiplied into the weights that read them first, so cosines are taken in the residual stream. Behind a
    LayerNorm the mean is subtracted, because the norm removes it.

    **Arguments:**

    - `model`: any of `ji.models` with MLPs.
    - `directions`: of the residual stream, such as `probe.weights`: `(d,)` or `(d, direction)`, or one set
      per layer `(layer, d, direction)`.

    **Returns:** `Aligned`, float32.

    **Raises:** ValueError for directions of another width or all zero, a model without neurons.

    ```python
    found = ji.probes.aligned_neurons(model, model.w_unembed[:, tokenizer(" Paris")[-1]])
    found.top(3)
    ```

    Law: equal to a loop over neurons; a planted neuron comes first.
    """
    mlp = getattr(getattr(model, "blocks", None), "mlp", None)
    if mlp is None:
        raise ValueError("Neurons are those of MLPs, and this model has none (config.ff=0).")
    layers, d, _ = mlp.w_in.shape
    v = jnp.asarray(directions, jnp.float32)
    v = v[:, None] if v.ndim == 1 else v
    if v.ndim not in (2, 3) or v.shape[-2] != d or (v.ndim == 3 and len(v) != layers):
        raise ValueError(
            f"directions are ({d},), ({d}, direction) or ({layers}, {d}, direction) in this model; "
            f"got {np.shape(directions)}."
        )
    if not (jnp.isfinite(v).all() and (jnp.linalg.norm(v, axis=-2) > 0).all()):
        raise ValueError("directions are finite and not zero, for they are compared by angle.")
    folded: Any = fold_norms(model)
    mlp = folded.blocks.mlp
    v = jnp.broadcast_to(v if v.ndim == 3 else v[None], (layers, *v.shape[-2:]))
    read, write, gate = _cosines(mlp.w_in, mlp.w_out, mlp.w_gate, v)
    return Aligned(np.asarray(read), np.asarray(write), None if gate is None else np.asarray(gate))


@eqx.filter_jit
def _cosines(w_in: Any, w_out: Any, w_gate: Any, v: Any) -> Any:
    def cos(w: Any) -> Any:  # w (layer, d, ff)
        w = w.astype(jnp.float32)
        size = jnp.linalg.norm(w, axis=1)[..., None] * jnp.linalg.norm(v, axis=1)[:, None]
        along = jnp.einsum("ldf,ldm->lfm", w, v, precision="highest")
        return jnp.where(size > 0, along / jnp.where(size > 0, size, 1), 0)

    return cos(w_in), cos(jnp.swapaxes(w_out, 1, 2)), None if w_gate is None else cos(w_gate)


def correlations(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    r"""$\rho_j = \mathrm{corr}(x_{\cdot j}, y)$: Pearson's correlation of every neuron with a real target.

    It ranks neurons for a target as `rank` does for labels. One matrix product serves all targets and layers.

    **Arguments:**

    - `x (..., n, d)`: activations, with any leading axes (layers).
    - `y (n,)` or `(n, targets)`: real targets.

    **Returns:** `(..., d)`, for several targets `(targets, ..., d)`; 0 where a side is constant.

    **Raises:** ValueError for lengths that differ and values that are not finite.

    ```python
    np.abs(ji.probes.correlations(x, x[:, 3])).argmax()
    ```

    Law: equal to `numpy.corrcoef`; several targets as each alone.
    """
    x = as_examples(x, layers=True)
    y = as_targets(y, x.shape[-2])
    y = y.T - y.T.mean(-1, keepdims=True)
    y = y / np.maximum(np.linalg.norm(y, axis=-1, keepdims=True), 1e-300)
    return np.asarray(_correlations(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)))


@eqx.filter_jit
def _correlations(x: Any, y: Any) -> Any:
    # About the first example, then the mean: a constant is 0 exactly, whatever rounding does.
    x = x - jnp.broadcast_to(x[..., :1, :], x.shape)
    x = x - jnp.broadcast_to(jnp.mean(x, -2, keepdims=True), x.shape)
    flat = y.reshape(-1, y.shape[-1])
    along = jnp.einsum("...nd,tn->t...d", x, flat, precision="highest")
    size = jnp.broadcast_to(jnp.linalg.norm(x, axis=-2), along.shape)
    found = jnp.where(size > 0, along / jnp.where(size > 0, size, 1), 0)
    return found.reshape(*y.shape[:-1], *found.shape[1:])
