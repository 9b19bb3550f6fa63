"""Components sum back to the stream, however they are asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import weights
from jaxinterp._jax_versions import enable_x64
from tests.models import sampled

from .small_models import CONFIGS, make

PARTS = {"layer": weights.by_layer, "head": weights.by_head, "neuron": weights.by_neuron}


def agree(value, expected, rtol=1e-5):
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() <= rtol * np.abs(expected).max()


@pytest.fixture(scope="module")
def truth(models, tokens):
    """The captured streams of a model, run once."""

    @functools.cache
    def captured(name):
        sites = ["resid_pre", "resid_mid", "resid_post", "ln_final_out"]
        emitted = ji.sites(models[name], tokens)
        return ji.run(models[name], tokens, capture=[s for s in sites if s in emitted])[1]

    return captured


THREE = ("gpt2", "neox sequential", "llama with biases")


@pytest.mark.parametrize("name", sampled(*THREE, slow=[name for name in CONFIGS if name not in THREE]))
def test_heads_sum_to_the_stream(name, models, tokens, truth):
    agree(weights.by_head(models[name], tokens).total(), truth(name)["resid_post"][-1])


@pytest.mark.parametrize("name", sampled("llama", "attention only", slow=["gpt2", "neox"]))
def test_layers_sum_to_the_stream(name, models, tokens, truth):
    agree(weights.by_layer(models[name], tokens).total(), truth(name)["resid_post"][-1])


@pytest.mark.parametrize("name", sampled("llama with biases", slow=["gpt2", "neox"]))
def test_neurons_sum_to_the_stream(name, models, tokens, truth):
    at = jnp.array([0, 3])
    total = weights.by_neuron(models[name], tokens, pos=at).total()
    agree(total, truth(name)["resid_post"][-1][:, at])


def test_streams_on_the_way(models, tokens, truth):
    model, acts = models["gpt2"], truth("gpt2")
    written = ("embed", "pos_embed", "attn_out[0]", "mlp_out[0]", "attn_out[1]", "mlp_out[1]")
    for site, layer, count in [("resid_pre", 0, 2), ("resid_post", 0, 4), ("resid_mid", 1, 5)]:
        parts = weights.by_layer(model, tokens, site=site, layer=layer)
        assert parts.labels == written[:count]
        agree(parts.total(), acts[site][layer])
    heads = weights.by_head(models["neox"], tokens, layer=0)
    assert heads.labels == ("embed", "L0H0", "L0H1", "L0H2", "L0H3", "attn.b_o", "mlp_out[0]")
    agree(heads.total(), truth("neox")["resid_post"][0])


@pytest.mark.parametrize("kind", PARTS)
def test_one_prompt_one_position(kind, models, tokens, truth):
    model, acts = models["gpt2"], truth("gpt2")
    values, labels = PARTS[kind](model, tokens[0], pos=-1)
    assert values.shape == (len(labels), 8)
    agree(values.sum(0), acts["resid_post"][-1, 0, -1])
    ready = PARTS[kind](model, tokens[0], pos=-1, norm=True)
    assert ready.labels == (*labels, "ln_final.bias")
    agree(ready.total(), acts["ln_final_out"][0, -1])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("layer", "no norm"), ("head", "gpt2"), ("neuron", "neox"), ("neuron", "llama")],
)
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


def test_accumulated(models, tokens, truth):
    values, labels = weights.accumulated(models["gpt2"], tokens, mid=True)
    sites = "resid_pre[0] resid_mid[0] resid_post[0] resid_mid[1] resid_post[1]"
    assert labels == tuple(sites.split())
    for value, label in zip(values, labels, strict=True):
        site, layer = label.removesuffix("]").split("[")
        np.testing.assert_array_equal(value, truth("gpt2")[site][int(layer)])
    assert weights.accumulated(models["neox"], tokens, pos=-1).values.shape == (3, 2, 8)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_float64(tokens):
    with enable_x64(True):
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
    with pytest.raises(ValueError, match=r"site is one of resid_pre, resid_mid, resid_post; got 'z'"):
        weights.by_layer(model, tokens, site="z")
    with pytest.raises(IndexError, match=r"layer 2 is out of range"):
        weights.by_layer(model, tokens, layer=2)
    with pytest.raises(ValueError, match="no site 'resid_mid'"):
        weights.by_layer(models["neox"], tokens, site="resid_mid")
