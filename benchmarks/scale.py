"""`ji.mesh.estimate` beside the TPU compiler's own memory: v5e, ahead of time, no accelerator needed.

    python benchmarks/scale.py                          # every program, one line each
    python benchmarks/scale.py --only topk-1m llama     # names that contain one of these
    python benchmarks/scale.py --write                  # and keeps the compiler's numbers for the tests

It needs jax 0.10.2 and libtpu 0.0.42.1, see `benchmarks/tpu.py`. The numbers that `--write` keeps are in
`tests/mesh/compiler_memory.json`; `tests/mesh/test_estimate.py` compares the formula with them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import compiler

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "tests" / "mesh" / "compiler_memory.json"
NOTE = "steps: of one dispatch; the command itself compiles two"
COMMAND = "python benchmarks/scale.py --write"

GPT2 = {"class": "GPT2Config", "vocab": 50257, "ctx": 8192, "d": 768, "layers": 12, "heads": 12}
PYTHIA = {"class": "GPTNeoXConfig", "vocab": 50304, "ctx": 2048, "d": 1024, "layers": 24, "heads": 16}
PYTHIA_7B = {"class": "GPTNeoXConfig", "vocab": 50432, "ctx": 2048, "d": 4096, "layers": 32, "heads": 32}
LLAMA_1B = {"class": "LlamaConfig", "vocab": 128256, "ctx": 8192, "d": 2048, "layers": 16, "heads": 32}
LLAMA_1B |= {"kv_heads": 8, "k": 64, "ff": 8192, "tied": True}
LLAMA_70B = {"class": "LlamaConfig", "vocab": 128256, "ctx": 8192, "d": 8192, "layers": 80, "heads": 64}
LLAMA_70B |= {"kv_heads": 8, "ff": 28672}
BF16 = {"dtype": "bfloat16"}


def coder(kind: str, d: int, features: int, **more: Any) -> dict[str, Any]:
    return {"class": kind, "d": d, "features": features, "matmul": "bfloat16", **more}


MILLION = (4096, 1_048_576)
PROGRAMS: dict[str, dict[str, Any]] = {
    "gpt2-forward-8x1024": {
        "config": GPT2,
        "shape": [8, 1024],
        "logits": -1,
        "capture": ["resid_post"],
        **BF16,
    },
    "gpt2-forward-8x1024-f32": {"config": GPT2, "shape": [8, 1024], "logits": -1, "capture": ["resid_post"]},
    "gpt2-logits-8x1024": {"config": GPT2, "shape": [8, 1024], **BF16},
    "gpt2-forward-1x8192": {
        "config": GPT2,
        "shape": [1, 8192],
        "logits": -1,
        "capture": ["mlp_post"],
        **BF16,
    },
    "pythia-forward-16x1024": {
        "config": PYTHIA,
        "shape": [16, 1024],
        "logits": -1,
        "capture": ["resid_post[12]", "z"],
        **BF16,
    },
    "llama-1b-forward-1x8192": {
        "config": LLAMA_1B,
        "shape": [1, 8192],
        "logits": -1,
        "capture": ["resid_post[8]"],
        **BF16,
    },
    "gpt2-grads-8x1024": {
        "config": GPT2,
        "shape": [8, 1024],
        "logits": -1,
        "at": ["resid_pre", "z", "mlp_out"],
        **BF16,
    },
    "pythia-grads-8x512": {"config": PYTHIA, "shape": [8, 512], "logits": -1, "at": ["resid_post"], **BF16},
    "pythia-6.9b-tensor-4x4": {
        "config": PYTHIA_7B,
        "shape": [16, 1024],
        "logits": -1,
        "capture": ["resid_post[5]"],
        "mesh": {"data": 4, "model": 4},
        "plan": "tensor",
        **BF16,
    },
    "pythia-6.9b-fsdp-4x4": {
        "config": PYTHIA_7B,
        "shape": [16, 1024],
        "logits": -1,
        "capture": ["resid_post[5]"],
        "mesh": {"data": 4, "model": 4},
        "plan": "fsdp+tensor",
        **BF16,
    },
    "llama-70b-8x8": {
        "config": LLAMA_70B,
        "shape": [16, 1024],
        "logits": -1,
        "capture": ["resid_post[40]"],
        "mesh": {"data": 8, "model": 8},
        "plan": "fsdp+tensor",
        **BF16,
    },
    "topk-24k": {"kind": coder("TopK", 768, 24_576, k=32), "shape": [4096]},
    "batchtopk-131k": {"kind": coder("BatchTopK", 768, 131_072, k=32), "shape": [4096]},
    "jumprelu-131k": {"kind": coder("JumpReLU", 768, 131_072), "shape": [4096]},
    "standard-24k-d2304": {"kind": coder("Standard", 2304, 24_576), "shape": [4096]},
    "topk-1m-1x64": {
        "kind": coder("TopK", *MILLION, k=32),
        "shape": [8192],
        "mesh": {"data": 1, "feature": 64},
    },
    "topk-1m-4x16": {
        "kind": coder("TopK", *MILLION, k=32),
        "shape": [8192],
        "mesh": {"data": 4, "feature": 16},
    },
    "batchtopk-1m-4x16": {
        "kind": coder("BatchTopK", *MILLION, k=32),
        "shape": [8192],
        "mesh": {"data": 4, "feature": 16},
    },
    "jumprelu-1m-4x16": {
        "kind": coder("JumpReLU", *MILLION),
        "shape": [8192],
        "mesh": {"data": 4, "feature": 16},
    },
}
"""What is compiled: the arguments of `ji.mesh.estimate` by name."""

TOPOLOGIES = {1: "v5e:2x2", 4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4", 32: "v5e:4x8", 64: "v5e:8x8"}
"""Names of topologies by the number of chips."""


def call_of(given: dict[str, Any], devices: Any) -> Any:
    """The program as `ahead` compiles it."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh

    axes = given.get("mesh") or {"data": 1, "model" if "config" in given else "feature": 1}
    count = int(np.prod(list(axes.values())))
    topology = TOPOLOGIES[count]
    chips = np.array(devices(topology)[:count]).reshape(tuple(axes.values()))
    mesh = Mesh(chips, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))
    around = jax.set_mesh(mesh) if count > 1 else None
    build = model_call if "config" in given else kind_call
    return build(given, mesh, {"topology": topology, "mesh": around})


def made(fields: dict[str, Any], room: Any) -> Any:
    """A config or a kind from its class and fields."""
    own = dict(fields)
    return getattr(room, own.pop("class"))(**own)


def model_call(given: dict[str, Any], mesh: Any, more: dict[str, Any]) -> Any:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from ahead.program import Call, Shape
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    import jaxinterp as ji

    config = made(given["config"], ji.models)
    family = getattr(ji.models, given["config"]["class"].removesuffix("Config"))
    dtype = jnp.dtype(given.get("dtype", "float32"))
    model = eqx.filter_eval_shape(lambda: family.init(config, key=jax.random.key(0), dtype=dtype))
    rule = ji.mesh.sharding_rule(mesh, given.get("plan", "tensor"))

    def place(path: Any, leaf: Any) -> Any:
        if path[0].idx:
            return NamedSharding(mesh, P("data"))
        return rule(jax.tree_util.keystr(path[1:], simple=True, separator="."), leaf)

    logits, capture, at = given.get("logits", True), given.get("capture", []), given.get("at")

    def run(model: Any, tokens: Any) -> Any:
        if at is None:
            return ji.run(model, tokens, capture=list(capture), logits=logits)
        metric = lambda logits: logits[..., 5] - logits[..., 3]
        return ji.site_grads(model, tokens, metric, at=list(at), logits=logits)

    return Call(run, (model, Shape(tuple(given["shape"]), jnp.int32)), place=place, **more)


def kind_call(given: dict[str, Any], mesh: Any, more: dict[str, Any]) -> Any:
    from ahead.programs.dictionaries import steps
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    import jaxinterp as ji
    from jaxinterp.mesh._dictionaries import leaf_spec

    kind = made(given["kind"], ji.sae)

    def place(path: Any, leaf: Any) -> Any:
        here = leaf_spec(path[1:], leaf, mesh.shape["data"]) if path[0].idx == 0 else P(None, "data")
        return NamedSharding(mesh, here)

    return steps(kind, (given["shape"][0], kind.d), False, 0.0, place=place, **more)


def estimated(given: dict[str, Any]) -> Any:
    """What the formula says of the same."""
    import jaxinterp as ji

    own = {name: value for name, value in given.items() if name not in ("config", "kind", "compiler")}
    what = made(given["config"], ji.models) if "config" in given else made(given["kind"], ji.sae)
    return ji.mesh.estimate(what, own.pop("mesh", None), shape=tuple(own.pop("shape")), **own)


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", nargs="+", default=[""], help="parts of names")
    ask.add_argument("--write", action="store_true", help=f"keeps the numbers in {KEPT.relative_to(ROOT)}")
    asked = ask.parse_args()
    if not any(part in name for part in asked.only for name in PROGRAMS):
        ask.error(f"no program's name contains one of {asked.only}; the names are {', '.join(PROGRAMS)}")
    if not compiler.is_installed():
        print(compiler.MISSING)
        return 2
    one_compiler = compiler.Compiler(code=False)
    from ahead.measure import measure
    from ahead.program import Program

    print(f"{'program':<26} {'peak_GiB':>9} {'temp_GiB':>9} {'formula':>9} {'ratio':>6}  collectives")
    for name, given in PROGRAMS.items():
        if not any(part in name for part in asked.only):
            continue
        found = measure(
            Program(name, "scale", lambda devices, given=given: call_of(given, devices)), one_compiler
        )
        guess = estimated(given).bytes / 2**30
        moved = ", ".join(f"{kind} {size / 1e9:.3g} GB" for kind, (size, _) in found.collectives.items())
        line = f"{name:<26} {found.peak_gib:>9.3f} {found.temporary_gib:>9.3f} {guess:>9.3f}"
        print(f"{line} {guess / found.peak_gib:>6.2f}  {moved}", flush=True)
        if asked.write:
            kept = json.loads(KEPT.read_text())["programs"] if KEPT.exists() else {}
            numbers = {"peak": round(found.peak_gib * 2**30), "temporary": round(found.temporary_gib * 2**30)}
            kept[name] = {**given, "compiler": numbers}
            kept = {one: kept[one] for one in PROGRAMS if one in kept}
            KEPT.write_text(json.dumps({"command": COMMAND, "note": NOTE, "programs": kept}, indent=1) + "\n")
    one_compiler.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
