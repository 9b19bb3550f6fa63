r"""Another distance for the reconstruction: of what an error does to the logits, without making them."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ...core._intervene import split_edits
from ...typing import ArrayLike, JaxArray, ModelLike
from ..features._logits import logit_weights
from ..features._site import one_layer
from ._dictionary import Dictionary
from ._kind import Kind

if TYPE_CHECKING:
    KindOrDictionary = TypeVar("KindOrDictionary", bound=Kind | Dictionary)
else:
    KindOrDictionary = Any


def with_metric(kind: KindOrDictionary, metric: ArrayLike | None) -> KindOrDictionary:
    r"""$\lVert x - \hat x \rVert^2 \to (x - \hat x)\, G\, (x - \hat x)^\top$ wherever the loss of a kind has it.

    This replaces the squared error. For `TopK` and the kinds that are built on it, it also replaces the spread by which
    the error is divided, and the squared error in AuxK. Penalties and the norms of decoder rows stay as they are. A
    sparsity coefficient that was tuned without a metric fits G divided by its mean diagonal. For a kind with several
    outputs (`Crosscoder`, `CrossLayerTranscoder`) G is one matrix for all outputs, or `(source, d, d)`. It is saved and
    loaded with the dictionary, and takes no part in encoding or decoding.

    **Arguments:**

    - `kind`: any kind, or a dictionary, whose kind then has the metric;
    - `metric (d_out, d_out)`: symmetric, without eigenvalues below 0; None removes the metric.

    **Returns:** the kind, or the dictionary, with the metric.

    ```python
    G = ji.sae.logit_metric(model, "resid_post[2]")     # (160, 160)
    kind = ji.sae.with_metric(ji.sae.TopK(d=160, features=320, k=32), G)
    ```

    Law: with $G = A A^\top$ the loss is that of the images $x A$ and $\hat x A$.
    """
    if isinstance(kind, Dictionary):
        return kind.replace(kind=with_metric(kind.kind, metric))
    if not isinstance(kind, Kind):
        raise ValueError(
            f"with_metric takes a kind of dictionary, as ji.sae.TopK(...); got {type(kind).__name__}."
        )
    if metric is None:
        return kind.with_numbers(metric=None)
    written = kind.shapes()["bias"]
    shape = *written, written[-1]
    value = jnp.asarray(metric, jnp.float32)
    if value.shape not in (shape, shape[-2:]):
        raise ValueError(
            f"The metric of this {type(kind).__name__} is {shape[-2:]}, the width it writes, twice; "
            f"got the shape {value.shape}. For what a site does to logits: ji.sae.logit_metric(model, site)."
        )
    if not isinstance(value, Tracer):
        _check(np.asarray(value))
    value = jnp.broadcast_to(value[(None,) * (len(shape) - value.ndim)], shape)
    return kind.with_numbers(metric=value)


def logit_metric(model: ModelLike, site: str) -> JaxArray:
    r"""$G = A A^\top$ `(d, d)` with $A = W_{out}\, \pi\, \mathrm{diag}(g)\, W_U$: a metric that measures errors by their direct effect on logits.

    $e\, G\, e^\top$ is the squared norm of the change of the logits when an error e is added at the site, by the direct
    path and without the last norm's denominator. $W_{out}$ is used for neurons only; $\pi$ subtracts the mean (for a
    LayerNorm), and g is the last norm's gain. The logits `(..., vocab)` are never computed.

    **Arguments:**

    - `model`: a model of `ji.models`;
    - `site`: one site of one layer, as in `logit_weights`.

    **Returns:** the metric, float32.

    **Raises:** ValueError for sites that do not write to the stream.

    ```python
    G = ji.sae.logit_metric(model, "resid_post[2]")
    ```

    Law: `e @ G @ e` is `sum(square(e @ A))`.
    """
    base, _ = one_layer(site)
    plain = split_edits(model)[0]
    mlp = getattr(plain.blocks, "mlp", None)
    width = plain.w_embed.shape[-1]
    if base == "mlp_post" and mlp is not None:
        width = mlp.w_out.shape[-2]
    # The rows of the identity are directions like any other.
    weights = logit_weights(
        SimpleNamespace(decoder=jnp.eye(width, dtype=jnp.float32), features=width), model, site
    )
    return _gram(jnp.asarray(weights.rows), weights.unembed)


@jax.jit
def _gram(rows: JaxArray, unembed: JaxArray) -> JaxArray:
    unembed = unembed.astype(jnp.float32)
    inner = jnp.matmul(unembed, unembed.T, precision="highest")
    made = jnp.matmul(jnp.matmul(rows, inner, precision="highest"), rows.T, precision="highest")
    return (made + made.T) / 2


def _check(metric: np.ndarray) -> None:
    size = np.abs(metric).max()
    if not np.isfinite(size):
        raise ValueError("The metric holds NaN or infinity.")
    skew = np.abs(metric - np.swapaxes(metric, -1, -2)).max()
    least = np.linalg.eigvalsh(metric.astype(np.float64)).min()
    if skew > 1e-4 * size or least < -1e-4 * size:
        raise ValueError(
            "A metric is symmetric and has no eigenvalue below 0, as A @ A.T; this one has the least "
            f"eigenvalue {least:.3g} and is asymmetric by {skew:.3g}."
        )
