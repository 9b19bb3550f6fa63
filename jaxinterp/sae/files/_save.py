"""A dictionary on disk in our own layout: settings as JSON, weights as safetensors."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import check_path_first
from ..._disk import put, unit
from ..._read import (
    FLAG,
    SIZE,
    TABLE,
    TEXT,
    check,
    integer,
    list_of,
    number,
    one_of,
    or_null,
    shown,
)
from ...typing import PathLike
from ..kinds._batch_topk import BatchTopK
from ..kinds._cross_layer import CrossLayerTranscoder
from ..kinds._crosscoder import Crosscoder
from ..kinds._dictionary import Dictionary, filled
from ..kinds._gated import Gated
from ..kinds._jumprelu import JumpReLU
from ..kinds._matryoshka import Matryoshka
from ..kinds._normalised import Normalised
from ..kinds._pursuit import MatchingPursuit
from ..kinds._selected import Selected, SelectedTranscoder
from ..kinds._standard import Standard
from ..kinds._temporal import Temporal
from ..kinds._topk import TopK
from ..kinds._transcoder import Transcoder
from ..kinds._vanilla import Vanilla
from ._known_keys import check_tensors
from ._origin import origin_of

FORMAT = "jaxinterp.sae"
FIRST = ("params.npz", "params.safetensors")  # what `load` looks for before any config
SAID = {
    "kind": TEXT,
    "settings": TABLE,
    "about": or_null(TABLE),
    "normalised": or_null(one_of("layer", "constant")),
}
_SOME = integer(1, 2**20)
SETTINGS = {
    **dict.fromkeys(("d", "features", "window"), SIZE),
    **dict.fromkeys(("k", "d_out", "turns"), or_null(SIZE)),
    **dict.fromkeys(("heads", "layers", "bottleneck", "sources"), _SOME),
    **dict.fromkeys(("dead_tokens", "warm_steps"), integer()),
    "aux": or_null(integer()),
    **dict.fromkeys(("sparsity", "alpha", "bandwidth", "sharpness", "revival", "residual"), number(0)),
    "threshold": number(),
    "target": or_null(number(0)),
    "resample": list_of(integer()),
    "groups": list_of(number(0, above=True), least=1, most=2**16),
    **dict.fromkeys(("centred", "skip", "once", "tied"), FLAG),
    "matmul": TEXT,
    "rule": TEXT,
}
"""Of the settings of all kinds."""
KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Vanilla,
        Standard,
        Gated,
        TopK,
        BatchTopK,
        JumpReLU,
        Matryoshka,
        Transcoder,
        CrossLayerTranscoder,
        Crosscoder,
        Selected,
        SelectedTranscoder,
        MatchingPursuit,
        Temporal,
    )
}


def settings(sae: Any) -> dict[str, Any]:
    """The arguments that make an empty dictionary of the same kind and shape."""
    found: dict[str, Any] = {}
    for name in inspect.signature(type(sae).__init__).parameters:
        if name in ("self", "key"):
            continue
        if name == "threshold":
            value: Any = sae.first
        elif name == "groups":
            ends = np.asarray([0, *sae.prefixes])
            value = (np.diff(ends) / sae.features).tolist()
        elif name == "d_out":
            value = sae.decoder.shape[-1]
        elif name == "skip":
            value = sae.skip is not None
        else:
            value = getattr(sae, name)
        if eqx.is_array(value):
            value = float(value)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def save(path: PathLike, sae: Any, *, about: dict[str, Any] | None = None) -> Path:
    """Writes a dictionary of any kind to a folder: `dictionary.json`, `weights.safetensors`.

    **Arguments:** `path` of the folder; `sae`; `about`: what should be known of it (site, model,
    data), any JSON. `site` and `model_hash` are those of the training, where it knew them.

    **Returns:** the folder. Killed at any moment, it holds the old dictionary or the new one.

    ```python
    ji.sae.save("folder", sae, about={"model": "gpt2", "site": "resid_post[2]"})
    sae = ji.sae.load("folder")
    ```

    Law: what is loaded is equal to what was saved, bit for bit.
    """
    check_path_first("ji.sae.save(path, sae)", path)
    return save_with(path, sae, about)


def save_with(
    path: PathLike, sae: Any, about: dict[str, Any] | None, more: dict[str, Any] | None = None
) -> Path:
    """`save`, and `more`: JSON by file names, that belongs to this dictionary and lies beside it."""
    from ...hub import save_safetensors

    origin = origin_of(sae)
    known = {"site": origin.site, "model_hash": origin.model}
    about = {**{name: value for name, value in known.items() if value}, **(about or {})}
    rows = sae.mode if isinstance(sae, Normalised) else None
    sae = sae.inner if isinstance(sae, Normalised) else sae
    if not isinstance(sae, Dictionary) or type(sae).__name__ not in KINDS:
        raise ValueError(f"save takes one of {', '.join(KINDS)}; got {type(sae).__name__}.")
    path = Path(path)
    leaves = {
        name: np.asarray(leaf)
        for name, leaf in vars(sae).items()
        if eqx.is_array(leaf) or isinstance(leaf, np.ndarray)
    }
    text = {
        "format": FORMAT,
        "version": 1,
        "kind": type(sae).__name__,
        "settings": settings(sae),
        "about": about,
        **({} if rows is None else {"normalised": rows}),
    }
    with unit(path, "dictionary", "dictionary.json", first=FIRST) as folder:
        save_safetensors(folder / "weights.safetensors", leaves)
        for name, value in (more or {}).items():
            put(folder / name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
        put(folder / "dictionary.json", (json.dumps(text, indent=2) + "\n").encode())
    return path


def load_own(path: Path) -> tuple[Any, dict[str, Any]]:
    """What `save` wrote, and its `about`."""
    from ...hub import open_safetensors, read_json

    said = read_json(path / "dictionary.json", constants=False)
    if said.get("format") != FORMAT or said.get("version") != 1:
        raise ValueError(
            f"{path}/dictionary.json is {shown(said.get('format'))}, version {shown(said.get('version'))}; "
            f"this reads {FORMAT!r}, version 1."
        )
    check(path / "dictionary.json", said, SAID)
    if said.get("kind") not in KINDS:
        raise ValueError(
            f"{path} holds a dictionary of the kind {said.get('kind')!r}; known are {', '.join(KINDS)}."
        )
    kind, given = KINDS[said["kind"]], said.get("settings")
    if not isinstance(given, dict):
        raise ValueError(f"{path}/dictionary.json lacks settings; it has {', '.join(said)}.")
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    unknown = [n for n in given if n not in inspect.signature(kind.__init__).parameters]
    if unknown:
        raise ValueError(
            f"{path}: {said['kind']} has no setting {', '.join(unknown)} here; was it written by a "
            "later jaxinterp?"
        )
    check(path / "dictionary.json", given, SETTINGS)
    tensors = open_safetensors(path / "weights.safetensors")
    try:
        blank = kind(**given)
    except TypeError as error:  # a setting that is lacking
        raise ValueError(f"{path}/dictionary.json: the settings make no {said['kind']} ({error}).") from error
    held = {f.name for f in dataclasses.fields(blank) if not f.metadata.get("static")}
    check_tensors(path, f"jaxinterp's {said['kind']}", tensors, _leaves(blank), held)
    for name in (n for n in vars(blank) if n in tensors):
        leaf, tensor = getattr(blank, name), tensors[name]
        wanted = tensor.shape if leaf is None else np.shape(leaf)
        if tensor.shape != wanted or not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(
                f"{path}: {said['kind']} with these settings has {name} of the shape {wanted}, in "
                f"floats; the file has {tensor.shape} of {tensor.dtype}."
            )
    arrays = {name: tensor.read() for name, tensor in tensors.items()}
    sae = filled(blank, **{n: jnp.asarray(a) for n, a in arrays.items()})
    rows = said.get("normalised")
    return sae if rows is None else Normalised(sae, rows), said.get("about") or {}


def _leaves(blank: Any) -> list[str]:
    return [n for n, leaf in vars(blank).items() if isinstance(leaf, jax.ShapeDtypeStruct)]
