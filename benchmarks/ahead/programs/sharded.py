"""Models and dictionaries that lie over many chips."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxinterp as ji

from ..program import Call, Program
from .dictionaries import steps
from .language import tokens
from .models import pass_work, pythia


def programs(smoke: bool) -> Iterator[Program]:
    if smoke:
        yield Program("pythia-tiny-tensor", "sharded", model("tiny", (2, 2), "v5e:2x2", 4, 16))
        yield Program("topk-64-512-2x2", "sharded", dictionary("TopK", 64, 512, 32, (2, 2), "v5e:2x2"))
        return
    yield Program("pythia-6.9b-tensor", "sharded", model("6.9b", (4, 4), "v5e:4x4", 16, 1024))
    yield Program("pythia-12b-tensor", "sharded", model("12b", (8, 8), "v5e:8x8", 16, 1024))
    for kind in ("TopK", "BatchTopK", "JumpReLU"):
        for shape in ((1, 64), (4, 16)):
            name = f"{kind.lower()}-4096-1048576-{shape[0]}x{shape[1]}"
            yield Program(name, "sharded", dictionary(kind, 4096, 1_048_576, 8192, shape, "v5e:8x8"))


def mesh_of(devices: Any, shape: tuple[int, int], axes: tuple[str, str]) -> Mesh:
    return Mesh(np.array(devices).reshape(shape), axes)


def model(size: str, shape: tuple[int, int], topology: str, batch: int, pos: int) -> Callable[[Any], Call]:
    """A pass that captures one site; weights by `ji.mesh.tensor_parallel`, rows over the other axis."""

    def build(devices: Any) -> Call:
        mesh = mesh_of(devices(topology), shape, ("data", "model"))
        model = pythia(size)

        def place(path: Any, leaf: Any) -> Any:
            name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
            is_model = path[0].idx == 0
            spec = ji.mesh.tensor_parallel(mesh, name, leaf) if is_model else P("data")
            return NamedSharding(mesh, spec)

        call = lambda model, tokens: ji.run(model, tokens, logits=-1, capture=["resid_post[5]"])
        work = pass_work(model.config, batch, pos, 1, jnp.bfloat16) / mesh.size
        return Call(
            call, (model, tokens(batch, pos)), work, place=place, topology=topology, mesh=jax.set_mesh(mesh)
        )

    return build


def dictionary(
    kind: str, d: int, m: int, rows: int, shape: tuple[int, int], topology: str
) -> Callable[[Any], Call]:
    """Two steps, features over one axis and rows over the other."""

    def build(devices: Any) -> Call:
        from jaxinterp.mesh._dictionaries import _spec

        mesh = mesh_of(devices(topology), shape, ("data", "feature"))
        options = {} if kind == "JumpReLU" else {"k": 32 if d > 64 else 4}
        made = getattr(ji.sae, kind)(d=d, features=m, matmul="bfloat16", **options)

        def place(path: Any, leaf: Any) -> Any:
            return NamedSharding(mesh, _spec(path[1:], leaf) if path[0].idx == 0 else P(None, "data"))

        products = 5 if kind == "JumpReLU" else 8
        work = 2.0 * products * rows * d * m / mesh.size
        return steps(made, (rows, d), False, work, place=place, topology=topology, mesh=jax.set_mesh(mesh))

    return build
