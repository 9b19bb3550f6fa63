"""Models saved and restored whole, by orbax: config, family and leaves in one atomic folder.

Unlike the layouts of other libraries this keeps every model as it is (folded norms, options of toy
models), and restores each leaf straight to its sharding: no host ever holds the whole model.
"""

import dataclasses
import importlib
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from ._errors import BadCheckpoint
from ._rows import leaf_paths, set_leaves, skeleton
from ._sharding import Rule

VERSION = 1


def is_saved(folder: Path) -> bool:
    """Whether `save` wrote this folder."""
    return (folder / "model" / "metadata").is_file() and (folder / "leaves").is_dir()


def save(path: str | Path, model: Any, *, tokenizer: Any = None, overwrite: bool = False) -> None:
    """Writes a model that `ji.load(path)` restores: all of it appears at `path`, or nothing.

    **Arguments:** a `tokenizer` is kept with the model; `overwrite` replaces what is at `path`.

    **Raises:** `ValueError` when `path` exists, or when the model is more than its config and its
    weights (the result of `intervene`: save the model and keep the edits apart).

    ```python
    ji.save("folded", ji.weights.fold_norms(model))
    model, tokenizer = ji.load("folded")
    ```

    Law: `load(save(model)) == model`, bit for bit, on any mesh.
    """
    import orbax.checkpoint as ocp

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
            name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name}
            for name, leaf in leaves.items()
        },
        "tokenizer": None if tokenizer is None else tokenizer.to_json(),
    }
    with _checkpointer() as checkpointer:
        checkpointer.save(
            path,
            args=ocp.args.Composite(
                model=ocp.args.JsonSave(about), leaves=ocp.args.StandardSave(leaves)
            ),
            force=overwrite,
        )


def restore(folder: Path, rule: Rule, dtype: Any = None) -> tuple[Any, dict[str, Any]]:
    """The model in a folder of `save`, each leaf where `rule` puts it, and what else was said.

    Raises `BadCheckpoint` when files are missing or corrupt.
    """
    import orbax.checkpoint as ocp

    folder = folder.absolute()

    def target(name: str, entry: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        shape, kind = tuple(entry["shape"]), np.dtype(entry["dtype"])
        leaf = jax.ShapeDtypeStruct(shape, kind if dtype is None else np.dtype(dtype))
        where = rule(name, leaf) or SingleDeviceSharding(jax.devices()[0])
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=where)

    try:
        with _checkpointer() as checkpointer:
            only = ocp.args.Composite(model=ocp.args.JsonRestore())
            about = dict(checkpointer.restore(folder, args=only)["model"])
            targets = {name: target(name, entry) for name, entry in about["leaves"].items()}
            wanted = ocp.args.Composite(leaves=ocp.args.StandardRestore(targets))
            leaves = checkpointer.restore(folder, args=wanted)["leaves"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"{folder} was written by ji.save but cannot be restored "
            f"({type(error).__name__}: {str(error)[:300]}): files are missing or corrupt."
        ) from error
    config = _decode(_resolve(about["config_class"]), about["config"])
    model = skeleton(_resolve(about["model"]), config, np.float32)
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


def _resolve(reference: str) -> Any:
    """The class by name: ours, or one of a module that the caller has imported already."""
    module, _, name = reference.partition(":")
    home = importlib.import_module("jaxinterp.models")
    if module.split(".")[0] == "jaxinterp":
        if hasattr(home, name):
            return getattr(home, name)
        return getattr(importlib.import_module(module), name)
    if module not in sys.modules:
        raise ValueError(
            f"The saved model is a {name} of the module {module!r}, which is not imported. "
            f"Import it first: `import {module}`."
        )
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _decode(hint: Any, value: Any) -> Any:
    """JSON back to dataclasses and tuples, by the type hints of the fields."""
    options = typing.get_args(hint)
    cls = next((o for o in (hint, *options) if dataclasses.is_dataclass(o)), None)
    if isinstance(value, Mapping) and cls is not None:
        hints = typing.get_type_hints(cls)
        return typing.cast(Any, cls)(**{k: _decode(hints[k], v) for k, v in value.items()})
    if isinstance(value, list):
        return tuple(value)
    return value
