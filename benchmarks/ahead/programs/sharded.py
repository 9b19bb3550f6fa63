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
        for plan in ("tensor", "fsdp"):
            build = model("tiny", plan, (2, 2), "v5e:2x2", 4, 16)
            yield Program(f"pythia-tiny-{plan}", "sharded", build)
        yield Program("topk-64-512-2x2", "sharded", dictionary("TopK", 64, 512, 32, (2, 2), "v5e:2x2"))
        return
    for plan in ("tensor", "fsdp", "fsdp+tensor"):
        shape = (16, 1) if plan == "fsdp" else (4, 4)
        yield Program(f"pythia-6.9b-{plan}", "sharded", model("6.9b", plan, shape, "v5e:4x4", 16, 1024))
    for plan in ("tensor", "fsdp", "fsdp+tensor"):
        shape, batch = ((64, 1), 64) if plan == "fsdp" else ((8, 8), 16)  # each chip has rows of its own
        yield Program(f"pythia-12b-{plan}", "sharded", model("12b", plan, shape, "v5e:8x8", batch, 1024))
    for kind in ("TopK", "BatchTopK", "JumpReLU"):
        for shape in ((1, 64), (4, 16)):
            name = f"{kind.lower()}-4096-1048576-{shape[0]}x{shape[1]}"
            yield Program(name, "sharded", dictionary(kind, 4096, 1_048_576, 8192, shape, "v5e:8x8"))


def mesh_of(devices: Any, shape: tuple[int, int], axes: tuple[str, str]) -> Mesh:
    return Mesh(np.array(devices).reshape(shape), axes)


def model(
    size: str, plan: str, shape: tuple[int, int], topology: str, batch: int, pos: int
) -> Callable[[Any], Call]:
    """A pass that captures one site; weights by a plan's name, rows over the axis "data"."""

    def build(devices: Any) -> Call:
        mesh = mesh_of(devices(topology), shape, ("data", "model"))
        model, rule = pythia(size), ji.mesh.sharding_rule(mesh, plan)
        site = f"resid_post[{min(5, model.config.layers - 1)}]"

        def place(path: Any, leaf: Any) -> Any:
            if path[0].idx:
                return NamedSharding(mesh, P("data"))
            return rule(jax.tree_util.keystr(path[1:], simple=True, separator="."), leaf)

        call = lambda model, tokens: ji.run(model, tokens, logits=-1, capture=[site])
        work = pass_work(model.config, batch, pos, 1, jnp.bfloat16) / mesh.size
        around = jax.set_mesh(mesh)  # as the library sets it where the weights are arrays
        return Call(call, (model, tokens(batch, pos)), work, place=place, topology=topology, mesh=around)

    return build


def dictionary(
    kind: str, d: int, m: int, rows: int, shape: tuple[int, int], topology: str
) -> Callable[[Any], Call]:
    """Two steps, features over one axis and rows over the other."""

    def build(devices: Any) -> Call:
        from jaxinterp.mesh._dictionaries import leaf_spec

        mesh = mesh_of(devices(topology), shape, ("data", "feature"))
        options = {} if kind == "JumpReLU" else {"k": 32 if d > 64 else 4}
        made = getattr(ji.sae, kind)(d=d, features=m, matmul="bfloat16", **options)

        def place(path: Any, leaf: Any) -> Any:
            is_state = path[0].idx == 0
            return NamedSharding(mesh, leaf_spec(path[1:], leaf, shape[0]) if is_state else P(None, "data"))

        products = 5 if kind == "JumpReLU" else 8
        work = 2.0 * products * rows * d * m / mesh.size
        return steps(made, (rows, d), False, work, place=place, topology=topology, mesh=jax.set_mesh(mesh))

    return build
