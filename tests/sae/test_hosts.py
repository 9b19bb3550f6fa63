"""Two hosts, simulated by two processes: a dictionary and its stream over both, killed and gone on with."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import environment

HOST = """
import os, signal, sys
import jax, numpy as np
address, number, folder, out, fatal = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(address, 2, number)
from jax.experimental.multihost_utils import process_allgather
import jaxinterp as ji
from tests.data.test_mesh_stream import CONFIG, corpus, random_model

mesh = jax.make_mesh((2, 2), ("data", "feature"))
tokens, mask = corpus()
model = ji.mesh.shard_model(random_model(CONFIG), mesh)
assert not model.blocks.attn.w_q.is_fully_addressable
stream = ji.data.stream(model, tokens, site="resid_post[0]", mask=mask, batch_size=40, max_bytes=0, buffer=16)
def tell(step, numbers):
    print("step", step, flush=True)
    if step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
settings = ji.fit.Settings(steps_per_dispatch=2, every=2, callback=tell, progress=False, checkpoint=folder or None, checkpoint_every=4)
kind = ji.sae.TopK(d=8, features=64, k=3, aux=4, dead_tokens=160)
sae, history = ji.sae.train(kind, stream, key=jax.random.key(0), steps=16, mesh=mesh, settings=settings)
assert not sae.decoder.is_fully_addressable
leaves = {f"leaf{i}": process_allgather(leaf, tiled=True) for i, leaf in enumerate(jax.tree.leaves(sae))}
if number == 0:
    np.savez(out, **leaves, **history)
"""


def both(folder: Any, out: Path, fatal: tuple[int, int] = (0, 0)) -> list[Any]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    return [
        subprocess.Popen(
            [sys.executable, "-c", HOST, address, str(i), str(folder), str(out), str(fatal[i])],
            env=environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def finished(hosts: list[Any]) -> list[str]:
    found = [host.communicate(timeout=400) for host in hosts]
    for host, (_, error) in zip(hosts, found, strict=True):
        assert host.returncode == 0, error[-3000:]
    return [printed for printed, _ in found]


@pytest.mark.slow
def test_killed_on_two_hosts_and_gone_on_with(tmp_path: Path) -> None:
    """Each of the two is the one that dies once; the other waits for it, and is killed too. Slow: four starts of two processes."""
    folder, out = tmp_path / "run", tmp_path / "found.npz"
    for dead, step in ((0, 6), (1, 10)):
        hosts = both(folder, out, (step, 0) if dead == 0 else (0, step))
        try:
            assert hosts[dead].wait(400) == -signal.SIGKILL, hosts[dead].stderr.read()[-3000:]
        finally:
            for host in hosts:
                host.kill()
                host.communicate()
    assert not out.exists()
    first = finished(both(folder, out))[0].split("step ")[1].split()[0]
    assert int(first) > 8  # it went on from a checkpoint
    finished(both("", tmp_path / "whole.npz"))
    with np.load(tmp_path / "whole.npz") as whole, np.load(out) as found:
        assert set(whole.files) == set(found.files) and len(whole["loss"]) == 16
        assert whole["aux"][-1] > 0
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], found[name], err_msg=name)
