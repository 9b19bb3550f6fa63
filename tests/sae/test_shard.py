"""Sharded equals unsharded: eight simulated devices, and two processes that talk to each other."""

import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxinterp import sae
from tests.processes import environment, run

COMMON = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
from jaxinterp import fit, sae
from jaxinterp.mesh import _dictionaries
from jaxinterp.sae.kinds._cut_on_mesh import largest_entries
from jaxinterp.sae.training import _start

data = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
options = dict(steps=6, batch_size=40, settings=fit.Settings(steps_per_dispatch=3, progress=False))

def drawn(kind):  # in NumPy: drawing by key compiles dozens of small programs
    rng = np.random.default_rng(2)
    def draw(shape):
        return jnp.asarray(rng.normal(size=shape) / 3, jnp.float32) if shape else jnp.ones(())
    first = {name: draw(shape) for name, shape in kind.shapes().items()}
    return kind.dictionary(**first | ({"threshold": jnp.zeros(())} if "threshold" in first else {}))

def close(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
"""

EIGHT = """
assert len(jax.devices()) == 8
mesh = jax.make_mesh((2, 4), ("data", "feature"))
rows = np.random.default_rng(1).integers(0, 4, size=(10, 64)).astype(np.float32)  # many ties
rows[3, 2:] = -np.inf
with jax.set_mesh(_dictionaries.dictionary_mesh(mesh)):
    found = jax.jit(lambda p: [largest_entries(p, k) for k in (3, 20)])(rows)
for k, got in zip((3, 20), found):
    where = np.argsort(-rows, axis=1, kind="stable")[:, :k]  # ties go to the first
    want = np.zeros(rows.shape, bool)
    np.put_along_axis(want, where, np.isfinite(np.take_along_axis(rows, where, 1)), 1)
    np.testing.assert_array_equal(got, want)
kind = drawn(sae.BatchTopK(d=8, features=64, k=3, aux=4, dead_tokens=80))
alone, history = sae.train(kind, data, key=jax.random.key(0), **options)
spread, told = sae.train(kind, data, key=jax.random.key(0), mesh=mesh, **options)
assert spread.decoder.sharding.spec[0] == "feature", spread.decoder.sharding
assert spread.decoder.addressable_shards[0].data.shape == (16, 8)
close((alone, history), (spread, told))
assert told["aux"][-1] > 0
kind = sae.TopK(d=8, features=64, k=3)  # without weights: they are drawn in place
given = jax.random.key(3), jnp.asarray(data)
first = _dictionaries.made_on(_dictionaries.dictionary_mesh(mesh), kind.init, *given)
close(jax.jit(lambda *given: kind.init(*given))(*given), first)
state = _start.first_state(first, _dictionaries.dictionary_mesh(mesh), optax.adam(1e-3), data, data, True)
parts = lambda leaf: leaf.addressable_shards[0].data.shape
assert parts(first.encoder) == parts(state.average.encoder) == (8, 16)
moments = state.optimizer_state[0].mu  # over both axes: a device updates its part of the weights
assert parts(moments.encoder) == (4, 16) and parts(moments.decoder) == (16, 4)
print("equal")
"""

TWO = """
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
assert jax.process_count() == 2 and len(jax.devices()) == 4
from jax.experimental.multihost_utils import process_allgather
mesh = jax.make_mesh((2, 2), ("data", "feature"))
kind = drawn(sae.TopK(d=8, features=64, k=3, aux=4, dead_tokens=80))
alone, history = sae.train(kind, data, key=jax.random.key(0), **options)
spread, told = sae.train(kind, data, key=jax.random.key(0), mesh=mesh, **options)
close((alone, history), (jax.tree.map(lambda a: process_allgather(a, tiled=True), spread), told))
print("equal")
"""


@pytest.mark.slow
def test_sharded_equals_unsharded() -> None:
    assert "equal" in run(COMMON + EIGHT, devices=8)


@pytest.mark.slow
def test_two_processes_equal_one() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMMON + TWO, address, str(i)],
            env=environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        for process in both:
            out, err = process.communicate(timeout=400)
            assert process.returncode == 0 and "equal" in out, err[-3000:]
    finally:
        for process in both:
            process.kill()
            process.wait()


def test_meshes_that_do_not_fit() -> None:
    mesh = jax.make_mesh((1, 1), ("data", "feature"))
    kind = sae.TopK(d=8, features=64, k=3)
    kind = kind.dictionary(**{name: jax.numpy.ones(shape) for name, shape in kind.shapes().items()})
    np.testing.assert_array_equal(sae.shard(kind, mesh).decoder, kind.decoder)
    with pytest.raises(ValueError, match="axes 'data' and 'feature'"):
        sae.shard(kind, jax.make_mesh((1,), ("data",)))
    with pytest.raises(ValueError, match="axes 'data' and 'feature'"):
        sae.train(kind, np.ones((8, 8), np.float32), key=jax.random.key(0), steps=1, batch_size=4, mesh=8)
