"""Every mistake gets the rule, what was given and the corrected call."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

pytestmark = pytest.mark.wide

T = jnp.asarray([[1, 2, 3], [4, 5, 6]])


def run(model: Any, *edits: ji.Edit, **options: Any) -> Any:
    return ji.run(model, T, edits=edits, **options)


CASES: dict[str, tuple[Any, type[Exception], str]] = {
    "unknown site": (
        lambda m: run(m, capture=["resid_pst"]),
        ji.UnknownSite,
        r"no site 'resid_pst'.*Did you mean 'resid_post'",
    ),
    "unknown site of an edit": (lambda m: ji.zero("hook_zz"), ji.UnknownSite, "no site 'hook_zz'"),
    "unknown TransformerLens name": (
        lambda m: ji.zero("blocks.0.attn.hook_y"),
        ji.UnknownSite,
        "Did you mean",
    ),
    "not a string": (lambda m: run(m, capture=[3]), ji.UnknownSite, "written as a string"),
    "brackets": (lambda m: run(m, capture=["z[a]"]), ji.UnknownSite, r"Write 'z\[3\]'"),
    "site that the architecture lacks": (
        lambda m: run(m, capture=["q_rot"]),
        ji.UnknownSite,
        "This model has no site 'q_rot'.*It emits: embed",
    ),
    "edit of a site it lacks": (
        lambda m: run(m, ji.zero("mlp_up")),
        ji.UnknownSite,
        "This model has no site 'mlp_up'",
    ),
    "splice site without a splice": (
        lambda m: run(m, capture=["resid_post.sae.feature"]),
        ji.UnknownSite,
        "no site 'resid_post.sae.feature'",
    ),
    "layer of a capture": (
        lambda m: run(m, capture=["z[3]"]),
        IndexError,
        r"z\[3\]: layer 3 is out of range; this model has layers 0..2",
    ),
    "no layer": (lambda m: run(m, capture=["z[3:]"]), IndexError, "asks for no layer at all"),
    "layer of an edit": (lambda m: run(m, ji.zero("z", layer=7)), IndexError, "layer 7 is out of"),
    "traced layer that is concrete": (
        lambda m: run(m, ji.zero("z", layer=jnp.asarray(-4))),
        IndexError,
        "layer -4 is out of range",
    ),
    "head": (
        lambda m: run(m, ji.zero("z", head=2)),
        IndexError,
        "head 2 is out of range; this model has heads 0..1",
    ),
    "unit": (lambda m: run(m, ji.zero("mlp_post", unit=32)), IndexError, "unit 32 is out of range"),
    "pos": (lambda m: run(m, ji.zero("z", pos=3)), IndexError, r"pos 3 is out of range 0..2"),
    "pos of a capture": (lambda m: run(m, capture=[ji.at("z", pos=-4)]), IndexError, "pos -4"),
    "pos of logits": (lambda m: ji.run(m, T, logits=5), IndexError, "logits: pos 5"),
    "selector that the site lacks": (
        lambda m: ji.zero("resid_post", head=1),
        ValueError,
        "'resid_post' has the axes pos d.*selected by head",
    ),
    "pos of a pattern": (
        lambda m: ji.zero("pattern", pos=1),
        ValueError,
        "axes head query key.*layer, head, query, key",
    ),
    "no selector": (lambda m: ji.zero("z", position=1), ValueError, "'position' is no selector"),
    "selector of floats": (lambda m: ji.zero("z", pos=1.5), ValueError, "ints or by a mask"),
    "layer of a model site": (lambda m: ji.zero("embed", layer=0), ValueError, "not of a layer"),
    "layer twice": (lambda m: ji.zero("z[1]", layer=0), ValueError, "already names its layer"),
    "shape of a value": (
        lambda m: run(m, ji.add("resid_post", jnp.ones(5), layer=1)),
        ValueError,
        r"shape \(5,\).*does not broadcast.*\(batch=2, pos=3, d=8\)",
    ),
    "shape of a stacked value": (
        lambda m: run(m, ji.add("z", jnp.ones((4, 2, 3, 2, 4)))),
        ValueError,
        r"stacked over layers to \(layer=3, batch=2",
    ),
    "dtype of a value": (
        lambda m: ji.add("z", jnp.arange(4, dtype=jnp.int32)),
        ValueError,
        r"must be: got dtype int32.*astype\(jnp.float32\)",
    ),
    "direction of another width": (
        lambda m: run(m, ji.project_out("z", jnp.ones(1))),
        ValueError,
        "does not broadcast",
    ),
    "direction per position, without its axis of directions": (
        lambda m: run(m, ji.project_out("z", jnp.ones((3, 2, 4)), layer=1)),
        ValueError,
        r"shape \(3, 2, 4\).*sets of directions.*\(pos, 1, d\)",
    ),
    "set of zeros": (lambda m: ji.project_out("z", np.zeros((2, 4), np.float32)), ValueError, "zeros"),
    "zero direction": (lambda m: ji.project_out("z", np.zeros(4, np.float32)), ValueError, "not zero"),
    "map that changes the shape": (
        lambda m: run(m, ji.map("z", lambda x: x.sum(-1))),
        ValueError,
        "must keep the shape",
    ),
    "not an edit": (lambda m: ji.run(m, T, edits=["z"]), ValueError, "An edit is made by"),
    "not a dictionary": (lambda m: ji.splice("z", 3), ValueError, "has no encode"),
    "mask of a wrong size": (
        lambda m: run(m, ji.zero("z", pos=np.ones(5, bool))),
        ValueError,
        r"mask for pos has the shape \(3,\)",
    ),
    "token beyond the vocabulary": (
        lambda m: ji.run(m, [1, 40]),
        IndexError,
        r"0..39 \(config.vocab=40\); got 40",
    ),
    "negative token": (lambda m: ji.run(m, [1, -1]), IndexError, "got -1"),
    "prompt too long": (
        lambda m: ji.run(m, [1] * 17),
        ValueError,
        r"at most 16 positions.*has 17.*tokens\[..., -16:\]",
    ),
    "empty prompt": (
        lambda m: ji.run(m, jnp.zeros((2, 0), jnp.int32)),
        ValueError,
        "at least one token.*bos=True",
    ),
    "text": (lambda m: ji.run(m, "a b"), ValueError, r"got text, 'a b'.*tokenizer\('some text'\)"),
    "texts": (lambda m: ji.run(m, ["a", "b"]), ValueError, r"tokens, mask = tokenizer\(texts\)"),
    "text as an array": (lambda m: ji.run(m, np.array("a")), ValueError, "got text"),
    "text to generate": (lambda m: ji.generate(m, "a", 1, key=jax.random.key(0)), ValueError, "got text"),
    "text to differentiate": (
        lambda m: ji.site_grads(m, "a", lambda x: x.sum(), at=["z"]),
        ValueError,
        "got text",
    ),
    "text to list sites of": (lambda m: ji.sites(m, "a"), ValueError, "got text"),
    "text to measure": (
        lambda m: ji.metrics.measure(m, "a", ji.metrics.logit_diff(1, 2)),
        ValueError,
        "got text",
    ),
    "text to look at": (lambda m: ji.lens.logit_lens(m, "a"), ValueError, "got text"),
    "text to sweep": (
        lambda m: ji.patching.sweep(
            m, T[0], "a", ji.metrics.logit_diff(1, 2), site="resid_pre", over=("layer",)
        ),
        ValueError,
        "got text",
    ),
    "text to score heads on": (
        lambda m: ji.heads.attention_scores(m, "a", "previous"),
        ValueError,
        "got text",
    ),
    "tokens and their mask in one": (
        lambda m: ji.run(m, (T, T > 0)),
        ValueError,
        r"tokens, mask = tokenizer\(texts\); ji.run\(model, tokens, mask",
    ),
    "bools": (lambda m: ji.run(m, jnp.ones(3, bool)), ValueError, "Tokenize text first"),
    "floats": (lambda m: ji.run(m, jnp.ones((3, 5))), ValueError, "embeddings.*d=8"),
    "mask shape": (
        lambda m: ji.run(m, T, mask=jnp.ones(3, bool)),
        ValueError,
        r"shape of the tokens \(2, 3\).*got \(3,\)",
    ),
    "mask dtype": (lambda m: ji.run(m, T, mask=jnp.ones((2, 3), jnp.int32)), ValueError, "bools"),
    "mask of nothing": (
        lambda m: ji.run(m, T, mask=np.zeros((2, 3), bool)),
        ValueError,
        "at least one real token",
    ),
    "two captures of one name": (
        lambda m: run(m, capture=[ji.at("z", pos=0), ji.at("z", pos=1)]),
        ValueError,
        "name='first'",
    ),
    "mask without reduction": (lambda m: ji.at("z", pos=np.ones(3, bool)), ValueError, "reduce='mean'"),
    "reduction": (lambda m: ji.at("z", reduce="median"), ValueError, "mean, max, sum, last"),
    "traced layer of a capture": (
        lambda m: jax.vmap(lambda layer: ji.at("z", layer=layer))(jnp.arange(2)),
        ValueError,
        "Capture all layers",
    ),
    "layer of a capture that is a bool": (lambda m: ji.at("z", layer=True), ValueError, "Capture all layers"),
    "not captured": (
        lambda m: run(m, capture=["z"])[1]["q"],
        KeyError,
        r"'q' was not captured.*capture=\['q'\]",
    ),
    "resume beyond": (lambda m: ji.resume(m, jnp.ones((2, 3, 8)), 5), IndexError, "layer 5"),
    "resume from a layer and a half": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), 1.9),
        ValueError,
        "resume: layer is an int; got 1.9",
    ),
    "resume from an array of floats": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), jnp.asarray(1.9)),
        ValueError,
        "is one int",
    ),
    "resume from text": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), "1"),
        ValueError,
        "is an int; got '1' of type str",
    ),
    "resume from a bool": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), True),
        ValueError,
        "is an int; got True",
    ),
    "layer of floats": (
        lambda m: ji.zero("z", layer=jnp.asarray(1.5)),
        ValueError,
        "layer is an int, several ints",
    ),
    "position of floats": (lambda m: ji.run(m, T, logits=1.5), ValueError, "ints or by a mask"),
    "text in place of tokens": (lambda m: ji.run(m, "text"), ValueError, "Tokenize text first"),
    "resume of tokens": (lambda m: ji.resume(m, T, 1), ValueError, "For tokens use ji.run"),
    "edit behind a resumed run": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), 2, edits=[ji.zero("z", layer=1)]),
        ValueError,
        "can never fire",
    ),
    "capture behind a resumed run": (
        lambda m: ji.resume(m, jnp.ones((2, 3, 8)), 2, capture=["z"]),
        ValueError,
        r"capture 'z\[2:\]'",
    ),
    "gradient at a position": (
        lambda m: ji.site_grads(m, T, jnp.sum, at=[ji.at("z", pos=1)]),
        ValueError,
        "whole site",
    ),
    "metric of ints": (
        lambda m: ji.site_grads(m, T, lambda x: x.argmax(-1), at=["z"]),
        ValueError,
        "returns floats",
    ),
    "generation beyond the context": (lambda m: ji.generate(m, T, 15), ValueError, "14 more to read"),
    "negative steps": (lambda m: ji.generate(m, T, -1), ValueError, "0 or more"),
    "sampling without a key": (lambda m: ji.generate(m, T, 1, top_k=3), ValueError, "needs a key"),
    "seed in place of a key": (
        lambda m: ji.generate(m, T, 1, key=7),
        ValueError,
        r"ji.generate\(..., key=jax.random.key\(7\)\)",
    ),
    "several keys": (
        lambda m: ji.generate(m, T, 1, key=jax.random.split(jax.random.key(0), 2)),
        ValueError,
        "from a key",
    ),
    "steps and a half": (lambda m: ji.generate(m, T, 1.5), ValueError, "steps is an int; got 1.5"),
    "temperature of NumPy": (
        lambda m: ji.generate(m, T, 1, key=jax.random.key(0), temperature=np.float32(-1)),
        ValueError,
        "temperature must be above 0",
    ),
    "top_p of JAX": (
        lambda m: ji.generate(m, T, 1, key=jax.random.key(0), top_p=jnp.asarray(1.5)),
        ValueError,
        "top_p",
    ),
    "stops": (lambda m: ji.generate(m, T, 1, stop=[1, 40]), IndexError, r"0..39.*\[1, 40\]"),
    "temperature": (
        lambda m: ji.generate(m, T, 1, key=jax.random.key(0), temperature=0.0),
        ValueError,
        "temperature must be above 0",
    ),
    "top_p": (lambda m: ji.generate(m, T, 1, key=jax.random.key(0), top_p=1.5), ValueError, "top_p"),
    "top_k": (lambda m: ji.generate(m, T, 1, key=jax.random.key(0), top_k=0), ValueError, "1..40"),
    "stop": (lambda m: ji.generate(m, T, 1, stop=40), IndexError, "0..39"),
    "sizes that do not fit": (
        lambda m: ji.models.GPT2Config(vocab=9, ctx=4, d=9, layers=1, heads=2),
        ValueError,
        "d=9 does not split over 2 heads",
    ),
    "key/value heads": (
        lambda m: ji.models.LlamaConfig(vocab=9, ctx=4, d=9, layers=1, heads=3, kv_heads=2),
        ValueError,
        "no multiple",
    ),
    "no layers": (
        lambda m: ji.models.GPT2Config(vocab=9, ctx=4, d=8, layers=0, heads=2),
        ValueError,
        "layers to be an int from 1 to 65536; got layers=0",
    ),
    "no heads": (
        lambda m: ji.models.LlamaConfig(vocab=9, ctx=4, d=8, layers=1, heads=0),
        ValueError,
        "heads to be an int of 1 or more; got heads=0",
    ),
    "a negative width": (
        lambda m: ji.models.GPTNeoXConfig(vocab=9, ctx=4, d=8, layers=1, heads=2, ff=-4),
        ValueError,
        "ff to be an int of 0 or more; got ff=-4",
    ),
    "activation": (
        lambda m: ji.models.GPT2Config(vocab=9, ctx=4, d=8, layers=1, heads=2, act="gello"),
        ValueError,
        "no activation 'gello'.*gelu_new",
    ),
    "prompts of different lengths": (
        lambda m: ji.run(m, [[1, 2], [3]]),
        ValueError,
        r"Pad them to one length.*mask = tokenizer\(texts\)",
    ),
    "an empty list": (lambda m: ji.run(m, []), ValueError, "at least one token"),
    "a list of floats": (lambda m: ji.run(m, [1.0, 2.0]), ValueError, "Token ids are ints"),
    "one number": (lambda m: ji.run(m, 3), ValueError, r"as in \[3\]; got one number"),
    "no logits": (lambda m: ji.run(m, T, logits=None), ValueError, "logits=False"),
    "a mask of logits": (
        lambda m: ji.run(m, T, logits=np.asarray([True, False, True])),
        ValueError,
        "logits takes ints",
    ),
    "a mask of an edited model's lens": (
        lambda m: ji.lens.logit_lens(
            ji.intervene(m, ji.scale("logits", 2.0)), T, pos=np.asarray([True, False, True])
        ),
        ValueError,
        "takes ints",
    ),
    "a mask of layers": (
        lambda m: run(m, ji.zero("z", layer=[True, False])),
        ValueError,
        r"a mask for layer has the shape \(3,\)",
    ),
    "several temperatures": (
        lambda m: ji.generate(m, T, 1, key=jax.random.key(0), temperature=[0.5, 0.6]),
        ValueError,
        "temperature is one number",
    ),
    "temperature in words": (
        lambda m: ji.generate(m, T, 1, key=jax.random.key(0), temperature="hot"),
        ValueError,
        "temperature is one number",
    ),
}


BIG = 2**32
WRAPS: dict[str, Any] = {
    "pos": lambda m: run(m, ji.zero("resid_post", pos=BIG + 1, layer=0)),
    "head": lambda m: run(m, ji.zero("z", head=np.uint64(BIG))),
    "unit": lambda m: run(m, ji.zero("mlp_post", unit=[-BIG, 0])),
    "query": lambda m: run(m, ji.zero("pattern", query=np.asarray([BIG]))),
    "layer": lambda m: run(m, ji.zero("z", layer=BIG)),
    "pos of a capture": lambda m: ji.at("z", pos=BIG),
    "logits": lambda m: ji.run(m, T, logits=BIG),
    "tokens": lambda m: ji.run(m, [1, BIG + 5]),
    "unsigned tokens": lambda m: ji.generate(m, np.asarray([1, 2**63 + 5], np.uint64), 1),
    "negative tokens": lambda m: ji.run(m, np.asarray([1, 5 - BIG])),
    "tokens of sites": lambda m: ji.sites(m, [BIG]),
    "stop": lambda m: ji.generate(m, T, 1, stop=BIG),
    "resume": lambda m: ji.resume(m, jnp.ones((2, 3, 8)), BIG),
    "answer": lambda m: ji.metrics.prob(BIG + 1),
    "set": lambda m: ji.metrics.prob_diff([1], np.asarray([[BIG]])),
    "text": lambda m: ji.metrics.cross_entropy(np.asarray([[1, BIG]])),
    "pos of a metric": lambda m: ji.metrics.prob(1, pos=BIG),
}


@pytest.mark.parametrize("case", WRAPS)
def test_ints_that_do_not_fit_are_not_wrapped(gpt2: Any, case: str) -> None:
    with pytest.raises(IndexError, match=r"at most 32 bits|out of range"):
        WRAPS[case](gpt2)


UNSEEN: dict[str, Any] = {
    "token": (lambda m, t, k: grads(m, t.at[0, 1].set(999)), IndexError, r"0\.\.39.*got 999"),
    "answer": (lambda m, t, k: grads(m, t, ji.metrics.prob(400)), IndexError, r"0\.\.39; got 400"),
    "answers": (lambda m, t, k: grads(m, t, ji.metrics.prob([1, 2, 3])), ValueError, "one per example"),
    "pos of the metric": (
        lambda m, t, k: grads(m, t, ji.metrics.prob(3, pos=3)),
        IndexError,
        "pos 3 is out of range",
    ),
    "token that a prompt lacks": (
        lambda m, t, k: grads(m, t, ji.metrics.prob(3, pos=1), mask=k),
        IndexError,
        "the shortest has 1",
    ),
    "logits": (lambda m, t, k: grads(m, t, lambda x: x[..., 0], logits=3), IndexError, "logits: pos 3"),
    "padding alone": (lambda m, t, k: grads(m, t, mask=k & ~k), ValueError, "one real token"),
    "pos of an edit": (lambda m, t, k: grads(m, t, edits=ji.zero("z", pos=3)), IndexError, "pos 3"),
    "pos of an edit under padding": (
        lambda m, t, k: grads(m, t, mask=k, edits=ji.zero("z", pos=1)),
        IndexError,
        "shortest has 1",
    ),
    "layer of an edit": (
        lambda m, t, k: grads(m, t, edits=ji.zero("z", layer=jnp.asarray(3))),
        IndexError,
        "layer 3",
    ),
}


def grads(model: Any, tokens: Any, metric: Any = None, **options: Any) -> Any:
    metric = ji.metrics.prob(3) if metric is None else metric
    return ji.site_grads(model, tokens, metric, at="z[1]", **options)


@pytest.mark.parametrize("case", UNSEEN)
def test_gradients_refuse_what_a_run_refuses(gpt2: Any, case: str) -> None:
    call, error, words = UNSEEN[case]
    with pytest.raises(error, match=f"(?s){words}"):
        call(gpt2, T, jnp.asarray([[True, False, False], [True, True, True]]))


@pytest.mark.parametrize("case", CASES)
def test_errors_teach(gpt2: Any, case: str) -> None:
    call, error, words = CASES[case]
    with pytest.raises(error, match=f"(?s){words}"):
        call(gpt2)
