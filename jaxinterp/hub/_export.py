"""Models out of jaxinterp: as a Hugging Face folder, or as a Flax parameter tree."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._deprecations import check_path_first
from .._disk import put, unit
from ..mesh._leaves import leaf_paths
from ..mesh._models import sharding_rule
from ..typing import DTypeLike, ModelLike, PathLike
from . import _config
from ._build import assemble
from ._classes import ConfigLike, LoadedModel
from ._flax import flatten_tree, save_flax, unflatten_tree
from ._leaves import skeleton
from ._optional import is_optional
from ._orbax import saved_files
from ._port import Port, PortLike
from ._port_row import Row
from ._ports import all_ports, as_port
from ._rows import unfill, used_rows
from ._safetensors import save_safetensors
from ._tensors import in_memory
from ._tokenizer import Tokenizer
from ._weights import FLAX, FORMATS, INDEX, SAFETENSORS

FlaxParams = Mapping[str, Any]
"The parameter tree of a Flax model: nested mappings of names to arrays."


def port_of(model: Any) -> Port:
    """The port whose models are of this model's class."""
    name = type(model).__name__
    for port in all_ports().values():
        if port.model == name:
            return port
    raise ValueError(
        f"No port writes a {name}; there are ports of "
        f"{', '.join(port.model for port in all_ports().values())}. Give one: port='my_family.toml'."
    )


def export(
    path: PathLike,
    model: ModelLike,
    *,
    port: PortLike | None = None,
    format: str = "safetensors",
    max_shard_bytes: int = 5 * 10**9,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Writes `config.json` and weights in the layout of the family's reference implementation.

    **Arguments:**

    - `path`: a folder.
    - `model`: a model of `ji.models`.
    - `port`: a table of your own; by default the family's.
    - `format`: "safetensors" or "flax"; "safetensors" by default.
    - `max_shard_bytes`: a larger safetensors checkpoint is split into files with an index; 5 GB by default.
    - `tokenizer`: its `tokenizer.json` is written too; None by default.

    The whole checkpoint appears at `path`, or nothing. Files that this library wrote there before are replaced, and
    other files stay; `FileExistsError` where one of those would be read in place of a new one.

    **Raises:** `UnhandledConfig` when the foreign format cannot express the model's config, and
    `ValueError` when weights were folded away or added (save such a model with `ji.save`).

    ```python
    ji.hub.export("my-pythia", model)
    again, _ = ji.load("my-pythia")
    ```

    Law: `export(load(x))` has the tensors of `x`, bit for bit.
    """
    check_path_first("ji.hub.export(path, model)", path)
    port = _given(model, port)
    path = Path(path)
    rows = _rows_for(port, format)
    config = _config.to_theirs(port, model.config)
    _check_whole(port, model, rows)
    tensors = unfill(port, model, rows)
    dtype = next(iter(tensors.values())).dtype.name
    config["torch_dtype"] = dtype
    if tokenizer is not None:
        config |= {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    with unit(
        path,
        "model",
        "config.json",
        over=() if tokenizer is None else ("tokenizer",),
        first=_before(format, tensors, max_shard_bytes),
        known=saved_files(path),
    ) as folder:
        if format == "flax":
            save_flax(folder / FLAX, unflatten_tree(tensors))
        else:
            _save_shards(folder, tensors, max_shard_bytes)
        if tokenizer is not None:
            tokenizer._write(folder)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        put(folder / "config.json", text.encode())


def to_flax(model: ModelLike, *, port: PortLike | None = None) -> FlaxParams:
    """The model as the parameter tree of the family's Flax implementation, in NumPy arrays.

    ```python
    params = ji.hub.to_flax(gpt2)           # {"transformer": {"wte": {"embedding": ...}, ...}}
    flax.serialization.to_bytes(params)     # the contents of a flax_model.msgpack
    ```

    Law: `from_flax(to_flax(model), model.config) == model`, bit for bit.
    """
    port = _given(model, port)
    rows = _rows_for(port, "flax")
    _check_whole(port, model, rows)
    return unflatten_tree(unfill(port, model, rows))


def from_flax(
    params: Mapping[str, Any],
    config: ConfigLike,
    *,
    port: PortLike | None = None,
    dtype: DTypeLike = np.float32,
) -> LoadedModel:
    """The model of `config` with the weights of a Flax parameter tree (nested dicts of arrays).

    **Raises:** `BadCheckpoint` when the tree has other arrays, or arrays of other shapes.

    ```python
    params = ji.hub.to_flax(gpt2)                   # gpt2, _ = ji.load("gpt2")
    again = ji.hub.from_flax(params, gpt2.config)
    ```

    Law: `from_flax(to_flax(model), model.config) == model`, bit for bit.
    """
    if port is None:
        ports = [p for p in all_ports().values() if _config.config_class(p) is type(config)]
        if not ports:
            raise ValueError(f"No port has a {type(config).__name__}; give one: port=....")
        port = ports[0]
    port = as_port(port)
    tensors = in_memory(flatten_tree(params))
    return assemble(port, config, tensors, _rows_for(port, "flax"), dtype, sharding_rule(None, None))


def _given(model: Any, port: PortLike | None) -> Port:
    if port is None:
        return port_of(model)
    return as_port(port)


def _rows_for(port: Port, format: str) -> tuple[Row, ...]:
    if format not in ("safetensors", "flax"):
        raise ValueError(f"`format` is 'safetensors' or 'flax'; got {format!r}.")
    if format == "flax" and not port.flax:
        raise ValueError(
            f"The port of {port.family} has no [flax] table; add one to {port.path.name}, with "
            "the Flax names and layouts."
        )
    return port.flax if format == "flax" else port.rows


def _check_whole(port: Port, model: Any, rows: tuple[Row, ...]) -> None:
    """Every leaf that loading would fill is there, and no other but optional ones."""
    loose = {leaf for row in rows if is_optional(port, row) for leaf in row.leaves}
    whole = set(leaf_paths(skeleton(type(model), model.config, np.float32)))
    here = set(leaf_paths(model))
    covered = {leaf for row in used_rows(model, rows) for leaf in row.leaves}
    gone = sorted(whole - here - loose)
    added = sorted(here - covered) or sorted(here - whole - loose)
    if gone or added:
        what = [f"lacks {', '.join(gone)}"] if gone else []
        what += [f"has {', '.join(added)} besides"] if added else []
        raise ValueError(
            f"The format of {port.family} holds a whole model as it was loaded; this one "
            f"{' and '.join(what)} (weights were folded?). Save it with ji.save(path, model)."
        )


def _before(format: str, tensors: Mapping[str, np.ndarray], limit: int) -> list[str]:
    """Weights that would be read in place of these, see `FORMATS`."""
    name = FLAX
    if format != "flax":
        name = SAFETENSORS if len(_shards(tensors, limit)) == 1 else SAFETENSORS + INDEX
    return ["model/metadata", *FORMATS[: FORMATS.index(name)]]


def _shards(tensors: Mapping[str, np.ndarray], limit: int) -> list[dict[str, np.ndarray]]:
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, array in tensors.items():
        if shards[-1] and size + array.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = array
        size += array.nbytes
    return shards


def _save_shards(path: Path, tensors: Mapping[str, np.ndarray], limit: int) -> None:
    shards = _shards(tensors, limit)
    if len(shards) == 1:
        save_safetensors(path / SAFETENSORS, shards[0])
        return
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_safetensors(path / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    put(path / (SAFETENSORS + INDEX), text.encode())
