"""Two real processes of `jax.distributed`: the same numbers as one device, and no more memory than a shard."""

import gc
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import CONFIGS, random_model
from tests.processes import ROOT, environment

pytestmark = pytest.mark.slow  # each starts two interpreters, which compile everything by themselves
MIB = 2**20


def start(process: str, port: str) -> None:
    """Joins the two processes, before any device is asked for."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))


def both(check: str, *arguments: str, devices: int) -> list[str]:
    """What two processes print that run `check(process, port, *arguments)` of this file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = f"import sys; from tests.mesh.test_processes import {check} as check; check(*sys.argv[1:])"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, process, port, *arguments],
            env=environment(devices),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in ("0", "1")
    ]
    ends = [one.communicate(timeout=600) for one in started]
    for one, (_, errors) in zip(started, ends, strict=True):
        assert one.returncode == 0, errors[-3000:]
    return [out.splitlines()[-1] for out, _ in ends]  # gloo speaks first


def same_numbers(process: str, port: str, folder: str) -> None:
    """Every process reads its parts of the model; what they compute together is what each computes alone."""
    start(process, port)
    from jax.experimental import multihost_utils

    tokens = np.random.default_rng(0).integers(0, 40, (8, 6)).astype(np.int32)
    edits = [ji.zero("z", layer=1, head=1), ji.scale("mlp_out", 0.5)]
    mesh = jax.make_mesh((4, 2), ("data", "model"))

    def numbers(model: Any, rows: Any, mesh: Any = None) -> dict[str, Any]:
        logits, acts = ji.run(model, rows, edits=edits, capture=["resid_post", "pattern[1]"])
        options: dict[str, Any] = {"batch_size": 8, "progress": False}
        total = lambda state, batch, acts: state + acts["resid_post[1]"].sum((0, 1))
        summed = ji.corpus.fold(tokens, model, ["resid_post[1]"], jnp.zeros(16), total, mesh=mesh, **options)
        return {"logits": logits, **acts, "text": ji.generate(model, rows, 2), "fold": summed}

    plain, _ = ji.load(folder)
    want = numbers(plain, tokens)
    for plan in ("fsdp+tensor", "tensor"):
        model, _ = ji.load(folder, mesh=mesh, plan=plan)
        held = {shard.data.nbytes for shard in model.blocks.mlp.w_in.addressable_shards}
        assert held == {model.blocks.mlp.w_in.nbytes // (8 if "fsdp" in plan else 2)}
        got = numbers(model, ji.mesh.rows_on(mesh, tokens), mesh)
        for name in want:
            whole = multihost_utils.process_allgather(got[name], tiled=True)
            np.testing.assert_allclose(whole, want[name], atol=1e-5, err_msg=name)
    print("equal")


def test_two_processes_equal_one_device(tmp_path: Path) -> None:
    ji.hub.export(tmp_path, random_model(CONFIGS["llama"], scale=0.1, gain=1.0))
    assert both("same_numbers", str(tmp_path), devices=4) == ["equal", "equal"]


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def peak(process: str, port: str, folder: str, small: str, plan: str) -> None:
    """Prints the bytes of this process's parts, and by how much its memory rose at most while it loaded them."""
    start(process, port)
    mesh = jax.make_mesh((2, 1) if plan == "fsdp" else (1, 2), ("data", "model"))
    options: dict[str, Any] = {"mesh": mesh, "plan": plan, "dtype": jnp.bfloat16}
    ji.load(small, **options)  # imports, threads and programs that every load needs
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    model, _ = ji.load(folder, **options)
    parts = sum(shard.data.nbytes for leaf in jax.tree.leaves(model) for shard in leaf.addressable_shards)
    print(parts, _status("VmHWM") - before)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_holds_its_shard_and_little_else(tmp_path: Path) -> None:
    """A checkpoint of 208 MiB, as the hub has it and as `ji.save` wrote it: 1.2 shards and a constant."""
    for name, width in (("small", 64), ("large", 1024)):
        config = ji.models.GPTNeoXConfig(vocab=4096, ctx=64, d=width, layers=8, heads=16)
        model = random_model(config, dtype=jnp.bfloat16)
        ji.hub.export(tmp_path / name / "hub", model)
        ji.save(tmp_path / name / "saved", model)
    for form, plan in (("hub", "tensor"), ("hub", "fsdp"), ("saved", "tensor"), ("saved", "fsdp")):
        folders = [str(tmp_path / name / form) for name in ("large", "small")]
        for line in both("peak", *folders, plan, devices=1):
            parts, rise = map(int, line.split())
            assert abs(parts - 104 * MIB) < MIB
            assert rise <= 1.2 * parts + 24 * MIB, (form, plan, rise / MIB)
