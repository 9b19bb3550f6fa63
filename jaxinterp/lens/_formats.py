"""Lenses on disk, in the formats of tuned-lens and of Jacobian lenses; pure functions on dicts,
and `save` and `load` around them."""

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .._deprecations import check_path_first
from .._disk import BadFolder, put, reading, settled, unit
from .._read import FLAG, SIZE, TEXT, check, named, or_null, shown
from ..core._intervene import split_edits
from ..typing import ModelLike, PathLike
from ._jacobian import JacobianLens
from ._logit import unembedding
from ._read import Lens
from ._tuned import TunedLens

if TYPE_CHECKING:
    LensLike: TypeAlias = Lens
    "A lens of `ji.lens`. What is no lens is refused by the functions themselves."
else:
    LensLike = Any

LENS_TYPE = "linear_tuned_lens"
CONFIG = {
    "num_hidden_layers": SIZE,
    "d_model": SIZE,
    "lens_type": TEXT,
    "unembed_hash": or_null(TEXT),
    "bias": or_null(FLAG),
    "base_model_name_or_path": or_null(TEXT),
    "base_model_revision": or_null(TEXT),
}


def to_tuned_lens_format(lens: TunedLens, model: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`config.json` and `params.pt` of tuned-lens (https://github.com/AlignmentResearch/tuned-lens).

    Their translators are linear layers of torch, output axis first: `"{layer}.weight"` `(d, d)` and
    `"{layer}.bias"` `(d,)`. With `model`, the config names it and holds the hash of its unembedding.

    Law: `from_tuned_lens_format` gives the lens back.
    """
    layers, d = lens.bias.shape
    bias = np.asarray(lens.bias)
    weight = np.zeros((layers, d, d), bias.dtype) if lens.weight is None else np.asarray(lens.weight)
    source = getattr(getattr(model, "config", None), "source", None)
    config = {
        "base_model_name_or_path": getattr(source, "name", None) or "",
        "d_model": d,
        "num_hidden_layers": layers,
        "bias": True,
        "base_model_revision": getattr(source, "revision", None),
        "unembed_hash": None if model is None else unembed_hash(model),
        "lens_type": LENS_TYPE,
    }
    params: dict[str, Any] = {}
    for layer in range(layers):
        params[f"{layer}.weight"] = np.ascontiguousarray(weight[layer].T)
        params[f"{layer}.bias"] = bias[layer]
    return config, params


def from_tuned_lens_format(config: Any, params: Any, model: Any = None) -> TunedLens:
    """The lens in a config and parameters of tuned-lens; `model` is checked to be its model."""
    where = "The config.json of a tuned lens"
    kind = check(where, config, CONFIG).get("lens_type", LENS_TYPE)
    if kind != LENS_TYPE:
        raise ValueError(f"A tuned lens has the lens_type {LENS_TYPE!r}; this config says {kind!r}.")
    absent = [name for name in ("num_hidden_layers", "d_model") if name not in config]
    if absent or not isinstance(params, dict):
        raise ValueError(
            "A tuned lens has num_hidden_layers and d_model in config.json, and tensors by name in "
            f"params.pt; this config has {', '.join(map(str, config))[:200] or 'nothing'}, and params.pt holds a "
            f"{type(params).__name__}."
        )
    layers, d = config["num_hidden_layers"], config["d_model"]
    # Early files put the list's name in front.
    params = {re.sub(r"^layer_translators\.", "", str(name)): value for name, value in params.items()}
    names = (f"{layer}.weight" for layer in range(layers))
    missing = next((name for name in names if name not in params), None)
    if missing:
        raise ValueError(
            f"The config promises {layers} translators; the parameters lack {missing!r}. They "
            f"have {', '.join(list(params)[:4])}, ..."
        )
    for layer in range(layers):
        for name, shape in ((f"{layer}.weight", (d, d)), (f"{layer}.bias", (d,))):
            _check_matrix(
                f"params.pt of a tuned lens of width {d}", name, params.get(name, np.zeros(d)), shape
            )
    weight = np.stack([np.asarray(params[f"{layer}.weight"]).T for layer in range(layers)])
    zero = np.zeros(d, weight.dtype)
    bias = np.stack([np.asarray(params.get(f"{layer}.bias", zero)) for layer in range(layers)])
    lens = TunedLens(jnp.asarray(weight), jnp.asarray(bias))
    if model is not None:
        lens.rows(model.config.layers)
        if model.config.d != d:
            raise ValueError(f"This lens has width {d}, and the model {model.config.d}.")
        known = config.get("unembed_hash")
        if known is not None and known != unembed_hash(model):
            warnings.warn(
                "The model's unembedding has another hash than the one that this lens was trained "
                "with: it may be another model, or one that was processed.",
                stacklevel=2,
            )
    return lens


def unembed_hash(model: Any) -> str:
    """tuned-lens's fingerprint of an unembedding: of its print at one digit, `(vocab, d)`."""
    weight = np.asarray(unembedding(split_edits(model)[0]).T)
    with np.printoptions(edgeitems=3, threshold=1000, linewidth=75, suppress=False):
        return hashlib.sha256(np.array_str(weight, precision=1).encode()).hexdigest()


def _check_matrix(where: str, name: str, array: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray | jax.Array) or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{where}: {name!r} is an array of floats {shape}; got {shown(array)}.")
    if array.shape != shape:
        raise ValueError(f"{where}: {name!r} has the shape {shape}; got {array.shape}.")


def to_jacobian_format(lens: JacobianLens, *, prompts: int | None = None) -> dict[str, Any]:
    """A Jacobian lens as its file holds it: `J`, a float16 matrix per layer, output axis first.

    Law: `from_jacobian_format` gives the lens back, rounded to float16.
    """
    if -1 in lens.layers:
        raise ValueError(
            "This format numbers the outputs of blocks and has no place for the embedding "
            "(layer -1): fit without it, layers=None."
        )
    matrices = np.asarray(lens.matrices).astype(np.float16)
    return {
        "J": {layer: matrices[i] for i, layer in enumerate(lens.layers)},
        "n_prompts": prompts,
        "source_layers": list(lens.layers),
        "d_model": int(matrices.shape[-1]),
    }


def from_jacobian_format(state: Any) -> JacobianLens:
    """The lens of such a file, in float32."""
    state = state if isinstance(state, dict) else {type(state).__name__: state}
    found = state.get("J")
    if not isinstance(found, dict) or not found:
        keys = ", ".join(map(repr, list(state)[:6]))
        raise ValueError(
            f"A Jacobian lens file has 'J', a matrix per layer; this one has {keys}."
            + (" It is a fit that was not finished." if "jacobian_sum" in state else "")
        )
    for layer, matrix in found.items():
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < 2**16:
            raise ValueError(
                f"The matrices 'J' of a Jacobian lens are of layers, ints from 0; one is of {shown(layer)}."
            )
        _check_matrix("A Jacobian lens", f"J[{layer}]", matrix, np.shape(next(iter(found.values()))))
    layers = tuple(sorted(found))
    matrices = np.stack([np.asarray(found[layer], np.float32) for layer in layers])
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"The matrices 'J' of a Jacobian lens are (d, d) each; these are {matrices.shape[1:]}."
        )
    return JacobianLens(jnp.asarray(matrices), layers)


def save(
    path: PathLike, lens: LensLike, model: ModelLike | None = None, *, prompts: int | None = None
) -> None:
    """Writes a lens in the format of others: a `TunedLens` to a folder, a `JacobianLens` to a `.pt`.

    **Arguments:** `path`; `lens`; `model`, whose name and unembedding's hash a tuned lens records;
    `prompts`, how many a Jacobian lens was fitted on.

    ```python
    ji.lens.save("lens", lens, model)                   # config.json and params.pt
    ```

    **Raises:** FileExistsError for a folder with the `config.json` of something else.

    Law: `ji.lens.load` gives the lens back (a Jacobian lens rounded to float16), and tuned-lens
    and `torch.load` read the files.
    """
    from ..hub import write_torch

    check_path_first("ji.lens.save(path, lens)", path)
    path = Path(path)
    if isinstance(lens, TunedLens):
        config, params = to_tuned_lens_format(lens, model)
        # A config.json without params.pt is that of a model.
        first = () if (path / "params.pt").is_file() else ("config.json",)
        with unit(path, "lens", "config.json", first=first) as folder:
            write_torch(folder / "params.pt", params)
            put(folder / "config.json", json.dumps(config).encode())
    elif isinstance(lens, JacobianLens):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_torch(path, to_jacobian_format(lens, prompts=prompts))
    else:
        raise ValueError(f"A TunedLens or a JacobianLens is saved; got a {type(lens).__name__}.")


@settled
def load(path: PathLike, model: Any = None) -> TunedLens | JacobianLens:
    """A lens from disk: a folder of tuned-lens (`config.json`, `params.pt`), or a Jacobian `.pt`.

    **Arguments:** `path`; `model`, to check that a tuned lens belongs to it (another unembedding
    is a warning).

    ```python
    lens = ji.lens.load("lens", model)
    ```
    """
    from ..hub import read_json, read_torch

    path = Path(path)
    if not path.is_dir():
        with named(path):
            return from_jacobian_format(read_torch(path))
    try:
        with reading(path, "lens"):
            _check_there(path)
            config = read_json(path / "config.json")
            with named(path):
                return from_tuned_lens_format(config, read_torch(path / "params.pt"), model)
    except BadFolder:
        _check_there(path)  # what lacks is named first
        raise


def _check_there(path: Path) -> None:
    for name in ("config.json", "params.pt"):
        if not (path / name).is_file():
            raise FileNotFoundError(
                f"A folder of tuned-lens has config.json and params.pt; {path} has no {name}."
            )
