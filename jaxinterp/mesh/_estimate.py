"""What a program needs of each device, by formula: nothing is loaded, compiled or run. See `docs/scale.md`."""

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import AbstractMesh, Mesh

from .._tabular import Tabular
from ..typing import AnyMesh, CaptureLike, ConfigLike, DTypeLike, IndexLike, KindLike, PlanLike
from ._chip import GIB, V5E, Chip
from ._needs import Needs, needs_of_kind, needs_of_model
from ._plan_table import check_weight_dtype


@dataclasses.dataclass(frozen=True)
class Estimate(Tabular):
    """The memory and the time that one device needs: the result of `ji.mesh.estimate`. It prints as a table.

    - `weights`: bytes of the weights on a device; `state`: bytes of the optimizer; `inputs`, `outputs`: bytes of the
      arguments, and of the captures and results.
    - `temporary`: bytes of the temporary arrays at their peak.
    - `operations`: operations of matrix products, counted at the rate of bfloat16; `traffic`: the fewest bytes to and
      from memory; `exchanged`: bytes that go to other devices.
    - `chip`: the device.

    ```python
    config = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
    found = ji.mesh.estimate(config, shape=(8, 1024))
    found.bytes / 2**30, found.fits, found.seconds
    ```
    """

    title: str
    weights: float
    state: float
    inputs: float
    outputs: float
    temporary: float
    operations: float
    traffic: float
    exchanged: float
    chip: Chip

    @property
    def bytes(self) -> float:
        """The bytes of memory on one device at its peak."""
        return self.weights + self.state + self.inputs + self.outputs + self.temporary

    @property
    def fits(self) -> bool:
        """Whether that is at most the memory of the chip."""
        return self.bytes <= self.chip.memory

    @property
    def seconds(self) -> float:
        """The least time: the longest of products, memory and links."""
        chip = self.chip
        return max(
            self.operations / chip.products, self.traffic / chip.bandwidth, self.exchanged / chip.links
        )

    def records(self) -> list[dict[str, Any]]:
        """A row for each number: `name`, `value`, `unit`."""
        sizes = ("weights", "state", "inputs", "outputs", "temporary", "bytes", "traffic", "exchanged")
        rows = [{"name": name, "value": getattr(self, name) / GIB, "unit": "GiB"} for name in sizes]
        rows.append({"name": "operations", "value": self.operations / 1e12, "unit": "TFLOP"})
        return [*rows, {"name": "seconds", "value": self.seconds, "unit": "s"}]

    def _title(self) -> str:
        fit = "fits" if self.fits else "does not fit"
        return f"{self.title}: {self.bytes / GIB:.2f} GiB a device, {fit} a {self.chip.name}"

    def __str__(self) -> str:
        rows = [f"{row['name']:<11}{row['value']:>12.4g} {row['unit']}" for row in self.records()]
        return "\n".join([self._title(), *rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        line = "<tr><td>{name}</td><td>{value:.4g} {unit}</td></tr>"
        lines = "".join(line.format(**row) for row in self.records())
        return f"<table><caption>{html.escape(self._title())}</caption>{lines}</table>"


def estimate(
    what: ConfigLike | KindLike,
    mesh: AnyMesh | Mapping[str, int] | None = None,
    *,
    shape: int | tuple[int, ...],
    capture: CaptureLike = (),
    at: CaptureLike = (),
    logits: bool | IndexLike = True,
    plan: PlanLike | None = None,
    dtype: DTypeLike = np.float32,
    chip: Chip = V5E,
) -> Estimate:
    r"""$M = W + S + I + O + T$: the memory of one device, and the least time, of a pass or of a training step.

    A config is estimated for `ji.run(model, tokens, capture=..., logits=...)`, or with `at` for `ji.site_grads`. A kind of
    dictionary is estimated for one step of `ji.sae.train`. Nothing runs.

    **Arguments:**

    - `what`: a config of `ji.models`, or a kind with its settings.
    - `mesh`: a mesh, with or without devices, or sizes by name `{"data": 4, "model": 4}`; None is one device.
    - `shape`: `(batch, pos)` of tokens; of a dictionary the number of rows of a step.
    - `capture`, `at`, `logits`: as in `ji.run` and `ji.site_grads`; sites as strings.
    - `plan`: of the weights of a model, as in `ji.load`; "tensor" by default.
    - `dtype`: of the weights of a model; float32 by default. A dictionary's state is in float32.
    - `chip`: a `ji.mesh.Chip`; one TPU v5e by default.

    **Returns:** an `Estimate`.

    **Raises:** ValueError for what is neither a config nor a kind that is trained, sites that the model lacks, and a shape of other
    axes; IndexError for layers and positions that are none. An axis that does not divide is whole, as in `plan`.

    ```python
    config = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
    print(ji.mesh.estimate(config, shape=(8, 1024), capture=["resid_post"], logits=-1, dtype="bfloat16"))
    kind = ji.sae.TopK(d=4096, features=2**20, k=32, matmul="bfloat16")
    print(ji.mesh.estimate(kind, {"data": 4, "feature": 16}, shape=8192))
    ```

    Law: `bytes` is within 15% of what the TPU compiler says of the programs in `tests/mesh`.
    """
    sizes = tuple(_count(size, "each size of shape") for size in _as_shape(shape))
    if not isinstance(chip, Chip):
        raise ValueError(f"chip is a ji.mesh.Chip(name=..., products=..., memory=...); got {chip!r}.")
    is_kind = hasattr(what, "features") and hasattr(what, "shapes")
    if hasattr(what, "layers") and hasattr(what, "heads") and not is_kind:
        axes = _axes(mesh, ("data", "model"))
        if len(sizes) != 2:
            raise ValueError(f"Tokens are (batch, pos): shape=(8, 1024); got shape={shape!r}.")
        if sizes[1] > (most := int(getattr(what, "ctx", sizes[1]))):
            raise ValueError(f"The model has {most} positions (config.ctx); got shape={shape!r}.")
        name = type(what).__name__.removesuffix("Config")
        kind, plan = check_weight_dtype(dtype), "tensor" if plan is None else plan
        needs = needs_of_model(what, axes, sizes, capture, at, logits, plan, kind)
    elif is_kind:
        if (optimizer := getattr(what, "optimizer", None)) is not None:
            optimizer(1000)  # raises where the kind is not trained here
        axes = _axes(mesh, ("data", "feature"))
        if len(sizes) != 1:
            raise ValueError(f"A step of a dictionary has a number of rows: shape=8192; got shape={shape!r}.")
        of_model = plan is not None or logits is not True or check_weight_dtype(dtype) != np.float32
        if of_model or capture not in ((), [], None) or at not in ((), [], None):
            raise ValueError(
                "capture, at, logits, plan and dtype are of a pass of a model. A step of a dictionary takes a kind, a "
                "mesh and shape=8192; the precision of its products is an option of the kind: "
                "ji.sae.TopK(..., matmul='bfloat16')."
            )
        if set(axes.shape) - {"data", "feature"}:
            raise ValueError(
                "A dictionary is spread over a mesh with the axes 'data' and 'feature': "
                f"{{'data': 2, 'feature': 4}}; got {dict(axes.shape)}."
            )
        features = int(getattr(what, "features", 0))
        if sizes[0] % axes.shape["data"] or features % axes.shape.get("feature", 1):
            raise ValueError(
                f"{sizes[0]} rows and {features} features cannot be divided over {dict(axes.shape)}: "
                "ji.sae.train takes multiples."
            )
        name = type(what).__name__
        needs = needs_of_kind(what, axes, sizes[0])
    else:
        raise ValueError(
            "An estimate is of a config, ji.models.GPT2Config(...) or model.config, or of a kind of dictionary, "
            f"ji.sae.TopK(...); got {type(what).__name__}."
        )
    spread = (
        " on " + ", ".join(f"{axis} {size}" for axis, size in axes.shape.items()) if axes.size > 1 else ""
    )
    return _with(needs, f"{name} {'x'.join(map(str, sizes))}{spread}", chip)


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{what} is an int of 1 or more; got {value!r}.")
    return int(value)


def _as_shape(shape: Any) -> tuple[Any, ...]:
    if isinstance(shape, int | np.integer):
        return (shape,)
    if not isinstance(shape, tuple | list):
        raise ValueError(f"shape is (8, 1024) of tokens, or 8192 rows of a dictionary; got {shape!r}.")
    return tuple(shape)


def _with(needs: Needs, title: str, chip: Chip) -> Estimate:
    numbers = {name: float(value) for name, value in needs._asdict().items()}
    return Estimate(title=title, chip=chip, **numbers)


def _axes(mesh: Any, names: tuple[str, str]) -> AbstractMesh:
    if mesh is None:
        mesh = dict.fromkeys(names, 1)
    if isinstance(mesh, Mesh | AbstractMesh):
        mesh = dict(mesh.shape)
    if not isinstance(mesh, Mapping) or "data" not in mesh:
        raise ValueError(
            f"A mesh has the axes {names}: jax.make_mesh((2, 4), {names}), or sizes by name "
            f"{{'data': 2, {names[1]!r}: 4}}; got {mesh!r}."
        )
    sizes = [_count(size, f"the axis {axis!r} of a mesh") for axis, size in mesh.items()]
    return AbstractMesh(tuple(sizes), tuple(mesh))
