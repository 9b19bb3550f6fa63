"""Surgery changes weights and sites, never log-probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import weights
from jaxinterp._jax_versions import enable_x64
from tests.models import sampled

from .small_models import CONFIGS, make

SURGERY = {
    "fold_norms": weights.fold_norms,
    "fold_norms without centring": lambda model: weights.fold_norms(model, center=False),
    "center_writing": weights.center_writing,
    "center_unembed": weights.center_unembed,
    "fold_value_bias": weights.fold_value_bias,
    "process": weights.process,
}
WITHOUT_LAYER_NORM = ("llama", "llama with biases", "no norm")
ALONE = ("gpt2", "neox", "llama with biases")
FIRST = ("gpt2 untied, scaled by layer", "neox", "llama")


def log_probs(model, tokens):
    return np.asarray(jax.nn.log_softmax(ji.run(model, tokens)[0]))


def each(name):
    if name not in ALONE:
        return [weights.process]
    skipped = "center_writing" if name in WITHOUT_LAYER_NORM else None
    return [change for key, change in SURGERY.items() if key != skipped]


@pytest.mark.parametrize("name", sampled(*FIRST, slow=[name for name in CONFIGS if name not in FIRST]))
def test_log_probabilities_stay(name, models, tokens):
    model = models[name]
    before = log_probs(model, tokens)
    assert before.std() > 0.3, "the model says something"
    for change in each(name):
        np.testing.assert_allclose(log_probs(change(model), tokens), before, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_log_probabilities_stay_in_float64(name, tokens):
    with enable_x64(True):
        model = make(name, jnp.float64)
        before = log_probs(model, tokens)
        for change in (weights.fold_norms, weights.fold_value_bias, weights.process):
            changed = change(model)
            assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {jnp.dtype(jnp.float64)}
            np.testing.assert_allclose(log_probs(changed, tokens), before, atol=1e-11)


@pytest.mark.slow
def test_bfloat16_stays_bfloat16(tokens):
    model = make("gpt2", jnp.bfloat16, std=0.1)
    changed = weights.process(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(
        log_probs(changed, tokens).astype(float), log_probs(model, tokens).astype(float), atol=0.15
    )


@pytest.mark.quick
@pytest.mark.parametrize("name", CONFIGS)
def test_fold_norms_empties_the_norms(name, models, tokens):
    model = models[name]
    folded = weights.fold_norms(model)
    for norm in (folded.blocks.ln1, folded.blocks.ln2, folded.ln_final):
        assert norm is None or (norm.weight is None and norm.bias is None)
    np.testing.assert_array_equal(folded.w_embed, model.w_embed)
    if folded.ln_final is not None:
        assert folded.w_unembed is not None and not getattr(folded.config, "tied", False)
        if folded.ln_final.centres:
            np.testing.assert_allclose(folded.blocks.attn.w_q.mean(-2), 0, atol=1e-6)
            np.testing.assert_allclose(folded.w_unembed.mean(-2), 0, atol=1e-6)
    again = weights.fold_norms(folded)
    assert jax.tree.structure(again) == jax.tree.structure(folded)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(folded), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_biases_are_made_only_where_needed(models):
    sequential, llama = models["neox sequential"], models["llama"]
    assert sequential.blocks.attn.b_q is None
    folded = weights.fold_norms(sequential)
    assert folded.blocks.attn.b_q.shape == (2, 4, 2)
    assert folded.b_unembed.shape == (13,)
    assert folded.blocks.attn.b_o is None
    folded = weights.fold_norms(llama)
    assert folded.blocks.attn.b_q is None and folded.b_unembed is None


def test_center_writing_centres_the_stream(models, tokens):
    model = models["gpt2"]
    centred = weights.center_writing(model)
    for site in ("embed", "resid_post", "attn_out", "mlp_out"):
        acts = ji.run(centred, tokens, capture=[site])[1]
        np.testing.assert_allclose(acts[site].mean(-1), 0, atol=1e-5)
    # The mean of an embedding is visible where a tied unembedding reads: it had to be untied.
    shared = centred.w_embed.T
    tied = jax.tree.map(lambda leaf: leaf, centred)
    object.__setattr__(tied, "w_unembed", shared)
    assert np.abs(log_probs(tied, tokens) - log_probs(model, tokens)).max() > 1e-2


@pytest.mark.quick
def test_center_unembed_centres_the_logits(models, tokens):
    logits, _ = ji.run(weights.center_unembed(models["llama"]), tokens)
    np.testing.assert_allclose(logits.mean(-1), 0, atol=1e-5)


def test_fold_value_bias_moves_grouped_biases(models, tokens):
    model = models["llama with biases"]
    folded = weights.fold_value_bias(model)
    assert not folded.blocks.attn.b_v.any()
    site = ["attn_out"]
    before, after = (ji.run(m, tokens, capture=site)[1]["attn_out"] for m in (model, folded))
    np.testing.assert_allclose(before, after, atol=1e-5)
    # Where rows of attention do not sum to one, the two models differ.
    halved = [ji.scale("pattern", 0.5)]
    halves = [ji.run(m, tokens, edits=halved)[0] for m in (model, folded)]
    assert np.abs(halves[0] - halves[1]).max() > 1e-2
    assert weights.fold_value_bias(models["llama"]) is models["llama"]


@pytest.mark.quick
def test_surgery_under_jit_and_vmap(models, tokens):
    model = models["gpt2"]
    before = log_probs(model, tokens)

    @jax.jit
    def processed(model):
        return ji.run(weights.process(model), tokens)[0]

    np.testing.assert_allclose(jax.nn.log_softmax(processed(model)), before, atol=1e-5)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), model)
    folded = jax.vmap(weights.fold_norms)(two)
    one = weights.fold_norms(jax.tree.map(lambda leaf: 2 * leaf, model))
    np.testing.assert_allclose(folded.w_unembed[1], one.w_unembed, atol=1e-5)


def test_errors_teach(models):
    for name, norm in [("llama", "RMSNorm"), ("no norm", "no norm")]:
        with pytest.raises(ValueError, match=rf"LayerNorm before every reader.*{norm}.*process"):
            weights.center_writing(models[name])
    steered = ji.intervene(models["gpt2"], [ji.zero("z", layer=0)])
    with pytest.raises(ValueError, match=r"cannot see the edits.*weights.fold_norms\(model.model\)"):
        weights.fold_norms(steered)
    with pytest.raises(ValueError, match="has no w_embed"):
        weights.process(models["gpt2"].blocks)
