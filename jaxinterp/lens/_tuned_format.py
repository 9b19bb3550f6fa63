"""The format of tuned-lens: a config and parameters by name."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import jax.numpy as jnp
import numpy as np

from .._read import FLAG, SIZE, TEXT, check, or_null
from ..core._intervene import split_edits
from ..typing import ArraysLike, ModelLike
from ._logit import unembedding
from ._matrix import check_matrix
from ._tuned import TunedLens

if TYPE_CHECKING:
    ConfigFile: TypeAlias = "TunedLensConfig | Mapping[str, Any]"
    "What `config.json` holds."
else:
    ConfigFile = Any

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


class TunedLensConfig(TypedDict):
    """The content of the `config.json` of tuned-lens; made by `to_tuned_lens_format`.

    ```python
    config, _ = ji.lens.to_tuned_lens_format(tuned, model)
    config["num_hidden_layers"], config["unembed_hash"]
    ```
    """

    base_model_name_or_path: str
    d_model: int
    num_hidden_layers: int
    bias: bool
    base_model_revision: str | None
    unembed_hash: str | None
    lens_type: str


def to_tuned_lens_format(
    lens: TunedLens, model: ModelLike | None = None
) -> tuple[TunedLensConfig, dict[str, np.ndarray]]:
    """The content of `config.json` and `params.pt` of tuned-lens (https://github.com/AlignmentResearch/tuned-lens).

    The translators of tuned-lens are linear layers of torch, output axis first: `"{layer}.weight"` `(d, d)` and
    `"{layer}.bias"` `(d,)`.

    **Arguments:**

    - `lens`: a tuned lens.
    - `model`: the config records its name and the hash of its unembedding; None by default.

    **Returns:** the config, and the parameters by name.

    ```python
    config, params = ji.lens.to_tuned_lens_format(lens, model)
    ```

    Law: `from_tuned_lens_format` returns the same lens.
    """
    layers, d = lens.bias.shape
    bias = np.asarray(lens.bias)
    weight = np.zeros((layers, d, d), bias.dtype) if lens.weight is None else np.asarray(lens.weight)
    source = getattr(getattr(model, "config", None), "source", None)
    config: TunedLensConfig = {
        "base_model_name_or_path": getattr(source, "name", None) or "",
        "d_model": d,
        "num_hidden_layers": layers,
        "bias": True,
        "base_model_revision": getattr(source, "revision", None),
        "unembed_hash": None if model is None else unembed_hash(model),
        "lens_type": LENS_TYPE,
    }
    params: dict[str, np.ndarray] = {}
    for layer in range(layers):
        params[f"{layer}.weight"] = np.ascontiguousarray(weight[layer].T)
        params[f"{layer}.bias"] = bias[layer]
    return config, params


def from_tuned_lens_format(
    config: ConfigFile, params: ArraysLike, model: ModelLike | None = None
) -> TunedLens:
    """The lens in the config and the parameters of tuned-lens.

    **Arguments:**

    - `config`: the content of `config.json`.
    - `params`: the content of `params.pt`, arrays by name.
    - `model`: the model that the lens should belong to; None (the default) checks nothing. Another
      unembedding than that of the training is a warning.

    **Raises:** ValueError for a config or arrays of another form, and for a model of another size.

    ```python
    lens = ji.lens.from_tuned_lens_format(*ji.lens.to_tuned_lens_format(lens), model)
    ```
    """
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
            check_matrix(
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


def unembed_hash(model: ModelLike) -> str:
    """The fingerprint of an unembedding in tuned-lens: a hash of how NumPy prints it with one digit."""
    weight = np.asarray(unembedding(split_edits(model)[0]).T)
    with np.printoptions(edgeitems=3, threshold=1000, linewidth=75, suppress=False):
        return hashlib.sha256(np.array_str(weight, precision=1).encode()).hexdigest()
