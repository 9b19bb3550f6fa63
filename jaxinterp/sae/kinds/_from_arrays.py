"""A dictionary from arrays that are already there: the way in for files that nothing here reads."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._read import shown
from ...typing import ArrayLike, JaxArray, KindLike
from ._coder import Coder
from ._dictionary import Dictionary
from ._kind import Kind

WAY_IN = (
    "Where you know what its arrays mean, give them: ji.sae.from_arrays(ji.sae.TopK(d=512, "
    "features=4096, k=32), encoder=..., encoder_bias=..., decoder=..., bias=...)."
)


def from_arrays(kind: KindLike, **arrays: ArrayLike) -> Dictionary:
    r"""$f = \sigma((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$ with given $W_e, b_e, W_d, b, s$.

    | name | shape | kinds |
    |---|---|---|
    | `encoder`, `encoder_bias` | (d, features), (features,) | all |
    | `decoder`, `bias` | (features, d_out), (d_out,) | all |
    | `scale` | (), 1 by default | all |
    | `threshold` | (features,) | `JumpReLU`; `Transcoder` where it has one; () of `BatchTopK`, `Matryoshka` |
    | `gain`, `magnitude_bias` | (features,) | `Gated` |
    | `input_bias`, `skip` | (d,), (d, d_out) | `Transcoder`: if centred, with `skip=True` |

    A kind of your own has the arrays that its `shapes()` names.

    **Arguments:**

    - `kind`: the settings; `centred=False` where the bias is not subtracted from inputs (`Standard` is
      `Vanilla` without this subtraction);
    - the weights by name, arrays of NumPy, JAX or anything that NumPy reads. A number stands for all entries of a
      bias or a threshold: `bias=0` where there is no bias. The weight of torch's `nn.Linear` is `encoder.T`.

    **Returns:** the dictionary, in float32.

    **Raises:** ValueError with the names of missing and unknown arrays, and with the shape that is needed.

    ```python
    kind = ji.sae.TopK(d=160, features=320, k=32)
    sae = ji.sae.from_arrays(kind, encoder=W_enc, encoder_bias=0, decoder=W_dec, bias=0)
    ```

    Law: `ji.sae.load` gives an equal dictionary where it reads the same arrays from a file.
    """
    if isinstance(kind, Coder):
        raise ValueError(
            f"from_arrays: this {kind.kind_name} has weights already. Give its settings alone, sae.kind."
        )
    if not isinstance(kind, Kind):
        name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise ValueError(
            "from_arrays takes a kind of dictionary with its settings, as ji.sae.TopK(d=512, "
            f"features=4096, k=32); got {name}."
        )
    return assemble(kind, arrays, "from_arrays")


def assemble(kind: Kind, arrays: Mapping[str, Any], origin: Any) -> Dictionary:
    """The dictionary of a kind with float32 weights, which are checked.

    **Arguments:**

    - `kind`: the settings;
    - `arrays`: of NumPy, by name;
    - `origin`: where they are from, for messages.
    """
    values, wanted, name = dict(arrays), kind.shapes(), type(kind).__name__
    if "log_threshold" in wanted and "threshold" in values:
        values["log_threshold"] = log_threshold(values.pop("threshold"))
    wanted.setdefault("scale", ())
    values.setdefault("scale", 1.0)
    if "input_bias" in wanted and not kind.centred:
        values.setdefault("input_bias", 0.0)
    wanted |= {name: shape for name, shape in kind.optional_shapes().items() if name in values}
    lacking = [name for name in wanted if name not in values]
    unknown = [name for name in values if name not in wanted]
    if lacking or unknown:
        spelled = lambda name: "threshold" if name == "log_threshold" else name
        shapes = ", ".join(f"{spelled(name)} {shape}" for name, shape in wanted.items())
        lacks = f"; {', '.join(map(spelled, lacking))} is lacking" if lacking else ""
        strange = f"; {', '.join(unknown)} does not belong to it" if unknown else ""
        raise ValueError(f"{origin}: a {name} with these settings has {shapes}{lacks}{strange}.")
    return kind.dictionary(**{n: _array(n, values[n], shape, origin) for n, shape in wanted.items()})


def _array(name: str, array: Any, shape: tuple[int, ...], origin: Any) -> JaxArray:
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


def log_threshold(threshold: ArrayLike) -> np.ndarray:
    """Its logarithm; a threshold below 0 counts as 0, which a ReLU has anyway."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(np.asarray(threshold, np.float32), 0))
