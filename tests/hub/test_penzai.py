"""Penzai's transformers are ours, bit for bit and logit for logit."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.hub import from_penzai, to_penzai
from tests.models import sampled

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SIZE = dict(vocab=29, ctx=16, d=24, layers=2, heads=4)
CONFIGS = {
    "pythia": ji.models.GPTNeoXConfig(**SIZE, rotary_fraction=1 / 3),
    "neox": ji.models.GPTNeoXConfig(
        **SIZE, act="gelu_new", ff=20, k=8, norm_eps=1e-3, rotary_base=500.0, rotary_fraction=1.0
    ),
    "llama": ji.models.LlamaConfig(**SIZE, ff=20, norm_eps=1e-5, rotary_base=500.0),
    "llama grouped": ji.models.LlamaConfig(**SIZE, kv_heads=2, k=8, ff=20, act="gelu_new"),
    "llama one group, tied": ji.models.LlamaConfig(**SIZE, kv_heads=1, ff=20, tied=True),
}


def make(config, dtype="float32"):
    family = getattr(ji.models, type(config).__name__.removesuffix("Config"))
    init = lambda key: family.init(config, key=key, dtype=jnp.dtype(dtype))
    paths, tree = jax.tree.flatten_with_path(eqx.filter_eval_shape(init, jax.random.key(0)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        gain = "ln" in str(path) and "weight" in str(path)
        return jnp.asarray(rng.normal(float(gain), 0.3, leaf.shape), dtype)

    return jax.tree.unflatten(tree, [draw(path, leaf) for path, leaf in paths])


def their_logits(theirs, tokens):
    from penzai import pz

    names = ("batch", "seq")[-tokens.ndim :]
    # Penzai divides int positions by floats: it runs under JAX's usual promotion only.
    with jax.numpy_dtype_promotion("standard"):
        return theirs(pz.nx.wrap(tokens).tag(*names)).unwrap(*names, "vocabulary")


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


FIRST = ("pythia", "llama grouped")


@pytest.mark.parametrize("name", sampled(*FIRST, slow=[name for name in CONFIGS if name not in FIRST]))
def test_parity_and_round_trip(name):
    model = make(CONFIGS[name])
    theirs = to_penzai(model)
    same(from_penzai(theirs, ctx=16), model)
    tokens = jax.random.randint(jax.random.key(1), (2, 9), 0, 29)
    ours, _ = ji.run(model, tokens)
    assert np.abs(ours).max() > 0.5
    assert np.abs(ours - their_logits(theirs, tokens)).max() <= 2e-5


@pytest.mark.parametrize("name", sampled("llama grouped", slow=["pythia"]))
def test_stacked_frozen_and_bfloat16(name):
    from penzai import pz

    model = make(CONFIGS[name])
    theirs = to_penzai(model, stacked=True)
    same(from_penzai(pz.freeze_params(theirs), ctx=16), model)
    tokens = jnp.arange(7)
    assert np.abs(ji.run(model, tokens)[0] - their_logits(theirs, tokens)).max() <= 2e-5
    small = make(CONFIGS[name], "bfloat16")
    same(from_penzai(to_penzai(small), ctx=16), small)


@pytest.mark.parametrize("name", sampled("pythia", slow=["llama grouped"]))
def test_parity_in_float64(name):
    with enable_x64(True):
        model = make(CONFIGS[name], "float64")
        tokens = jnp.arange(7, dtype=jnp.int32)
        theirs = their_logits(to_penzai(model), tokens)
        assert np.abs(ji.run(model, tokens)[0] - theirs).max() <= 1e-12


def built_by_penzai(name, **options):
    """The model as penzai's own builder makes it, with the parameters of ours."""
    from penzai import pz
    from penzai.models.transformer.variants import gpt_neox, llamalike_common

    c = CONFIGS[name]
    _, parameters = pz.unbind_params(to_penzai(make(c)))
    sizes = dict(
        embedding_dim=c.d,
        projection_dim=c.k,
        mlp_hidden_dim=c.ff,
        num_decoder_blocks=c.layers,
        vocab_size=c.vocab,
        parameter_dtype=jnp.float32,
        activation_dtype=jnp.float32,
    )
    if isinstance(c, ji.models.GPTNeoXConfig):
        config = gpt_neox.GPTNeoXTransformerConfig(
            num_attention_heads=c.heads,
            activation_fn="gelu_exact",
            rope_subset_size=c.rotary_dim,
            rope_wavelength=10_000,
            layernorm_epsilon=1e-5,
            **sizes,
            **options,
        )
        definition = gpt_neox.build_gpt_neox_transformer(config)
    else:
        config = llamalike_common.LlamalikeTransformerConfig(
            num_kv_heads=c.kv_heads,
            query_head_multiplier=c.heads // c.kv_heads,
            mlp_variant="geglu_approx" if c.act == "gelu_new" else "swiglu",
            tie_embedder_and_logits=c.tied,
            **sizes,
            **options,
        )
        definition = llamalike_common.build_llamalike_transformer(config)
    return pz.bind_variables(definition, parameters)


@pytest.mark.slow
def test_models_of_penzais_builders():
    llama = from_penzai(built_by_penzai("llama grouped"), ctx=16)
    same(llama, make(CONFIGS["llama grouped"]))
    neox = built_by_penzai("pythia")
    different = r"different epsilons: \[1e-06, 1e-05\].*norm_eps=1e-05"
    with pytest.raises(ji.hub.UnhandledConfig, match=different):
        from_penzai(neox)
    same(from_penzai(neox, ctx=16, norm_eps=1e-5), make(CONFIGS["pythia"]))


def test_what_is_not_ours_is_refused():
    from penzai import pz
    from penzai.models.transformer.variants import llamalike_common

    gemma = built_by_penzai("llama one group, tied")
    with pytest.raises(ji.hub.UnhandledConfig, match="is not what penzai's builder makes of a Llama"):
        from_penzai(gemma)
    window = llamalike_common.AttentionTypeSlidingWindowCausal(4)
    windowed = built_by_penzai("llama", attention_type=window)
    with pytest.raises(ji.hub.UnhandledConfig, match="is a ApplyCausalSlidingWindowAttentionMask"):
        from_penzai(windowed)
    capped = built_by_penzai("llama", final_logit_softcap=30.0)
    with pytest.raises(ji.hub.UnhandledConfig, match=r"body.sublayers has 6 entries, not 5"):
        from_penzai(capped)
    patched = pz.select(to_penzai(make(CONFIGS["pythia"]))).at_instances_of(pz.nn.Softmax)
    patched = patched.apply(lambda layer: pz.nn.Identity())
    with pytest.raises(ji.hub.UnhandledConfig, match=r"is a Identity, not a Softmax.*ji.intervene"):
        from_penzai(patched)


def test_what_penzai_cannot_express():
    gpt2 = make(ji.models.GPT2Config(**SIZE))
    with pytest.raises(ji.hub.UnhandledConfig, match=r"ji.models.GPTNeoX or Llama; got a GPT2"):
        to_penzai(gpt2)
    sequential = dataclasses.replace(CONFIGS["pythia"], parallel=False, act="tanh")
    with pytest.raises(ji.hub.UnhandledConfig, match="cannot express act='tanh', parallel=False"):
        to_penzai(make(sequential))
    folded = ji.weights.fold_norms(make(CONFIGS["pythia"]))
    with pytest.raises(ji.hub.UnhandledConfig, match=r"'b_unembed', 'blocks.ln1.bias'.*Convert before"):
        to_penzai(folded)
    with pytest.raises(ValueError, match=r"takes a penzai TransformerLM.*got a GPT2"):
        from_penzai(gpt2)


@pytest.mark.slow
def test_rotary_of_an_odd_width():
    """Ours turns one channel more; penzai splits what it turns into two halves, and cannot."""
    from penzai import pz

    odd = dataclasses.replace(CONFIGS["pythia"], rotary_fraction=0.5, k=6)
    with pytest.raises(ji.hub.UnhandledConfig, match=r"cannot express rotary_fraction=0\.5"):
        to_penzai(make(odd))
    theirs = pz.select(to_penzai(make(CONFIGS["pythia"]))).at_instances_of(pz.nn.ApplyRoPEToSubset)
    theirs = theirs.apply(lambda layer: dataclasses.replace(layer, rope_subset_size=3))
    with pytest.raises(ji.hub.UnhandledConfig, match="rope_subset_size is 3: it cannot run"):
        from_penzai(theirs)
