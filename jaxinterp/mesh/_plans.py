"""Plans by name: which axis of each leaf lies over which axis of a mesh, from the leaf's name alone.

- "data": every leaf whole on every device; the rows of a batch over "data".
- "fsdp": every matrix split over "data" too, on the width of the stream (or its longest axis that divides).
  A block is gathered when it runs, so that a device holds one whole block at a time.
- "tensor": heads, neurons and vocabulary over "model". A block needs one sum over the devices after
  attention and one after the MLP.
- "fsdp+tensor": heads, neurons and vocabulary over "model", and the width of the stream over "data".

The axis of layers is never split: a run takes one layer after another. Biases and gains are whole over
"data": they are a few bytes in ten thousand, and a gather of each costs the time of a message.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec

from ..typing import AnyMesh

PLANS = ("data", "fsdp", "tensor", "fsdp+tensor")
"The names of plans."

AXES: Mapping[str, tuple[str, ...]] = {
    "w_embed": ("vocab", "d"),
    "w_pos": ("ctx", "d"),
    "w_q": ("head", "d", "k"),
    "w_k": ("kv_head", "d", "k"),
    "w_v": ("kv_head", "d", "k"),
    "w_o": ("head", "k", "d"),
    "b_q": ("head", "k"),
    "b_k": ("kv_head", "k"),
    "b_v": ("kv_head", "k"),
    "b_o": ("d",),
    "w_in": ("d", "ff"),
    "w_gate": ("d", "ff"),
    "w_out": ("ff", "d"),
    "b_in": ("ff",),
    "b_gate": ("ff",),
    "b_out": ("d",),
    "weight": ("d",),
    "bias": ("d",),
    "w_unembed": ("d", "vocab"),
    "b_unembed": ("vocab",),
}
"""The axes of leaves by the last part of their paths, without the axis of layers."""

TENSOR = ("head", "kv_head", "ff", "vocab")
"""The axes that tensor parallelism splits: a sum over one of them is all that crosses devices."""


def axis_names(path: str, leaf: Any) -> tuple[str, ...]:
    """The names of a leaf's axes; those of a leaf without a known name are their numbers."""
    layers = ("layer",) if is_stacked(path) else ()
    known = (*layers, *AXES.get(path.rpartition(".")[2], ()))
    count = len(leaf.shape)
    if len(known) == count:
        return known
    return (*layers, *(f"axis {i}" for i in range(len(layers), count)))[:count]


def is_stacked(path: str) -> bool:
    """Whether the first axis of a leaf runs over the layers."""
    return path.split(".", maxsplit=1)[0] == "blocks"


def check_plan(plan: str, mesh: AnyMesh) -> None:
    """Raises ValueError for an unknown plan, and for a mesh without the axes that it names."""
    if plan not in PLANS:
        raise ValueError(
            f"A plan is one of {', '.join(map(repr, PLANS))}, or a function (path, leaf) -> "
            f"jax.sharding.PartitionSpec; got {plan!r}."
        )
    if "data" not in mesh.axis_names and plan != "tensor":
        raise ValueError(
            f"The plan {plan!r} lays rows and leaves over the axis 'data' of a mesh: "
            f"jax.make_mesh((2, 4), ('data', 'model')); this one has {tuple(mesh.axis_names)}."
        )
    if plan == "fsdp+tensor" and model_axis(mesh) == "data":
        raise ValueError(
            "The plan 'fsdp+tensor' needs two axes, rows over 'data' and heads over 'model': "
            f"jax.make_mesh((2, 4), ('data', 'model')); this mesh has {tuple(mesh.axis_names)}."
        )


def check_spec(spec: PartitionSpec, mesh: AnyMesh, shape: Sequence[int], what: str) -> None:
    """Raises ValueError where an array of a shape cannot lie on a mesh as a spec says."""
    entries = [(axis,) if isinstance(axis, str) else axis if isinstance(axis, tuple) else () for axis in spec]
    names = [name for entry in entries for name in entry]
    parts = [math.prod(mesh.shape.get(name, 1) for name in entry) for entry in entries]
    rule = None
    if len(spec) > len(shape):
        rule = f"has at most one entry for each of the {len(shape)} axes {tuple(shape)}"
    elif not set(names) <= set(mesh.axis_names):
        rule = f"names axes of the mesh, {tuple(mesh.axis_names)}"
    elif len(set(names)) < len(names):
        rule = "names each axis of the mesh once"
    elif any(size % count for size, count in zip(shape, parts, strict=False)):
        sizes = ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
        rule = f"divides axes of {tuple(shape)} into equal parts over {sizes}"
    if rule is not None:
        whole = ", ".join(["None"] * len(shape))
        raise ValueError(f"{what} {rule}; got {spec}. None leaves an axis whole: PartitionSpec({whole}).")


def model_axis(mesh: AnyMesh) -> str:
    """The axis of a mesh over which heads, neurons and vocabulary lie: "model", or the last one."""
    return "model" if "model" in mesh.axis_names else mesh.axis_names[-1]


def planned_spec(plan: str, mesh: AnyMesh, path: str, leaf: Any) -> PartitionSpec:
    """How a plan lays one leaf: a `PartitionSpec` with one entry for each axis."""
    spec: list[str | None] = [None] * len(leaf.shape)
    names, parts = plan.split("+"), mesh.shape
    if "tensor" in names:
        axis = model_axis(mesh)
        for i in _split_axes(path, leaf):
            if leaf.shape[i] % parts[axis] == 0:
                spec[i] = axis
    if "fsdp" in names and is_matrix(path, leaf):
        tensor = _split_axes(path, leaf)
        free = [i for i in _own_axes(path, leaf) if spec[i] is None and leaf.shape[i] % parts["data"] == 0]
        if free:
            spec[max(free, key=lambda i: (i not in tensor, leaf.shape[i]))] = "data"
    return PartitionSpec(*spec)


def gathered_spec(path: str, leaf: Any, layer: bool = False) -> PartitionSpec:
    """How a leaf lies while it is used, whatever the plan: whole over "data", and over "model" as it was.

    A leaf without a known name stays as it is. `layer`: whether the leaf is that of one layer, without the
    axis of layers.
    """
    if path.rpartition(".")[2] not in AXES:
        return PartitionSpec(*(PartitionSpec.UNCONSTRAINED,) * leaf.ndim)
    shape = (1, *leaf.shape) if layer and is_stacked(path) else leaf.shape
    struct = jax.ShapeDtypeStruct(shape, leaf.dtype)
    free = PartitionSpec.UNCONSTRAINED
    split = _split_axes(path, struct)
    return PartitionSpec(
        *(free if i in split else None for i in range(len(shape) - len(leaf.shape), len(shape)))
    )


def is_matrix(path: str, leaf: Any) -> bool:
    """Whether a leaf is no bias and no gain: by its name, or one without a known name by its axes."""
    name = path.rpartition(".")[2]
    return name.startswith("w_") if name in AXES else len(_own_axes(path, leaf)) > 1


def whole_because(plan: str, mesh: AnyMesh, path: str, leaf: Any) -> str:
    """Why a leaf is not split as its plan would have it; empty where it is."""
    spec, names = planned_spec(plan, mesh, path, leaf), axis_names(path, leaf)
    reasons = []
    if "tensor" in plan.split("+"):
        count = mesh.shape[model_axis(mesh)]
        wanted = _split_axes(path, leaf)
        reasons += [f"{leaf.shape[i]} {names[i]} by {count}" for i in wanted if spec[i] is None]
    if "fsdp" in plan.split("+") and "data" not in spec and is_matrix(path, leaf):
        sizes = [f"{leaf.shape[i]} {names[i]}" for i in _own_axes(path, leaf) if spec[i] is None]
        reasons += [f"{' or '.join(sizes)} by {mesh.shape['data']}"] if sizes else []
    return "cannot divide " + " and ".join(reasons) if reasons else ""


def _own_axes(path: str, leaf: Any) -> range:
    """The axes of one layer's leaf."""
    return range(is_stacked(path), len(leaf.shape))


def _split_axes(path: str, leaf: Any) -> Sequence[int]:
    return [i for i, name in enumerate(axis_names(path, leaf)) if name in TENSOR]
