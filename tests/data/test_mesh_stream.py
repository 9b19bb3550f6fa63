"""A model and a dictionary on one mesh: activations stay on its devices, and the numbers are those of a host."""

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import random_model
from tests.processes import run

CONFIG = ji.models.GPTNeoXConfig(vocab=40, ctx=12, d=8, layers=2, heads=4)
NAME = "tests.data.test_mesh_stream"


def corpus() -> tuple[np.ndarray, np.ndarray]:
    """Prompts `(48, 12)`, some of them padded."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, CONFIG.vocab, size=(48, CONFIG.ctx)).astype(np.int32)
    return tokens, np.arange(CONFIG.ctx) < rng.choice([7, CONFIG.ctx], size=(48, 1))


EIGHT = f"""
import jax, jax.numpy as jnp, numpy as np
import jaxinterp as ji
from jax._src.array import ArrayImpl
from {NAME} import CONFIG, corpus, random_model

mesh = jax.make_mesh((2, 4), ("data", "feature"))
tokens, mask = corpus()
model = random_model(CONFIG)
spread = ji.mesh.shard_model(model, mesh)
assert not spread.blocks.attn.w_q.sharding.is_fully_replicated
where = dict(mask=mask, positions=slice(1, None), batch_size=40, key=jax.random.key(3), passes=7)
for site, more in (("resid_post[0]", {{}}), (["mlp_post", "z[1]"], dict(max_bytes=0, buffer=9))):
    host = ji.data.stream(model, tokens, site=site, **where, **more)
    there = ji.data.stream(spread, tokens, site=site, **where, **more).on(mesh)
    for i in (0, 1, 12, 3):
        for want, got in zip(*(x if isinstance(x, tuple) else (x,) for x in (host.batch(i), there.batch(i)))):
            assert got.sharding.spec[0] == "data" and got.shape == want.shape
            np.testing.assert_allclose(got, want, atol=1e-5)

rng = np.random.default_rng(2)
kind = ji.sae.TopK(d=8, features=64, k=3)
first = {{n: jnp.asarray(rng.normal(size=s) / 3, jnp.float32) if s else jnp.ones(()) for n, s in kind.shapes().items()}}
moved = []
value = ArrayImpl._value.fget
def counting(array):  # every way of an array to NumPy
    moved.append(array.size)
    return value(array)

def train(model, mesh, watched):
    stream = ji.data.stream(model, tokens, site="resid_post[0]", max_bytes=0, buffer=16, **where)
    def watch(step, numbers):
        if watched and step == 2:
            ArrayImpl._value = property(counting)
            jax.config.update("jax_transfer_guard_device_to_host", "disallow")
    settings = ji.fit.Settings(steps_per_dispatch=2, every=2, callback=watch, progress=False)
    found = ji.sae.train(kind.dictionary(**first), stream, key=jax.random.key(0), steps=12, mesh=mesh, settings=settings)
    jax.config.update("jax_transfer_guard_device_to_host", "allow")
    return found
alone, history = train(model, None, False)
sae, numbers = train(spread, mesh, True)
ArrayImpl._value = property(value)
for a, b in zip(jax.tree.leaves((alone, history)), jax.tree.leaves((sae, numbers)), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
try:
    ji.data.stream(model, tokens, site="embed", batch_size=9).on(mesh)
except ValueError as error:
    assert "9 rows cannot be divided among 2" in str(error)
assert moved and max(moved) <= 2, moved  # numbers of the history, two steps a dispatch
print("stayed")
"""


@pytest.mark.slow
def test_activations_stay_on_the_devices() -> None:
    assert "stayed" in run(EIGHT, devices=8)


@pytest.mark.quick
def test_one_device_and_what_cannot_be_divided() -> None:
    tokens, mask = corpus()
    model = random_model(CONFIG)
    stream = ji.data.stream(model, tokens, site="resid_post[0]", batch_size=9, mask=mask)
    mesh = jax.make_mesh((1,), ("data",))
    there = stream.on(mesh)
    np.testing.assert_array_equal(there.batch(2), stream.batch(2))
    np.testing.assert_array_equal(next(there.batches(2)), stream.batch(2))
    assert "on a mesh of data 1" in repr(there) and there.described() == stream.described()
    with pytest.raises(IndexError, match="count from 0"):
        there.batch(-1)
    with pytest.raises(ValueError, match="the axis 'data'"):
        stream.on(jax.make_mesh((1,), ("model",)))
