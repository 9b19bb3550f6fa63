"""The state of a fold in one file, whole or not at all: an interrupted fold goes on from it."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int
from .._disk import write_whole
from .._read import check, integer, parse_json, read_npz, shown
from ..core._captures import At
from ..typing import IntLike, PathLike
from ._fingerprint import fingerprint
from ._model_hash import model_hash

ABOUT, LEAF = "about", "leaf_{}"


@dataclass(frozen=True)
class Checkpoint:
    """Where a fold saves its state, and how often.

    - `path`: a file;
    - `every`: batches between two writes; by default 100. The last batch is always followed by one.
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
                    f"{name}={shown(mine)}. Give another checkpoint=, or delete the file to begin anew."
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


def identity(parts: Any, model: Any, captures: Any, step: Any, numbers: range) -> dict[str, Any]:
    """What two calls must share for one to go on where the other stopped, as JSON."""
    arrays = [np.asarray(x) for x in jax.tree.leaves(eqx.filter((captures, step), eqx.is_array))]
    return {
        "corpus": fingerprint(parts.corpus.content_hash, *map(np.asarray, jax.tree.leaves(parts.extra))),
        "model": model_hash(model),
        "captures": _named(captures),
        "step": getattr(step, "__qualname__", type(step).__qualname__),
        "arrays": fingerprint(*arrays),
        "batch_size": int(parts.size),
        "batches": [numbers.start, numbers.stop],
    }


def _named(captures: Any) -> list[str]:
    if callable(captures):
        return [getattr(captures, "__qualname__", type(captures).__qualname__)]
    several = [captures] if isinstance(captures, str | At) else captures
    return [each.name if isinstance(each, At) else str(each) for each in several or ()]


def _bits(leaf: Any) -> np.ndarray:
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
    return x if isinstance(leaf, np.ndarray) else x.item()
