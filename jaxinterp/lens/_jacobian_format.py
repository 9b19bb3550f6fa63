"""The format of published Jacobian lenses: a dict with a matrix for each layer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import jax.numpy as jnp
import numpy as np

from .._read import shown
from ._jacobian import JacobianLens
from ._matrix import check_matrix

if TYPE_CHECKING:
    StateFile: TypeAlias = "JacobianFile | Mapping[str, Any]"
    "What the file of a Jacobian lens holds."
else:
    StateFile = Any


class JacobianFile(TypedDict):
    """The content of a file of a Jacobian lens; made by `to_jacobian_format`.

    ```python
    state = ji.lens.to_jacobian_format(jacobian, prompts=100)
    state["source_layers"], state["n_prompts"]
    ```
    """

    J: dict[int, np.ndarray]
    "A float16 matrix `(d, d)` for each layer, output axis first."
    n_prompts: int | None
    "How many prompts the lens was fitted on."
    source_layers: list[int]
    "The blocks whose outputs the lens reads."
    d_model: int
    "The width of the model."


def to_jacobian_format(lens: JacobianLens, *, prompts: int | None = None) -> JacobianFile:
    """The content of a file of a Jacobian lens: `J`, a float16 matrix for each layer, output axis first.

    **Arguments:**

    - `lens`: a Jacobian lens that does not read the embedding.
    - `prompts`: how many prompts it was fitted on; None by default.

    **Returns:** a `JacobianFile`, a dict.

    **Raises:** ValueError for a lens that reads the embedding.

    ```python
    state = ji.lens.to_jacobian_format(jacobian, prompts=100)
    state["J"][2].shape                                 # (d, d): block 2
    ```

    Law: `from_jacobian_format` returns the same lens, rounded to float16.
    """
    if -1 in lens.layers:
        raise ValueError(
            "This format numbers the outputs of blocks and has no place for the embedding "
            "(layer -1): fit the lens without it, ji.lens.fit_jacobian_lens(model, stream, layers=None)."
        )
    matrices = np.asarray(lens.matrices).astype(np.float16)
    return {
        "J": {layer: matrices[i] for i, layer in enumerate(lens.layers)},
        "n_prompts": prompts,
        "source_layers": list(lens.layers),
        "d_model": int(matrices.shape[-1]),
    }


def from_jacobian_format(state: StateFile) -> JacobianLens:
    """The Jacobian lens in the content of a file, in float32.

    **Arguments:**

    - `state`: the dict of the file, with `"J"`.

    **Returns:** a `JacobianLens`.

    **Raises:** ValueError for a state of another form.

    ```python
    lens = ji.lens.from_jacobian_format(ji.lens.to_jacobian_format(jacobian))
    ```
    """
    named_state = state if isinstance(state, dict) else {type(state).__name__: state}
    matrices_by_layer: Any = named_state.get("J")
    if not isinstance(matrices_by_layer, dict) or not matrices_by_layer:
        keys = ", ".join(map(repr, list(named_state)[:6]))
        raise ValueError(
            f"A Jacobian lens file has 'J', a matrix per layer; this one has {keys}."
            + (" It is the state of a fit that did not finish." if "jacobian_sum" in named_state else "")
        )
    shape = np.shape(next(iter(matrices_by_layer.values())))
    for layer, matrix in matrices_by_layer.items():
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < 2**16:
            raise ValueError(
                f"The matrices 'J' of a Jacobian lens are of layers, ints from 0; one is of {shown(layer)}."
            )
        check_matrix("A Jacobian lens", f"J[{layer}]", matrix, shape)
    layers = tuple(sorted(matrices_by_layer))
    matrices = np.stack([np.asarray(matrices_by_layer[layer], np.float32) for layer in layers])
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"The matrices 'J' of a Jacobian lens are (d, d) each; these are {matrices.shape[1:]}."
        )
    return JacobianLens(jnp.asarray(matrices), layers)
