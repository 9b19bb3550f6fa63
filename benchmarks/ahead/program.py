"""What is compiled: a function, its arguments as shapes, and what its products need at least."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

Shape = jax.ShapeDtypeStruct


class Call(NamedTuple):
    """A function and its arguments.

    - `function`, `arguments`: every array of the arguments becomes a shape; the rest stays as it is.
    - `work`: operations of the products that it needs, at the rate of bfloat16; None: those it has.
    - `turns`: of loops whose turns cannot be read, by a part of their label; `""` names all others.
    - `place`: a function of path and leaf to a sharding; None: one chip.
    - `topology`: whose chips; `mesh` is set while tracing where it is given.
    - `donated`: whether the buffers of the first argument are used up.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    work: float | None = None
    turns: Mapping[str, float] = {}
    place: Callable[[Any, Any], Any] | None = None
    topology: str = "v5e:2x2"
    mesh: Any = None
    donated: bool = False


class Program(NamedTuple):
    """A row of the table.

    - `name`, `group`; `build`: makes the call, given the chips of a topology by its name.
    - `note`: what a reader of the row must know.
    """

    name: str
    group: str
    build: Callable[[Callable[[str], Any]], Call]
    note: str = ""


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | Shape)


def abstract(tree: Any, place: Callable[[Any, Any], Any]) -> Any:
    """Every array of a tree as a shape that lies where `place` says."""

    def one(path: Any, leaf: Any) -> Any:
        if not is_array(leaf):
            return leaf
        dtype = leaf.dtype
        if not jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
            dtype = jax.dtypes.canonicalize_dtype(dtype)
        return Shape(leaf.shape, dtype, sharding=place(path, leaf))

    return jax.tree_util.tree_map_with_path(one, tree)


def split(call: Call, place: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function of the arrays of the arguments alone, and these as shapes."""
    arrays, rest = eqx.partition(abstract(call.arguments, place), is_array)

    def function(*arrays: Any) -> Any:
        return eqx.filter(call.function(*eqx.combine(arrays, rest)), eqx.is_array)

    return function, arrays
