"""Models under every plan, on eight simulated devices: the same numbers as on one. Processes of their own."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxinterp as ji
from jaxinterp.lens import _chunks
from tests.mesh.test_meshes import alike, everything, few
from tests.models import CONFIGS, random_model, sampled
from tests.processes import run

FAMILIES = ("gpt2", "neox", "llama")
TOKENS = np.random.default_rng(0).integers(0, 40, (8, 6)).astype(np.int32)


def model_of(family: str) -> Any:
    return random_model(CONFIGS[family], scale=0.1, gain=1.0)


@eqx.filter_jit
def once(model: Any, tokens: Any) -> dict[str, Any]:
    """Reads, edits and captures in one program."""
    edits = [ji.zero("z", layer=1, head=1), ji.scale("mlp_out", 0.5)]
    logits, acts = ji.run(model, tokens, edits=edits, capture=["resid_post", "pattern[1]"])
    return {"logits": logits, **acts}


def each_family() -> None:
    """In a program of the user's own, with the mesh set; heads divide, or are whole (two of llama's keys)."""
    assert len(jax.devices()) == 8
    for family, shape in zip(FAMILIES, ((4, 2), (4, 2), (2, 4)), strict=True):
        mesh = jax.make_mesh(shape, ("data", "model"))
        plain = model_of(family)
        model = ji.mesh.shard_model(plain, mesh, plan="fsdp+tensor")
        assert model.blocks.mlp.w_in.sharding.spec == P(None, "data", "model")
        want = once(plain, TOKENS)
        with jax.set_mesh(ji.mesh.automatic(mesh)):
            got = once(model, TOKENS)
        alike(got, want)
        assert got["logits"].sharding.spec[0] == "data", got["logits"].sharding
    print("equal")


def each_plan(family: str) -> None:
    """Runs, captures, edits and text as a user asks for them, on meshes of every shape."""
    plain = model_of(family)
    want = few(plain, TOKENS)
    laid = [
        ((8, 1), "data"),
        ((8, 1), "fsdp"),
        ((2, 4), "tensor"),
        ((2, 4), "fsdp+tensor"),
        ((1, 8), "tensor"),
    ]
    for shape, plan in laid:
        model = ji.mesh.shard_model(plain, jax.make_mesh(shape, ("data", "model")), plan=plan)
        got = few(model, TOKENS)
        alike(got, want)
        assert shape[0] == 1 or got["logits"].sharding.spec[0] == "data", (plan, shape)
    print("equal")


def every_room(family: str, plan: str) -> None:
    plain, mesh = model_of(family), jax.make_mesh((4, 2), ("data", "model"))
    mask = np.arange(6) >= np.arange(8)[:, None] % 3
    want = everything(plain, TOKENS, mask)
    model = ji.mesh.shard_model(plain, mesh, plan=plan)
    alike(everything(model, TOKENS, mask), want)
    rows = NamedSharding(mesh, P("data"))
    alike(everything(model, jax.device_put(TOKENS, rows), jax.device_put(mask, rows)), want)
    print("equal")


def readings(model: Any, tokens: Any) -> dict[str, Any]:
    """What lenses say in numbers and tokens, of a tuned lens; the vocabulary of the model may lie over devices."""
    layers, d = model.config.layers, model.config.d
    draw = np.random.default_rng(3).normal(0, 0.1, (layers, d, d + 1)).astype(np.float32)
    lens = ji.lens.TunedLens(jnp.asarray(draw[..., :d]), jnp.asarray(draw[..., d]))
    summary, heads = ji.lens.summary(model, tokens, lens=lens), ji.lens.attention_lens(model, tokens, pos=-1)
    return {
        **{
            name: getattr(summary, name)
            for name in ("top_ids", "top_probs", "entropy", "kl", "cross_entropy", "rank")
        },
        **{f"heads {name}": getattr(heads, name) for name in ("ids", "logits", "low_ids", "low_logits")},
        "bias": ji.lens.marginal_bias(model, tokens, lens=lens),
        "words": ji.lens.localise(model, tokens, [[3, 5], [7]]).probs,
    }


def lenses() -> None:
    """Eight parts of the vocabulary, and four of it by two of the rows; positions in two chunks."""
    _chunks.CHUNK_BYTES = 8 * 3 * 40 * 4
    plain = model_of("llama")
    want = readings(plain, TOKENS)
    for shape, plan in (((1, 8), "tensor"), ((2, 4), "fsdp+tensor")):
        model = ji.mesh.shard_model(plain, jax.make_mesh(shape, ("data", "model")), plan=plan)
        assert model.w_embed.sharding.spec[0] == "model"
        alike(readings(model, TOKENS), want)
    text = program(model, TOKENS)
    # Devices exchange candidates, never the vocabulary: whole rows of it lie nowhere.
    assert "all-gather" in text and not re.search(r"f32\[(\d+,)*40\]", text)
    print("equal")


def program(model: Any, tokens: Any) -> str:
    """What the compiler makes of a summary."""
    call = lambda model: jax.tree.leaves(ji.lens.summary(model, tokens))
    with jax.sharding.use_abstract_mesh(model.w_embed.sharding.mesh.abstract_mesh):
        return str(jax.jit(call).lower(model).compile().as_text())


def check(name: str, *arguments: str) -> None:
    given = ", ".join(map(repr, arguments))
    assert "equal" in run(f"from tests.mesh.test_sharded import {name} as check; check({given})", devices=8)


@pytest.mark.slow
def test_each_family_split_in_both_ways() -> None:
    check("each_family")


def test_lenses_read_a_vocabulary_over_devices() -> None:
    check("lenses")


# Rules of plans are those of leaves; a Llama under one plan goes through every room below.
@pytest.mark.parametrize("family", sampled(slow=["neox"], exhaustive=["gpt2", "llama"]))
def test_each_family_under_every_plan(family: str) -> None:
    check("each_plan", family)


@pytest.mark.slow
def test_every_room_of_the_library() -> None:
    check("every_room", "llama", "fsdp+tensor")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("family", "plan"), [("neox", "fsdp"), ("gpt2", "data")])
def test_every_room_under_other_plans(family: str, plan: str) -> None:
    check("every_room", family, plan)
