"""Components sum back to the stream, however they are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import CONFIGS, make

import jaxinterp as ji
from jaxinterp import weights

PARTS = {"layer": weights.by_layer, "head": weights.by_head, "neuron": weights.by_neuron}


def agree(value, expected, rtol=1e-5):
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() <= rtol * np.abs(expected).max()


def captured(model, tokens, site, **options):
    return ji.run(model, tokens, capture=[site], logits=False, **options)[1][site]


@pytest.mark.parametrize("name", CONFIGS)
def test_heads_sum_to_the_stream(name, models, tokens):
    agree(
        weights.by_head(models[name], tokens).total(),
        captured(models[name], tokens, "resid_post[-1]"),
    )


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "attention only"])
def test_layers_sum_to_any_stream(name, models, tokens):
    model = models[name]
    agree(weights.by_layer(model, tokens).total(), captured(model, tokens, "resid_post[-1]"))
    agree(
        weights.by_layer(model, tokens, layer=0).total(), captured(model, tokens, "resid_post[0]")
    )
    if name == "gpt2":
        start = weights.by_layer(model, tokens, site="resid_pre", layer=0)
        assert start.labels == ("embed", "pos_embed")
        agree(start.total(), captured(model, tokens, "resid_pre[0]"))


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama with biases"])
def test_neurons_sum_to_the_stream(name, models, tokens):
    at = jnp.array([0, 3])
    total = weights.by_neuron(models[name], tokens, pos=at).total()
    agree(total, captured(models[name], tokens, "resid_post[-1]")[:, at])


@pytest.mark.parametrize("kind", PARTS)
def test_one_prompt_one_position(kind, models, tokens):
    model = models["gpt2"]
    _, acts = ji.run(model, tokens[0], capture=["resid_post[-1]", "ln_final_out"])
    values, labels = PARTS[kind](model, tokens[0], pos=-1)
    assert values.shape == (len(labels), 8)
    agree(values.sum(0), acts["resid_post[-1]"][-1])
    ready = PARTS[kind](model, tokens[0], pos=-1, norm=True)
    assert ready.labels == (*labels, "ln_final.bias")
    agree(ready.total(), acts["ln_final_out"][-1])


@pytest.mark.parametrize(
    ("kind", "name"), [("layer", "no norm"), ("head", "gpt2"), ("neuron", "neox"), ("neuron", "llama")],
)  # fmt: skip
def test_projections(kind, name, models, tokens):
    model, by = models[name], PARTS[kind]
    onto = jax.random.normal(jax.random.key(2), (8, 3))
    whole = by(model, tokens, pos=[1, 4])
    projected = by(model, tokens, pos=[1, 4], onto=onto)
    assert projected.labels == whole.labels
    agree(projected.values, whole.values @ onto)
    single = by(model, tokens, pos=[1, 4], onto=onto[:, 0], norm=True)
    seen = weights.apply_norm(model, whole, whole.total())
    assert single.labels == seen.labels
    agree(single.values, seen.values @ onto[:, 0], 2e-5)


def test_head_and_neuron_are_what_they_are_called(models, tokens):
    model = models["llama"]
    capture = ["head_out[1]", "mlp_post[1]", "attn_out[0]", "mlp_out[1]"]
    _, acts = ji.run(model, tokens, capture=capture)
    heads = weights.by_head(model, tokens)
    agree(heads["L1H3"], acts["head_out[1]"][..., 3, :])
    agree(heads["mlp_out[1]"], acts["mlp_out[1]"])
    neurons = weights.by_neuron(model, tokens, pos=-1)
    post = acts["mlp_post[1]"][:, -1, 5]
    agree(neurons["L1N5"], post[:, None] * model.blocks.mlp.w_out[1, 5][None])
    agree(neurons["attn_out[0]"], acts["attn_out[0]"][:, -1])
    with pytest.raises(ValueError, match="no component 'L9H9'; there are embed, L0H0"):
        heads["L9H9"]


def test_labels(models, tokens):
    layers = weights.by_layer(models["gpt2"], tokens).labels
    assert layers == (
        "embed",
        "pos_embed",
        "attn_out[0]",
        "mlp_out[0]",
        "attn_out[1]",
        "mlp_out[1]",
    )
    heads = weights.by_head(models["neox"], tokens, layer=0, site="resid_post").labels
    assert heads == ("embed", "L0H0", "L0H1", "L0H2", "L0H3", "attn.b_o", "mlp_out[0]")
    mid = weights.by_layer(models["gpt2"], tokens, layer=1, site="resid_mid")
    assert mid.labels == layers[:-1]
    agree(mid.total(), captured(models["gpt2"], tokens, "resid_mid[1]"))


def test_accumulated(models, tokens):
    model = models["gpt2"]
    values, labels = weights.accumulated(model, tokens, mid=True)
    assert labels == (
        "resid_pre[0]",
        "resid_mid[0]",
        "resid_post[0]",
        "resid_mid[1]",
        "resid_post[1]",
    )
    _, acts = ji.run(model, tokens, capture=list(labels))
    for value, label in zip(values, labels, strict=True):
        np.testing.assert_array_equal(value, acts[label])
    assert weights.accumulated(models["neox"], tokens, pos=-1).values.shape == (3, 2, 8)


def test_edits_are_a_component(models, tokens):
    model = models["neox"]
    edits = [ji.add("resid_post", 2.0, layer=0), ji.zero("z", layer=1, head=2)]
    _, acts = ji.run(model, tokens, edits=edits, capture=["resid_post[-1]"])
    for args in [(model, dict(edits=edits)), (ji.intervene(model, edits), {})]:
        parts = weights.by_head(args[0], tokens, **args[1])
        assert parts.labels[-1] == "edits"
        agree(parts.total(), acts["resid_post[-1]"])
        agree(parts["edits"], jnp.full_like(parts["edits"], 2.0))
        assert not parts["L1H2"].any()


def test_masked_prompts_and_jit_and_vmap(models, tokens):
    model = models["llama with biases"]
    mask = jnp.array([[False, False, True, True, True], [True] * 5])
    by = lambda tokens, mask: weights.by_head(model, tokens, mask=mask, pos=-1)
    plain = by(tokens, mask)
    _, acts = ji.run(model, tokens, mask=mask, capture=["resid_post[-1]"])
    agree(plain.total(), acts["resid_post[-1]"][:, -1])
    jitted = jax.jit(by)(tokens, mask)
    assert jitted.labels == plain.labels
    agree(jitted.values, plain.values)
    mapped = jax.vmap(by)(tokens, mask)
    agree(jnp.moveaxis(mapped.values, 0, 1), plain.values)


def test_float64(tokens):
    with jax.enable_x64(True):
        model = make("neox", jnp.float64)
        parts = weights.by_neuron(model, tokens, onto=jnp.ones(8), norm=True)
        out = ji.run(model, tokens, capture=["ln_final_out"])[1]["ln_final_out"].sum(-1)
        agree(parts.total(), out, 1e-12)


def test_errors_teach(models, tokens):
    model = models["gpt2"]
    with pytest.raises(ValueError, match=r"neurons of width 8 at every position.*pos=-1.*onto="):
        weights.by_neuron(model, tokens)
    with pytest.raises(ValueError, match=r"attention only.*by_head"):
        weights.by_neuron(models["attention only"], tokens, pos=-1)
    with pytest.raises(ValueError, match=r"d=8; got float32\[7\].*w_unembed"):
        weights.by_head(model, tokens, onto=jnp.ones(7))
    with pytest.raises(
        ValueError, match=r"site is one of resid_pre, resid_mid, resid_post; got 'z'"
    ):
        weights.by_layer(model, tokens, site="z")
    with pytest.raises(IndexError, match=r"layer 2 is out of range"):
        weights.by_layer(model, tokens, layer=2)
    with pytest.raises(ValueError, match="no site 'resid_mid'"):
        weights.by_layer(models["neox"], tokens, site="resid_mid")
