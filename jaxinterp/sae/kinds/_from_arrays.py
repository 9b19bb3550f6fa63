"""A dictionary from arrays that are already there: the way in for files that nothing here reads."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._read import shown
from ._dictionary import Dictionary, filled

WAY_IN = (
    "Where you know what its arrays mean, give them: ji.sae.from_arrays(ji.sae.TopK(d=512, "
    "features=4096, k=32), encoder=..., encoder_bias=..., decoder=..., bias=...)."
)


def from_arrays(kind: Any, **arrays: Any) -> Dictionary:
    r"""$f = \sigma((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$ with $W_e, b_e, W_d, b, s$ as given.

    | name | shape | of |
    |---|---|---|
    | `encoder`, `encoder_bias` | (d, features), (features,) | all |
    | `decoder`, `bias` | (features, d_out), (d_out,) | all |
    | `scale` | (), 1 where it is not given | all |
    | `threshold` | (features,) | `JumpReLU`; `Transcoder` where it has one; () of `BatchTopK`, `Matryoshka` |
    | `gain`, `magnitude_bias` | (features,) | `Gated` |
    | `input_bias`, `skip` | (d,), (d, d_out) | `Transcoder`: if centred, with `skip=True` |

    **Arguments:** `kind` with its settings and no weights: `centred=False` where the bias is not
    subtracted from inputs (`Standard` is `Vanilla` without that); its weights by name, of NumPy, JAX
    or anything that NumPy reads. A number stands for all entries of a bias or a threshold:
    `bias=0` where there is none. The weight of torch's `nn.Linear` is `encoder.T` here.

    **Returns:** the dictionary, in float32.

    **Raises:** ValueError that names what lacks, what does not belong and which shape is wanted.

    ```python
    kind = ji.sae.TopK(d=512, features=4096, k=32)
    sae = ji.sae.from_arrays(kind, encoder=W_enc, encoder_bias=b_enc, decoder=W_dec, bias=b_dec)
    ```

    Law: `ji.sae.load` gives an equal dictionary where it reads the same arrays from a file.
    """
    if not isinstance(kind, Dictionary):
        name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise ValueError(
            "from_arrays takes a kind of dictionary with its settings, as ji.sae.TopK(d=512, "
            f"features=4096, k=32); got {name}."
        )
    return fit(kind, arrays, "from_arrays")


def fit(kind: Any, arrays: dict[str, Any], origin: Any) -> Any:
    """The kind with float32 weights of NumPy arrays, checked; `origin` is who gives them."""
    arrays, name = dict(arrays), type(kind).__name__
    wanted = {
        n: leaf.shape
        for n, leaf in vars(kind).items()
        # A threshold of 0 is no setting: without one that was trained it says nothing.
        if isinstance(leaf, jax.ShapeDtypeStruct) or (n == "threshold" and eqx.is_array(leaf))
    }
    if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in vars(kind).values()):
        raise ValueError(f"{origin}: this {name} has weights already. Make it without key=.")
    if "log_threshold" in wanted and "threshold" in arrays:
        arrays["log_threshold"] = log_threshold(arrays.pop("threshold"))
    arrays.setdefault("scale", 1.0)
    wanted.setdefault("scale", ())
    if "input_bias" in wanted and not kind.centred:
        arrays.setdefault("input_bias", 0.0)
    if vars(kind).get("threshold", 0) is None and "threshold" in arrays:
        wanted["threshold"] = (kind.features,)
    lacking = [n for n in wanted if n not in arrays]
    more = [n for n in arrays if n not in wanted]
    if lacking or more:
        said = lambda n: "threshold" if n == "log_threshold" else n
        shapes = ", ".join(f"{said(n)} {shape}" for n, shape in wanted.items())
        lacks = f"; {', '.join(map(said, lacking))} is lacking" if lacking else ""
        strange = f"; {', '.join(more)} does not belong to it" if more else ""
        raise ValueError(f"{origin}: a {name} with these settings has {shapes}{lacks}{strange}.")
    return filled(kind, **{n: _leaf(n, arrays[n], wanted[n], origin) for n in wanted})


def _leaf(name: str, array: Any, shape: tuple[int, ...], origin: Any) -> Any:
    try:
        array = np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin}: {name} is an array of numbers; got {shown(array)}.") from error
    if array.ndim == 0 and len(shape) == 1:
        array = np.broadcast_to(array, shape)
    if array.shape != shape:
        turned = array.ndim == 2 and array.shape[::-1] == shape
        hint = f" It is transposed: {name}=array.T." if turned else ""
        raise ValueError(f"{origin}: {name} has the shape {shape}; got {array.shape}.{hint}")
    return jnp.asarray(array)


def log_threshold(threshold: Any) -> Any:
    """Its logarithm; below 0 it is 0, which a ReLU has anyway."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(np.asarray(threshold, np.float32), 0))
