"""Sharded equals unsharded: eight simulated devices, prompts over one axis, heads over the other."""

from tests.processes import run

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import jaxinterp as ji
from tests.models import random_model

assert len(jax.devices()) == 8
config = ji.models.GPTNeoXConfig(vocab=40, ctx=16, d=16, layers=2, heads=4)
model = random_model(config, scale=0.1, gain=1.0)
tokens = np.random.default_rng(1).integers(0, 40, (8, 6), dtype=np.int32)
edits = [ji.zero("z", layer=jnp.asarray(1), head=2), ji.scale("mlp_out", 0.5, layer=0)]

def request(model, tokens):
    logits, acts = ji.run(model, tokens, edits=edits, capture=["z", "resid_post[1]"])
    _, _, grads = ji.site_grads(model, tokens, lambda x: x[..., 0], at=["z"], logits=-1)
    return logits, acts["z"], acts["resid_post[1]"], grads["z"], ji.generate(model, tokens, 3)

want = request(model, tokens)
mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

def place(path, leaf):
    name = jax.tree_util.keystr(path)
    spec = P(None, "model") if ".w_q" in name or ".w_o" in name else P()
    return jax.device_put(leaf, NamedSharding(mesh, spec))

sharded = jax.tree_util.tree_map_with_path(place, model)
got = request(sharded, jax.device_put(tokens, NamedSharding(mesh, P("data"))))
for a, b in zip(want, got, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
assert got[0].sharding.spec[0] == "data", got[0].sharding
print("equal")
"""


def test_sharded_equals_unsharded() -> None:
    assert "equal" in run(SCRIPT, devices=8)
