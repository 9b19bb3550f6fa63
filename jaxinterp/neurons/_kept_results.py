"""What a function has returned of checkpoints so far, in one file: a run that was killed goes on from it."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._disk import write_whole
from .._read import parse_json, read_npz, shown
from ..corpus._fingerprint import fingerprint
from ..corpus._model_hash import model_hash
from ..typing import PathLike, PyTree


class KeptResults:
    """Results by the weights of a model, and the function that they are of.

    A result is a tree of dicts, lists, tuples and arrays: other containers could not be told apart in a file.
    """

    def __init__(self, path: PathLike, function: Callable[[Any], PyTree]) -> None:
        self._path, self._function = Path(path), identity(function)
        self._results: dict[str, PyTree] = {}
        if not self._path.exists():
            return
        arrays = read_npz(self._path)
        where = f"The record in {self._path}"
        about = parse_json(bytes(arrays.get("about", np.zeros(0, np.uint8))), where)
        if not isinstance(about, dict) or about.get("function") != self._function:
            name = about.get("function", {}) if isinstance(about, dict) else {}
            raise ValueError(
                f"{self._path} holds what {shown(name)} returned, and this call is of {shown(self._function)}: "
                "another function, or other texts or settings. Give another checkpoint=, or delete the file."
            )
        try:
            self._results = {key: _read(tree, arrays) for key, tree in about["results"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._path} lacks a part of what it lists ({error}). Delete the file to begin anew."
            ) from error

    def get(self, key: str) -> PyTree | None:
        """The result of the model with this hash, or None."""
        return self._results.get(key)

    def put(self, key: str, result: PyTree) -> None:
        """Adds a result and writes the file, whole or not at all."""
        self._results[key] = result
        arrays: dict[str, np.ndarray] = {}
        trees = {key: _written(tree, arrays) for key, tree in self._results.items()}
        text = json.dumps({"function": self._function, "results": trees}).encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole: dict[str, Any] = {"about": np.frombuffer(text, np.uint8), **arrays}
        write_whole(self._path, lambda file: np.savez(file, **whole))


def results_of(
    function: Callable[[Any], PyTree], group: Sequence[Any], size: int, kept: KeptResults | None
) -> list[PyTree]:
    """What the function returns of each model of a group, from the file where it stands there."""
    names = ["" if kept is None else model_hash(model) for model in group]
    known = [None if kept is None else kept.get(each) for each in names]
    left = [model for model, each in zip(group, known, strict=True) if each is None]
    if size == 1:
        new = [jax.tree.map(np.asarray, function(model)) for model in left]
    else:
        out = _all_at_once(function, left) if left else None
        new = [jax.tree.map(lambda x, i=i: np.asarray(x[i]), out) for i in range(len(left))]
    results = []
    for each, hashed in zip(known, names, strict=True):
        result = new.pop(0) if each is None else each
        if kept is not None and each is None:
            kept.put(hashed, result)
        results.append(result)
    return results


def _all_at_once(function: Callable[[Any], PyTree], group: Sequence[Any]) -> PyTree:
    """What the function returns of each model, stacked: the models are one with a leading axis."""
    arrays, rest = zip(*(eqx.partition(model, eqx.is_array) for model in group), strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
    return jax.vmap(lambda own: function(eqx.combine(own, rest[0])))(stacked)


def _written(tree: PyTree, arrays: dict[str, np.ndarray]) -> Any:
    """A tree as JSON, with arrays put aside under their numbers."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {"dict": {str(name): _written(each, arrays) for name, each in tree.items()}}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_written(each, arrays) for each in tree]}
    leaf = np.asarray(tree)
    if leaf.dtype.kind not in "biufc":
        raise ValueError(
            "With checkpoint= a function returns dicts, lists or tuples of numbers and arrays, which a file can "
            f"hold; got {type(tree).__name__}. Return what you need of it: {{'loss': found.loss}}."
        )
    name = f"leaf_{len(arrays)}"
    arrays[name] = leaf
    return name


def _read(tree: Any, arrays: dict[str, np.ndarray]) -> PyTree:
    if tree is None:
        return None
    if isinstance(tree, str):
        return arrays[tree]
    ((kind, inside),) = tree.items()
    if kind == "dict":
        return {name: _read(each, arrays) for name, each in inside.items()}
    return (tuple if kind == "tuple" else list)(_read(each, arrays) for each in inside)


def identity(function: Any) -> dict[str, str]:
    """A function by its name and its code, and by the values that it holds: fields, closures, defaults, the object
    of a method, arguments of `partial`."""
    contents: list[Any] = []
    while isinstance(function, functools.partial):
        contents += [*function.args, *(function.keywords[name] for name in sorted(function.keywords))]
        function = function.func
    inner = getattr(function, "__wrapped__", function)
    if getattr(inner, "__self__", None) is not None:
        contents.append(inner.__self__)
    contents += _code(getattr(inner, "__code__", None))
    cells = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or ()]
    contents += [*cells, *(getattr(inner, "__defaults__", None) or ())]
    if not hasattr(inner, "__qualname__"):
        contents.append(inner)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return {"name": name, "values": fingerprint(*(part for each in contents for part in _parts(each)))}


def _code(code: Any) -> list[Any]:
    """What a function does, as far as its own text goes: two lambdas have one name."""
    if code is None:
        return []
    inside = [part for each in code.co_consts if hasattr(each, "co_code") for part in _code(each)]
    plain = [each for each in code.co_consts if not hasattr(each, "co_code")]
    return [code.co_code.hex(), list(code.co_names), *plain, *inside]


def _parts(value: Any) -> list[Any]:
    """What is compared of a value: contents of corpora and arrays, plain values, and names of everything else."""
    if hasattr(value, "content_hash"):
        return [value.content_hash, *_parts(getattr(value, "document", None)), _labels(value)]
    if isinstance(value, jax.Array | np.ndarray):
        wide = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
        return [np.asarray(jax.random.key_data(value) if wide else value)]
    if value is None or isinstance(value, str | int | float | bool | np.generic):
        return [repr(value)]
    if isinstance(value, dict):
        return [part for name, each in value.items() for part in (str(name), *_parts(each))]
    if isinstance(value, list | tuple | set | frozenset):
        return [len(value), *(part for each in value for part in _parts(each))]
    if hasattr(value, "__dataclass_fields__"):
        own = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return [type(value).__qualname__, *_parts(own)]
    if callable(value):
        return list(identity(value).values())
    return [type(value).__qualname__]


def _labels(corpus: Any) -> str:
    try:
        return repr([str(each) for each in getattr(corpus, "labels", ())])
    except ValueError:  # rows of several documents have no label
        return "several"
