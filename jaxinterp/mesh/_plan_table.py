"""What a plan does to a model, leaf by leaf, known from its config: nothing is loaded."""

import dataclasses
import html
import math
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .._tabular import Tabular
from ..typing import AnyMesh, ConfigLike, DTypeLike, ModelLike, PlanLike
from ._leaves import leaf_paths
from ._models import sharding_rule
from ._plans import axis_names, is_stacked, whole_because


@dataclasses.dataclass(frozen=True)
class LeafPlan:
    """One leaf of a model on a mesh.

    - `path`, `shape`, `dtype`: which leaf it is.
    - `spec`: for each axis the axis of the mesh over which it is divided, or None.
    - `split`: the same in words, such as `"head over model"`; `"whole"` where every device has the whole leaf.
    - `note`: the axis that the plan divides and the mesh cannot, because the sizes do not match; else empty.
    - `bytes`, `device_bytes`: the bytes of the whole leaf, and of its part on one device.

    ```python
    mesh = jax.sharding.AbstractMesh((4,), ("model",))
    leaf = ji.mesh.plan(model, mesh).leaves[0]
    leaf.path, leaf.split, leaf.device_bytes
    ```
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    spec: PartitionSpec
    split: str
    note: str
    bytes: int
    device_bytes: int


@dataclasses.dataclass(frozen=True)
class MeshPlan(Tabular):
    """How the leaves of a model are divided over a mesh, from `ji.mesh.plan`. It prints as a table.

    - `name`: of the plan.
    - `axes`: sizes of the axes of the mesh by their names, as pairs.
    - `leaves`: a `LeafPlan` for each leaf.

    ```python
    mesh = jax.sharding.AbstractMesh((4,), ("model",))
    found = ji.mesh.plan(model, mesh)
    found.device_bytes, [leaf.note for leaf in found.leaves if leaf.note]
    ```
    """

    name: str
    axes: tuple[tuple[str, int], ...]
    leaves: tuple[LeafPlan, ...]

    @property
    def bytes(self) -> int:
        """The bytes of all leaves, each counted once."""
        return sum(leaf.bytes for leaf in self.leaves)

    @property
    def device_bytes(self) -> int:
        """The bytes of the leaves on one device."""
        return sum(leaf.device_bytes for leaf in self.leaves)

    @property
    def gathered_bytes(self) -> int:
        """The most that a run gathers at a time: one layer, or one leaf outside the blocks."""
        axes = dict(self.axes)
        layer, most = 0, 0
        for leaf in self.leaves:
            if "data" not in leaf.spec:
                continue
            gathered = leaf.device_bytes * axes["data"]
            if is_stacked(leaf.path):
                layer += gathered // leaf.shape[0]
            else:
                most = max(most, gathered)
        return max(layer, most)

    def records(self) -> list[dict[str, Any]]:
        """A row for each leaf: its fields, the shape as a list, without `spec`."""
        rows = [dataclasses.asdict(leaf) for leaf in self.leaves]
        return [{**row, "shape": list(row["shape"])} for row in rows for _ in [row.pop("spec")]]

    def _rows(self) -> list[tuple[str, str, str, str, str, str]]:
        head = ("leaf", "shape", "dtype", "split", "a device", "note")
        body = [
            (leaf.path, str(leaf.shape), leaf.dtype, leaf.split, _size(leaf.device_bytes), leaf.note)
            for leaf in self.leaves
        ]
        return [head, *body]

    def _title(self) -> str:
        axes = ", ".join(f"{name} {size}" for name, size in self.axes)
        text = f"plan {self.name!r} on a mesh of {axes}: {_size(self.device_bytes)} of {_size(self.bytes)} on each device"
        gathered = f"; at most {_size(self.gathered_bytes)} gathered at a time" if self.gathered_bytes else ""
        whole = sum(bool(leaf.note) for leaf in self.leaves)
        kept = f"; {whole} leaves do not divide as planned, see the notes" if whole else ""
        return text + gathered + kept

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.rjust(width) if i == 4 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([self._title(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = self._rows()
        row = lambda cells, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        lines = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in body)
        return (
            f"<table><caption>{html.escape(self._title())}</caption><tr>{row(head, 'th')}</tr>{lines}</table>"
        )


def plan(
    config: ConfigLike | ModelLike,
    mesh: AnyMesh,
    plan: PlanLike | None = "tensor",
    *,
    dtype: DTypeLike = np.float32,
) -> MeshPlan:
    """How a plan divides each leaf of a model over a mesh, with the bytes on one device. Nothing is loaded.

    **Arguments:**

    - `config`: a config of `ji.models`, or a model of any class (its leaves may be shapes).
    - `mesh`: of `jax.make_mesh`; a `jax.sharding.AbstractMesh` or a mesh of devices that are not there
      will do.
    - `plan`: as in `ji.load`; None, as the default, is "tensor".
    - `dtype`: of the weights of a config; float32 by default.

    **Returns:** a `MeshPlan`.

    **Raises:** ValueError for an unknown plan, a plan of one's own that does not divide a leaf into equal parts, a
    mesh without the axes that it needs, a dtype that is none of weights, and a config whose model is not found.

    ```python
    config = ji.models.GPTNeoXConfig(vocab=50432, ctx=2048, d=4096, layers=32, heads=32)
    mesh = jax.sharding.AbstractMesh((4, 4), ("data", "model"))
    print(ji.mesh.plan(config, mesh, plan="fsdp+tensor", dtype=jnp.bfloat16))
    ```

    Law: the parts that `ji.mesh.shard_model` makes have these bytes.
    """
    rule = sharding_rule(mesh, plan)
    plan = "tensor" if plan is None else plan
    kind = check_weight_dtype(dtype)
    sizes = tuple((str(name), int(size)) for name, size in mesh.shape.items())

    def one(path: str, leaf: Any) -> LeafPlan:
        where = rule(path, leaf)
        spec = where.spec if isinstance(where, NamedSharding) else PartitionSpec()
        spec = PartitionSpec(*spec, *(None,) * (len(leaf.shape) - len(spec)))
        parts = dict(sizes)
        flat = [(axis,) if isinstance(axis, str) else tuple(axis or ()) for axis in spec]
        names = axis_names(path, leaf)
        split = [f"{name} over {' and '.join(axes)}" for name, axes in zip(names, flat, strict=True) if axes]
        whole = math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        return LeafPlan(
            path=path,
            shape=tuple(leaf.shape),
            dtype=np.dtype(leaf.dtype).name,
            spec=spec,
            split=", ".join(split) or "whole",
            note=whole_because(plan, mesh, path, leaf) if isinstance(plan, str) else "",
            bytes=whole,
            device_bytes=whole // math.prod(parts[axis] for axes in flat for axis in axes),
        )

    leaves = leaf_paths(_shapes(config, kind)).items()
    name = plan if isinstance(plan, str) else getattr(plan, "__name__", "by hand")
    return MeshPlan(name, sizes, tuple(one(path, leaf) for path, leaf in leaves))


def check_weight_dtype(dtype: Any) -> np.dtype:
    """The dtype of weights: a float of 2, 4 or 8 bytes."""
    try:
        kind = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or not jnp.issubdtype(kind, jnp.floating) or kind.itemsize not in (2, 4, 8):
        raise ValueError(
            f"dtype is of the weights: 'float32', 'bfloat16', 'float16' or 'float64'; got {dtype!r}."
        )
    return kind


def _shapes(config: Any, dtype: np.dtype) -> Any:
    """The leaves as shapes: of the model of a config, which stands beside it, or of what is a model."""
    if hasattr(config, "blocks"):
        return eqx.filter(config, lambda leaf: hasattr(leaf, "shape"))
    kind = type(config)
    name = kind.__name__.removesuffix("Config")
    family = vars(sys.modules[kind.__module__]).get(name) if name != kind.__name__ else None
    if family is None:
        raise ValueError(
            f"A plan is of a config, as ji.models.GPT2Config(...), or of a model; got a {kind.__name__}, "
            "beside which no model stands. Give the model's shapes: jax.eval_shape(lambda key: "
            "Model.init(config, key=key), jax.random.key(0))."
        )
    # Weights have one dtype, and their shapes do not depend on it: JAX makes float64 in its own mode alone.
    make = lambda key: family.init(config, key=key)
    retyped = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype) if hasattr(leaf, "shape") else leaf
    return jax.tree.map(retyped, eqx.filter_eval_shape(make, jax.random.key(0)))


def _size(count: int) -> str:
    """Bytes for a reader: `1.5 GiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
