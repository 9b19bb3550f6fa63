"""A port, a config and tensors make a model: the step that all loading comes down to."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._deprecations import respelled
from ..core._types import Source
from ..mesh._models import Rule, sharding_rule
from ..typing import DTypeLike, MeshLike, PlanLike
from . import _config
from ._classes import ConfigLike, LoadedModel
from ._leaves import skeleton
from ._port import Port, PortLike
from ._port_row import Row
from ._port_table import read_port
from ._rows import fill
from ._tensors import LazyTensor, in_memory


@respelled(sharding="plan=")
def build(
    port: PortLike,
    config: ConfigLike,
    tensors: Mapping[str, np.ndarray | LazyTensor],
    *,
    dtype: DTypeLike = np.float32,
    mesh: MeshLike | None = None,
    plan: PlanLike | None = None,
) -> LoadedModel:
    r"""$(\text{config}, \text{tensors}) \mapsto M$: the model of a port, from tensors that you have read yourself.

    It serves formats for which `ji.load` has no reader.

    **Arguments:**

    - `port`: a port, or the path of its table.
    - `config`: our config, or a mapping of the port's own keys (the contents of a `config.json`).
    - `tensors`: arrays by the checkpoint's names.
    - `dtype`, `mesh`, `plan`: as in `load`.

    **Returns:** a model of the class that the port names.

    **Raises:** `UnhandledConfig`, and `BadCheckpoint` for missing, superfluous or misshapen tensors.

    ```python
    state = ji.hub.read_torch("ckpt.pt")
    model = ji.hub.build("my_port.toml", state["config"], state["model"])
    ```
    """
    port = port if isinstance(port, Port) else read_port(port)
    if isinstance(config, Mapping):
        config = _config.to_ours(port, config)
    lazy = {
        name: tensor if isinstance(tensor, LazyTensor) else in_memory({name: tensor})[name]
        for name, tensor in tensors.items()
    }
    return assemble(port, config, lazy, port.rows, dtype, sharding_rule(mesh, plan))


def assemble(
    port: Port,
    config: Any,
    tensors: Mapping[str, LazyTensor],
    rows: tuple[Row, ...],
    dtype: DTypeLike,
    rule: Rule,
    progress: Callable[[int], Any] = lambda size: None,
) -> Any:
    """A skeleton filled by rows. Its config is the port's own, without a source."""
    blank = skeleton(_config.model_class(port), config, dtype)
    return fill(port, blank, tensors, place=rule, rows=rows, progress=progress)


def with_source(model: Any, source: Source) -> Any:
    """The model with its provenance on the config."""
    return dataclasses.replace(model, config=dataclasses.replace(model.config, source=source))
