"""The state of a fold in one file, whole or not at all: an interrupted fold goes on from it."""

import json
import os
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int
from .._disk import write_whole
from .._read import check, integer, parse_json, read_npz, shown
from ..core._captures import At
from ..typing import IntLike, PathLike
from ._fingerprint import fingerprint
from ._model_hash import config_text, model_hash

ABOUT, LEAF = "about", "leaf_{}"
HELD = {"arrays": ", which is of what the step holds: what is asked for, units, or another model"}


@dataclass(frozen=True)
class Checkpoint:
    """Where a fold saves its state, and how often.

    - `path`: a file;
    - `every`: batches between two writes; by default 100. The state after the last batch is always written.

    ```python
    count = lambda total, batch, acts: total + batch.positions.sum()
    kept = ji.corpus.Checkpoint("count.state", every=10)
    ji.corpus.fold(corpus, model, [], 0, count, checkpoint=kept)    # a second call continues from the file
    ```
    """

    path: PathLike
    every: IntLike = 100

    def __post_init__(self) -> None:
        """Raises ValueError for what is no path, and for less than one batch."""
        if not isinstance(self.path, str | os.PathLike):
            raise ValueError(f'checkpoint= is a file, such as "state.npz"; got {shown(self.path)}.')
        as_int(self.every, "every, the number of batches between two writes,", 1)

    def save(self, about: Any, done: int, state: Any) -> None:
        """Writes the state after `done` batches."""
        leaves = jax.tree.leaves(state)
        for leaf in leaves:
            if np.asarray(leaf).dtype.kind not in "biufcV":
                raise ValueError(
                    f"A state that is saved holds arrays and numbers; got {type(leaf).__name__}."
                )
        text = json.dumps({**about, "done": done}).encode()
        arrays: dict[str, Any] = {LEAF.format(i): _bits(leaf) for i, leaf in enumerate(leaves)}
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: np.savez(file, about=np.frombuffer(text, np.uint8), **arrays))

    def load(self, about: Any, state: Any, first: int) -> tuple[int, Any]:
        """The batch to go on with and the state before it; `first` and `state` where there is no file.

        Raises `ValueError` for a file that is damaged or of another fold.
        """
        path = Path(self.path)
        if not path.exists():
            return first, state
        arrays = read_npz(path)
        text = bytes(arrays.get(ABOUT, np.zeros(0, np.uint8)))
        found = check(
            path, parse_json(text, f"The record in {path}"), {"done": integer()}, required=("done",)
        )
        for name, mine in about.items():
            if found.get(name) != mine:
                raise ValueError(
                    f"{path} was written by a fold with {name}={shown(found.get(name))}, and this one has "
                    f"{name}={shown(mine)}{HELD.get(name, '')}. Give another checkpoint=, or delete the file to begin "
                    "anew."
                )
        leaves, tree = jax.tree.flatten(state)
        names = [LEAF.format(i) for i in range(len(leaves))]
        if not all(
            name in arrays and _fits(arrays[name], leaf) for name, leaf in zip(names, leaves, strict=True)
        ):
            raise ValueError(
                f"{path} holds a state of other shapes than init. Give another checkpoint=, or delete the file "
                "to begin anew."
            )
        back = [_like(arrays[name], leaf) for name, leaf in zip(names, leaves, strict=True)]
        return found["done"], jax.tree.unflatten(tree, back)


def as_checkpoint(given: PathLike | Checkpoint | None) -> Checkpoint | None:
    """A file as a `Checkpoint`."""
    return given if given is None or isinstance(given, Checkpoint) else Checkpoint(given)


def beside(given: PathLike | Checkpoint | None, name: str) -> Checkpoint | None:
    """The file of another fold beside that of a checkpoint, by its own name and `name`."""
    kept = as_checkpoint(given)
    if kept is None:
        return None
    path = Path(kept.path)
    return replace(kept, path=path.with_name(f"{path.name}.{name}"))


def identity(
    parts: Any, model: Any, captures: Any, step: Any, numbers: range, per_batch: Any = None
) -> dict[str, Any]:
    """What two calls must share for one to go on where the other stopped, as JSON."""
    own = {id(leaf) for leaf in jax.tree.leaves(model)}  # a function of batches may hold the model too
    arrays = [*_arrays((captures, step)), *(x for x in _arrays(per_batch) if id(x) not in own)]
    return {
        "corpus": fingerprint(parts.corpus.content_hash, *map(np.asarray, jax.tree.leaves(parts.extra))),
        "model": model_hash(model),
        "captures": _named(captures),
        "step": " of ".join(_of(each) for each in (step, per_batch) if each is not None),
        "settings": " ".join([*_settings(step, model), *_settings(per_batch, model)]),
        "arrays": fingerprint(*map(_bits, arrays)),
        "batch_size": int(parts.size),
        "batches": [numbers.start, numbers.stop],
    }


def _named(captures: Any) -> list[str]:
    if callable(captures):
        return [_of(captures)]
    several = [captures] if isinstance(captures, str | At) else captures
    return [each.name if isinstance(each, At) else str(each) for each in several or ()]


def _of(function: Any) -> str:
    """The name of a function, or of the kind of module."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def _arrays(tree: Any) -> list[Any]:
    """The leaves that are arrays, of JAX or NumPy."""
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array | np.ndarray)]


def _settings(value: Any, model: Any) -> list[str]:
    """The numbers and names that a module holds beside its arrays, and those of modules in it."""
    if value is None or isinstance(value, str | int | float | np.generic):
        return [repr(value)]
    if isinstance(value, tuple | list):
        return [part for each in value for part in _settings(each, model)]
    if isinstance(value, type) or value is model or not is_dataclass(value):
        return []
    if hasattr(value, "config"):  # another model, whose weights are among the arrays
        return [config_text(value)]
    own = [part for each in fields(value) for part in _settings(getattr(value, each.name, None), model)]
    return [type(value).__name__, *own]


def _bits(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    x = np.asarray(leaf)
    return x if x.dtype.isbuiltin == 1 else x.view(f"u{x.dtype.itemsize}")


def _fits(saved: np.ndarray, leaf: Any) -> bool:
    like = _bits(leaf)
    return saved.shape == like.shape and saved.dtype == like.dtype


def _like(saved: np.ndarray, leaf: Any) -> Any:
    """The saved array as what stood there: of JAX on the same devices, of NumPy, or a number."""
    dtype = np.asarray(leaf).dtype
    x = saved if saved.dtype == dtype else saved.view(dtype)
    if isinstance(leaf, jax.Array):
        return jax.device_put(jnp.asarray(x), leaf.sharding)
    # A copy, since what is read may be a view of the file's bytes, and steps add to arrays in place.
    return np.array(x) if isinstance(leaf, np.ndarray) else x.item()
