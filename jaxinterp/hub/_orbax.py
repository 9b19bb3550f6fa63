"""Models saved and restored whole, by orbax: config, family and leaves in one atomic folder.

Unlike the layouts of other libraries this keeps every model as it is (folded norms, options of toy
models), and restores each leaf straight to its sharding: no host ever holds the whole model.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._deprecations import check_path_first
from .._disk import move, remove_tree, unit
from ..mesh._leaves import leaf_paths
from ..mesh._models import Rule
from ..typing import ModelLike, PathLike
from ._errors import BadCheckpoint
from ._leaves import set_leaves, skeleton
from ._saved import VERSION, describe
from ._saved_leaves import SavedLeaves
from ._shards import Shards
from ._tokenizer import Tokenizer

_INNER = "saved"
CHUNK_BYTES = 2**21
"""The bytes of one piece of a leaf on disk."""


def is_saved(folder: Path) -> bool:
    """Whether `save` wrote this folder."""
    return (folder / "model" / "metadata").is_file() and (folder / "leaves").is_dir()


def save(
    path: PathLike, model: ModelLike, *, tokenizer: Tokenizer | None = None, overwrite: bool = False
) -> None:
    """Writes a model into a folder that `ji.load(path)` reads: the whole model appears at `path`, or nothing.

    **Arguments:**

    - `path`: a folder that does not exist yet.
    - `model`: any model without edits of its own.
    - `tokenizer`: saved with the model; None by default.
    - `overwrite`: replaces a model at `path`, and keeps other files there; False by default.

    A process that is killed at any moment leaves the old model or the new one at `path`.

    **Raises:** `ValueError` when `path` exists, and for a model that its config and its weights do not describe,
    such as a result of `ji.intervene`. Save the model without the edits, and make the edits again.

    ```python
    ji.save("folded", ji.weights.fold_norms(model))
    model, tokenizer = ji.load("folded")
    ```

    Law: `load(save(model)) == model`, bit for bit, on any mesh.
    """
    import orbax.checkpoint as ocp

    check_path_first("ji.save(path, model)", path)
    path = Path(path).absolute()
    if path.exists() and not overwrite:
        raise ValueError(
            f"{path} exists already. Choose another path, or ji.save(path, model, overwrite=True)."
        )
    leaves = leaf_paths(model)
    _check_rebuilds(model, leaves)
    about = {
        "jaxinterp": VERSION,
        "model": _reference(type(model)),
        "config_class": _reference(type(model.config)),
        "config": dataclasses.asdict(model.config),
        "leaves": {
            name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name} for name, leaf in leaves.items()
        },
        "tokenizer": None if tokenizer is None else tokenizer.to_json(),
    }
    # Small chunks, so that a process which restores a part of a leaf reads little else.
    chunks = {name: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES) for name in leaves}
    wanted = ocp.args.Composite(
        model=ocp.args.JsonSave(about), leaves=ocp.args.StandardSave(leaves, save_args=chunks)
    )
    with _staged(path, overwrite) as folder, _checkpointer() as checkpointer:
        checkpointer.save(folder, args=wanted)


@contextlib.contextmanager
def _staged(path: Path, overwrite: bool) -> Iterator[Path]:
    """A place that orbax may make a folder at; all processes of a mesh get the same one."""
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        with _unit(path, overwrite) as staged:
            yield staged / _INNER
            _lift(staged)
        return
    with contextlib.ExitStack() as stack:
        first, name = jax.process_index() == 0, np.zeros(4096, np.uint8)
        if first:
            staged = stack.enter_context(_unit(path, overwrite))
            raw = np.frombuffer(str(staged).encode(), np.uint8)
            name[: len(raw)] = raw
        name = bytes(multihost_utils.broadcast_one_to_all(name)).rstrip(b"\0").decode()
        yield Path(name) / _INNER
        if first:
            _lift(Path(name))
    multihost_utils.sync_global_devices("ji.save")


def _unit(path: Path, overwrite: bool) -> Any:
    # Without `model/metadata` a folder is none of ours: see `is_saved`.
    return unit(path, "model", "model/metadata", known=saved_files(path), fresh=not overwrite)


def _lift(staged: Path) -> None:
    """Orbax makes the folder that it writes; its contents are what is meant."""
    for part in sorted((staged / _INNER).iterdir()):
        move(part, staged / part.name)
    remove_tree(staged / _INNER)


def saved_files(folder: Path) -> list[str]:
    """What earlier versions of `save`, without a manifest, wrote into a folder."""
    if not is_saved(folder):
        return []
    files = (path for name in ("model", "leaves") for path in (folder / name).rglob("*"))
    names = [path.relative_to(folder).as_posix() for path in files if path.is_file()]
    return [*names, "_CHECKPOINT_METADATA"]


def restore(folder: Path, rule: Rule, dtype: Any = None) -> tuple[Any, dict[str, Any]]:
    """The model in a folder of `save`, each leaf where `rule` puts it, and what else was said.

    Raises `BadCheckpoint` when files are missing or corrupt.
    """
    folder = folder.absolute()
    about, model = describe(folder)
    leaves: dict[str, Any] = {}
    try:
        saved = SavedLeaves(folder / "leaves")
        for name, entry in about["leaves"].items():
            kind = np.dtype(entry["dtype"]) if dtype is None else np.dtype(dtype)
            leaf = jax.ShapeDtypeStruct(tuple(entry["shape"]), kind)
            shards = Shards(leaf, rule(name, leaf))
            saved.fill(name, shards)
            leaves[name] = shards.array()
    except Exception as error:  # what the stores raise for damage is a dozen kinds
        raise BadCheckpoint(
            f"{folder} was written by ji.save but cannot be restored "
            f"({type(error).__name__}: {str(error)[:300]}): files are missing or corrupt."
        ) from error
    return _with_leaves(model, leaves), about


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp

    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())


def _with_leaves(model: Any, leaves: Mapping[str, Any]) -> Any:
    """The skeleton with these leaves and None for all others (folded norms)."""
    absent = {name: None for name in leaf_paths(model) if name not in leaves}
    return set_leaves(model, {**leaves, **absent})


def _check_rebuilds(model: Any, leaves: Mapping[str, Any]) -> None:
    advice = (
        "ji.save keeps a model that its config and its weights describe whole. For an intervened "
        "model save the model before `intervene`, and keep the edits apart."
    )
    cls = type(model)
    if not hasattr(cls, "init") or not dataclasses.is_dataclass(getattr(model, "config", None)):
        raise ValueError(f"A {cls.__name__} has no `init(config, key=...)`. {advice}")
    try:
        again = _with_leaves(skeleton(cls, model.config, np.float32), leaves)
        whole = jax.tree.structure(again) == jax.tree.structure(model)
    except (AttributeError, ValueError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"This {cls.__name__} is not what its config makes. {advice}")


def _reference(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
