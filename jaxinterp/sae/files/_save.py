"""A dictionary on disk in our own layout: settings as JSON, weights as safetensors."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

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
from ...typing import JSON, CoderLike, PathLike
from ..kinds._coder import Coder, kind_name
from ..kinds._dictionary import Dictionary
from ..kinds._kind import Kind
from ..kinds._normalised import Normalised
from ..kinds._table import KINDS
from ._known_keys import check_tensors
from ._loaded import Loaded
from ._origin import origin_of

FORMAT = "jaxinterp.sae"
FIRST = ("params.npz", "params.safetensors")  # what `load` looks for before any config
RECORD = {
    "kind": TEXT,
    "settings": TABLE,
    "about": or_null(TABLE),
    "normalised": or_null(one_of("layer", "constant")),
}
_COUNT = integer(1, 2**20)
SETTINGS = {
    **dict.fromkeys(("d", "features", "window"), SIZE),
    **dict.fromkeys(("k", "d_out", "turns"), or_null(SIZE)),
    **dict.fromkeys(("heads", "layers", "bottleneck", "sources"), _COUNT),
    **dict.fromkeys(("dead_tokens", "warm_steps", "begin", "end"), integer()),
    "aux": or_null(integer()),
    **dict.fromkeys(
        ("sparsity", "alpha", "bandwidth", "sharpness", "revival", "residual", "power"), number(0)
    ),
    "threshold": number(),
    "target": or_null(number(0)),
    "resample": list_of(integer()),
    "groups": list_of(number(0, above=True), least=1, most=2**16),
    **dict.fromkeys(("centred", "skip", "once", "tied"), FLAG),
    "matmul": TEXT,
    "rule": TEXT,
}
"""What the settings of the kinds hold, by name; a kind checks the rest by itself."""


class DictionaryFile(TypedDict):
    """What `dictionary.json` holds: how to make the kind, and what is known of the dictionary."""

    format: str
    version: int
    kind: str
    settings: dict[str, Any]
    about: dict[str, Any]


def save(path: PathLike, sae: CoderLike, *, about: Mapping[str, JSON] | None = None) -> Path:
    """Writes a dictionary of any kind to a folder: `dictionary.json`, `weights.safetensors`.

    **Arguments:**

    - `path`: the folder;
    - `sae`: the dictionary;
    - `about`: facts about the dictionary (site, model, data), any JSON. `site` and `model_hash` are those of
      the training, where they are known.

    **Returns:** the folder. After an interruption at any moment it holds the old dictionary or the new one.

    ```python
    ji.sae.save("folder", sae, about={"model": "gpt2", "site": "resid_post[2]"})
    sae = ji.sae.load("folder")
    ```

    Law: the loaded dictionary equals the saved one, bit for bit.
    """
    check_path_first("ji.sae.save(path, sae)", path)
    return save_with(path, sae, about)


def save_with(
    path: PathLike,
    sae: CoderLike,
    about: Mapping[str, JSON] | None,
    beside: Mapping[str, JSON] | None = None,
) -> Path:
    """`save`, and `beside`: JSON by file names, which belongs to this dictionary and is written beside it."""
    from ...hub import save_safetensors

    origin = origin_of(sae)
    known = {"site": origin.site, "model_hash": origin.model}
    about = {**{name: value for name, value in known.items() if value}, **(about or {})}
    normalised, dictionary = unwrapped(sae)
    if dictionary is None:
        raise ValueError(f"save takes one of {', '.join(KINDS)}; got {kind_name(sae)}.")
    kind = dictionary.kind
    text: DictionaryFile = {
        "format": FORMAT,
        "version": 1,
        "kind": type(kind).__name__,
        "settings": {n: [*v] if isinstance(v, tuple) else v for n, v in kind.settings().items()},
        "about": about,
    }
    fields = {**vars(kind), **vars(dictionary)}
    arrays = {
        name: np.asarray(leaf)
        for name, leaf in fields.items()
        if isinstance(leaf, jax.Array | np.ndarray | np.generic)
    }
    path = Path(path)
    with unit(path, "dictionary", "dictionary.json", first=FIRST) as folder:
        save_safetensors(folder / "weights.safetensors", arrays)
        for name, value in (beside or {}).items():
            put(folder / name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
        record = {**text, **({} if normalised is None else {"normalised": normalised})}
        put(folder / "dictionary.json", (json.dumps(record, indent=2) + "\n").encode())
    return path


def unwrapped(sae: Any) -> tuple[str | None, Dictionary | None]:
    """How the rows of a dictionary are normalised, and the dictionary of the normalised rows.

    None in the second place: it is no dictionary with a kind.
    """
    mode, inner = sae.row_mode() if isinstance(sae, Coder) else (None, sae)
    return mode, inner if isinstance(inner, Dictionary) else None


def load_own(path: Path, kinds: Sequence[type[Kind]] = ()) -> Loaded:
    """What `save` wrote, and its `about`; `kinds` of the caller's own."""
    from ...hub import open_safetensors, read_json

    known = {**KINDS, **{kind.__name__: kind for kind in kinds}}
    file = path / "dictionary.json"
    saved = read_json(file, constants=False)
    if saved.get("format") != FORMAT or saved.get("version") != 1:
        raise ValueError(
            f"{path}/dictionary.json is {shown(saved.get('format'))}, version {shown(saved.get('version'))}; "
            f"this reads {FORMAT!r}, version 1."
        )
    check(file, saved, RECORD)
    name = saved.get("kind")
    if name not in known:
        raise ValueError(
            f"{path} holds a dictionary of the kind {name!r}; known are {', '.join(known)}. A kind of your "
            f"own is named: ji.sae.load({str(path)!r}, kinds=[...])."
        )
    settings = saved.get("settings")
    if not isinstance(settings, dict):
        raise ValueError(f"{path}/dictionary.json lacks settings; it has {', '.join(saved)}.")
    kind = _kind(path, known[name], settings)
    tensors = open_safetensors(path / "weights.safetensors")
    shapes, numbers = kind.shapes(), _numbers(kind)
    optional = {**kind.optional_shapes(), **numbers}
    check_tensors(path, f"jaxinterp's {name}", tensors, shapes, optional)
    for part, shape in {**shapes, **optional}.items():
        tensor = tensors.get(part)
        if tensor is None:
            continue
        wanted = tensor.shape if shape is None else shape
        if tensor.shape != wanted or not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(
                f"{path}: {name} with these settings has {part} of the shape {wanted}, in "
                f"floats; the file has {tensor.shape} of {tensor.dtype}."
            )
    arrays = {part: jnp.asarray(tensor.read()) for part, tensor in tensors.items()}
    kind = kind.with_numbers(**{n: arrays.pop(n) for n in numbers if n in arrays})
    sae, mode = kind.dictionary(**arrays), saved.get("normalised")
    return Loaded(sae if mode is None else Normalised(sae, mode), saved.get("about") or {})


def _kind(path: Path, kind: type[Kind], settings: Mapping[str, Any]) -> Kind:
    """The kind of a class with the settings of a file."""
    arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in settings.items()}
    unknown = [n for n in arguments if n not in inspect.signature(kind.__init__).parameters]
    if unknown:
        raise ValueError(
            f"{path}: {kind.__name__} has no setting {', '.join(unknown)} here; was it written by a "
            "later jaxinterp?"
        )
    check(path / "dictionary.json", arguments, SETTINGS)
    try:
        return kind(**arguments)
    except TypeError as error:  # a setting that is lacking
        raise ValueError(
            f"{path}/dictionary.json: the settings make no {kind.__name__} ({error})."
        ) from error


def _numbers(kind: Kind) -> dict[str, tuple[int, ...] | None]:
    """The shapes of a kind's own arrays, which files hold beside the weights; None: of a metric."""
    numbers = {name: np.shape(leaf) for name, leaf in vars(kind).items() if eqx.is_array(leaf)}
    return {**numbers, "metric": None}
