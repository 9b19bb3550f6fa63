"""`ji.save` and back: whole models, atomically, straight to their sharding."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint, Tokenizer
from jaxinterp.hub._leaves import set_leaves
from tests.processes import run

from .conftest import same


@pytest.mark.quick
def test_round_trip(model: Any, tmp_path: Path) -> None:
    hub.save(tmp_path / "x", model)
    again, tokenizer = hub.load(tmp_path / "x")
    assert same(again, model)
    assert again.config == model.config
    assert tokenizer is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def test_dtypes(make: Any, tmp_path: Path) -> None:
    model = make("neox", dtype=jnp.bfloat16)
    hub.save(tmp_path / "x", model)
    assert same(hub.load(tmp_path / "x")[0], model)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), model)
    assert same(hub.load(tmp_path / "x", dtype="float32")[0], wide)


def test_folded_models(make: Any, tmp_path: Path) -> None:
    """What no foreign layout holds: leaves gone, leaves added, options of toy models."""
    model = make("gpt2", causal=False)
    leaves = {"blocks.ln1.weight": None, "ln_final.bias": None, "b_unembed": jnp.ones(40)}
    folded = set_leaves(model, leaves)
    hub.save(tmp_path / "x", folded)
    again, _ = hub.load(tmp_path / "x")
    assert same(again, folded)
    assert again.config == model.config


@pytest.mark.quick
def test_provenance_and_tokenizer_survive(make: Any, tmp_path: Path, tokenizer: Tokenizer) -> None:
    hub.export(tmp_path / "hf", make("neox"), tokenizer=tokenizer)
    model, found = hub.load(tmp_path / "hf")
    hub.save(tmp_path / "x", model, tokenizer=found)
    again, kept = hub.load(tmp_path / "x")
    assert again.config.source == model.config.source
    assert kept is not None
    assert kept("John gave milk").tolist() == tokenizer("John gave milk").tolist()


def test_nothing_is_overwritten_unasked(make: Any, tmp_path: Path) -> None:
    hub.save(tmp_path / "x", make("gpt2", seed=0))
    with pytest.raises(ValueError, match=r"exists already.*overwrite=True"):
        hub.save(tmp_path / "x", make("gpt2", seed=1))
    hub.save(tmp_path / "x", make("gpt2", seed=1), overwrite=True)
    assert same(hub.load(tmp_path / "x")[0], make("gpt2", seed=1))


def test_an_intervened_model_is_refused(make: Any, tmp_path: Path) -> None:
    steered = ji.intervene(make("gpt2"), [ji.zero("z", layer=1)])
    with pytest.raises(ValueError, match=r"before `intervene`.*edits apart"):
        hub.save(tmp_path / "x", steered)
    assert not list(tmp_path.iterdir())


def test_damaged_folders(make: Any, tmp_path: Path) -> None:
    hub.save(tmp_path / "x", make("gpt2"))
    for path in sorted((tmp_path / "x" / "leaves").rglob("*")):
        if path.is_file() and path.stat().st_size > 500:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match="cannot be restored"):
        hub.load(tmp_path / "x")


SHARDED = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxinterp import hub
from jaxinterp.hub._leaves import skeleton
from jaxinterp.models import LlamaConfig, Llama

folder = Path(sys.argv[1])
config = LlamaConfig(vocab=40, ctx=16, d=16, layers=2, heads=8, kv_heads=2, ff=32)
rng = np.random.default_rng(0)
random = lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype)
model = jax.tree.map(random, skeleton(Llama, config, jnp.float32))  # as `init` makes it
hub.export(folder / "hf", model)
hub.save(folder / "saved", model)
mesh = jax.make_mesh((2, 4), ("data", "model"))

def check(found, spec, path="blocks.attn.w_q"):
    leaves = {jax.tree_util.keystr(p, simple=True, separator="."): x
              for p, x in jax.tree_util.tree_leaves_with_path(found)}
    assert leaves[path].sharding.is_equivalent_to(NamedSharding(mesh, spec), leaves[path].ndim), (
        path, leaves[path].sharding)
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), found, model)
    assert jax.tree.all(same)

for source in ("hf", "saved"):
    by_mesh, _ = hub.load(folder / source, mesh=mesh)
    check(by_mesh, P(None, "model"))
    check(by_mesh, P(), "blocks.attn.w_k")             # 2 heads do not divide over 4 devices
    check(by_mesh, P(None, None, "model"), "blocks.mlp.w_gate")
    check(by_mesh, P(None, "model"), "w_unembed")
    check(by_mesh, P(), "ln_final.weight")
    shard = by_mesh.blocks.mlp.w_out.addressable_shards[0].data
    assert shard.shape == (2, 8, 16), shard.shape
    rule = lambda path, leaf: P("data") if path.endswith("w_q") else P()
    check(hub.load(folder / source, mesh=mesh, plan=rule)[0], P("data"))
    tree = jax.tree.map(lambda x: NamedSharding(mesh, P()), model)
    check(hub.load(folder / source, plan=tree)[0], P())
    plain, _ = hub.load(folder / source)
    assert plain.w_embed.sharding.device_set == {jax.devices()[0]}
hub.save(folder / "again", by_mesh)                     # saved from eight devices
check(hub.load(folder / "again", mesh=mesh)[0], P(None, "model"))
try:
    hub.load(folder / "saved", plan=lambda path, leaf: P())
except ValueError as error:
    assert "PartitionSpec together with mesh" in str(error)
else:
    raise AssertionError
print("sharded", len(jax.devices()))
"""


@pytest.mark.slow
def test_eight_devices(tmp_path: Path) -> None:
    """Leaves arrive in their sharding, from a foreign checkpoint and from `save`."""
    assert "sharded 8" in run(SHARDED, str(tmp_path), devices=8)


def test_a_tree_that_lacks_leaves(make: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, make("gpt2"))
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with pytest.raises(ValueError, match="must have the model's leaves; it lacks"):
        hub.load(tmp_path, plan={"w_embed": where})
    with pytest.raises(ValueError, match=r"must be a jax\.sharding\.Sharding"):
        hub.load(tmp_path, plan=lambda path, leaf: "cpu")


def test_values_stay_what_they_were(make: Any, tmp_path: Path) -> None:
    """Signed zeros, infinities and NaN: bits, not values, are kept."""
    model = make("gpt2")
    odd = np.full(model.w_pos.shape, -0.0, np.float32)
    odd[0, :3] = np.inf, -np.inf, np.nan
    model = set_leaves(model, {"w_pos": jnp.asarray(odd)})
    hub.save(tmp_path / "x", model)
    hub.export(tmp_path / "y", model)
    assert same(hub.load(tmp_path / "x")[0], model)
    assert same(hub.load(tmp_path / "y")[0], model)
