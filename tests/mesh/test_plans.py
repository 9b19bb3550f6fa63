"""Plans by name: specs from the names of leaves, bytes known before anything is loaded, words of errors."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import jaxinterp as ji
from tests.models import CONFIGS, shapes_of

MESH = AbstractMesh((2, 4), ("data", "model"))


def specs(config: Any, name: str, mesh: Any = MESH) -> dict[str, P]:
    return {leaf.path: leaf.spec for leaf in ji.mesh.plan(config, mesh, plan=name).leaves}


@pytest.mark.parametrize("family", ["gpt2", "neox", "llama", "toy"])
def test_every_leaf_of_every_family_has_a_known_place(family: str) -> None:
    """By the sizes alone: no axis of layers is split, and what a plan promises to split, it splits."""
    shapes = shapes_of(CONFIGS[family])
    for name in ("data", "fsdp", "tensor", "fsdp+tensor"):
        plan = ji.mesh.plan(CONFIGS[family], MESH, plan=name)
        assert plan.bytes == sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
        for leaf in plan.leaves:
            assert not (leaf.path.startswith("blocks") and leaf.spec[0])
            assert all(
                axis is None or size % MESH.shape[axis] == 0 for axis, size in zip(leaf.spec, leaf.shape)
            )
            over = {axis for axis in leaf.spec if axis}
            assert leaf.device_bytes * int(np.prod([MESH.shape[axis] for axis in over])) == leaf.bytes
            matrix = leaf.path.rpartition(".")[2].startswith("w_")
            assert ("data" in over) == ("fsdp" in name and matrix), leaf
            assert ("model" in over) <= ("tensor" in name)
            assert bool(leaf.note) == (name.endswith("tensor") and _heads(leaf) and "model" not in over)
    assert specs(CONFIGS[family], "tensor")["w_embed"] == P("model", None)
    assert ji.mesh.plan(shapes, MESH).leaves == ji.mesh.plan(CONFIGS[family], MESH, plan="tensor").leaves


def _heads(leaf: Any) -> bool:
    return ".attn." in leaf.path and not leaf.path.endswith("b_o")


@pytest.mark.quick
def test_the_longest_axis_that_divides() -> None:
    config = ji.models.LlamaConfig(vocab=40, ctx=8, d=12, layers=4, heads=4, kv_heads=2, k=6, ff=30)
    found = specs(config, "fsdp+tensor")
    assert found["blocks.attn.w_q"] == P(None, "model", "data", None)
    assert found["blocks.attn.w_k"] == P(None, None, "data", None)  # two heads among four devices
    assert found["blocks.mlp.w_in"] == P(None, "data", None)  # 30 neurons do not divide by 4
    assert specs(config, "fsdp")["w_embed"] == P(None, "data")
    assert specs(config, "fsdp")["blocks.ln1.weight"] == P(None, None)  # a gain, which is whole
    four = AbstractMesh((4,), ("data",))
    odd = dataclasses.replace(config, d=15)
    assert specs(odd, "fsdp")["blocks.mlp.w_in"] == P(None, None, "data")
    assert specs(odd, "fsdp", four)["blocks.mlp.w_in"] == P(None, None, None)
    noted = ji.mesh.plan(odd, four, plan="fsdp").leaves
    assert {leaf.note for leaf in noted if leaf.path == "blocks.mlp.w_in"} == {
        "cannot divide 15 d or 30 ff by 4"
    }
    assert specs(config, "fsdp", four)["blocks.mlp.w_out"] == P(None, None, "data")
    assert specs(config, "tensor", four)["blocks.attn.w_o"] == P(None, "data", None, None)


@pytest.mark.quick
def test_the_table() -> None:
    plan = ji.mesh.plan(CONFIGS["llama"], MESH, plan="fsdp+tensor", dtype=jnp.bfloat16)
    text = str(plan)
    assert "plan 'fsdp+tensor' on a mesh of data 2, model 4" in text and repr(plan) == text
    assert "cannot divide 2 kv_head by 4" in text and "4 leaves do not divide" not in text
    assert "head over model, d over data" in text and "bfloat16" in plan._repr_html_()
    row = next(row for row in plan.records() if row["path"] == "blocks.mlp.w_in")
    assert row["shape"] == [3, 16, 24] and row["bytes"] == 8 * row["device_bytes"] == 3 * 16 * 24 * 2
    assert row["split"] == "d over data, ff over model"
    # A layer: two matrices of each head and of keys and values, and three of the MLP, whole over "data".
    layer = 2 * 16 * 4 * 4 // 4 + 2 * 16 * 2 * 4 + 3 * 16 * 24 // 4
    assert plan.gathered_bytes == 2 * layer and ji.mesh.plan(CONFIGS["llama"], MESH).gathered_bytes == 0
    hand = lambda path, leaf: P(("data", "model")) if path == "w_embed" else P()
    by_hand = ji.mesh.plan(CONFIGS["llama"], MESH, plan=hand)
    assert by_hand.leaves[0].device_bytes * 8 == by_hand.leaves[0].bytes


def test_what_is_refused() -> None:
    config = CONFIGS["gpt2"]
    with pytest.raises(ValueError, match=r"one of 'data', 'fsdp', 'tensor', 'fsdp\+tensor'.*got 'zero'"):
        ji.mesh.plan(config, MESH, plan="zero")
    with pytest.raises(ValueError, match=r"axis 'data' of a mesh: jax.make_mesh.*\('model',\)"):
        ji.mesh.plan(config, AbstractMesh((4,), ("model",)), plan="fsdp")
    with pytest.raises(ValueError, match=r"needs two axes.*\('data',\)"):
        ji.mesh.plan(config, AbstractMesh((4,), ("data",)), plan="fsdp+tensor")
    with pytest.raises(ValueError, match=r"'fsdp' is laid on a mesh: mesh=jax.make_mesh"):
        ji.mesh.sharding_rule(None, "fsdp")
    with pytest.raises(ValueError, match=r"A plan is of a config.*got a int"):
        ji.mesh.plan(3, MESH)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ji.mesh.shard_model has no argument sharding=. Write plan="):
        ji.mesh.shard_model(ji.load("tiny")[0], sharding=P())  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"plan is 'data', 'fsdp'.*got \['fsdp'\]"):
        ji.mesh.plan(config, MESH, plan=["fsdp"])
    for wrong in ("int8", "bf16", None):
        with pytest.raises(ValueError, match=f"dtype is of the weights: 'float32', .*got {wrong!r}"):
            ji.mesh.plan(config, MESH, dtype=wrong)
    assert str(ji.mesh.plan(config, MESH, plan=None)) == str(ji.mesh.plan(config, MESH))
    assert ji.mesh.plan(config, MESH, dtype="float64").bytes == 2 * ji.mesh.plan(config, MESH).bytes
    rule = ji.mesh.sharding_rule(MESH, "fsdp")
    where: Any = rule("w_embed", jax.ShapeDtypeStruct((4, 2), np.float32))
    assert set(where.mesh.axis_types) == {AxisType.Auto} and where.spec == P(None, "data")
