"""Weights that are not finite, what is no tokenizer, and models without a last norm."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of

TOKENS = np.random.default_rng(0).integers(1, 40, (3, 9))
BY_WEIGHTS: dict[str, Callable[[Any], Any]] = {
    "head_deactivation": lambda model: ji.neurons.head_deactivation(model, 0),
    "induction_case": lambda model: ji.neurons.induction_case(
        model, [(0, 1)], key=jax.random.key(0), block=4, batch_size=2, heads=[], progress=False
    ),
    "weight_statistics": ji.neurons.weight_statistics,
}


@pytest.mark.parametrize("name", BY_WEIGHTS)
def test_weights_that_are_not_finite_are_told(name: str) -> None:
    model: Any = model_of("gpt2")
    leaf = lambda m: m.blocks.mlp.w_in
    broken = eqx.tree_at(leaf, model, leaf(model).at[1, 0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="NaN or infinite"):
        BY_WEIGHTS[name](broken)


def test_what_is_no_tokenizer_is_told() -> None:
    model: Any = model_of("gpt2")
    texts = {"a": TOKENS, "b": TOKENS[:2]}
    found = ji.neurons.top_contexts(model, texts, [(0, 1)], top=2, progress=False)
    for wrong in (model, (model, None), "tiny"):
        for call in (
            lambda wrong=wrong: ji.neurons.word_starts(wrong),
            lambda wrong=wrong: ji.neurons.token_families(TOKENS, wrong),
            lambda wrong=wrong: ji.neurons.fact_ablation(model, wrong, [("a", " b")], [(0, 1)]),
            lambda wrong=wrong: ji.neurons.context_ngrams(model, (0, 1), texts, tokenizer=wrong),
            lambda wrong=wrong: ji.data.pack(wrong, ["a text"], ctx=8),
            lambda wrong=wrong: found.records(wrong),
        ):
            with pytest.raises(ValueError, match=r"A tokenizer has the method .* tokenizer = ji.load"):
                call()


def test_spans_classes_and_keys_are_taught() -> None:
    model: Any = model_of("gpt2")
    _, tokenizer = ji.load("tiny")
    corpus = ji.data.pack(tokenizer, ["A text of a few words."], ctx=16)
    wrongs: list[Any] = [
        lambda text: "x",
        lambda text: [(0, 2, "x")],
        lambda text: [3],
        lambda text: 3,
        lambda text: [(0.5, 2)],
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"Spans are a list of \(start, end\)"):
            corpus.spans(wrong)
    with pytest.raises(ValueError, match=r"Spans are a list of \(start, end, label\)"):
        ji.data.pack(tokenizer, [ji.data.Document("A text", spans=((0, 1),))], ctx=8)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"two documents of each side.* the other classes have 1"):
        ji.neurons.class_probes(model, {"a": TOKENS, "b": TOKENS[:1]}, "a", skip=0)
    judges = ji.sae.Judges(explain=lambda shown: "x", detect=lambda text, texts: [])
    units = ji.sae.Combinations(32, [[1], [2]], [[1], [1]])
    ask: Any = lambda texts, key: ji.sae.explanation_scores(
        units, model, tokenizer, TOKENS, texts, site="mlp_post[0]", judges=judges, key=key
    )
    with pytest.raises(ValueError, match=r'explanations=\{3: "German words".*key=jax.random.key\(0\)'):
        ask({0: "a", 1: "b"}, 0)
    with pytest.raises(ValueError, match=r"key=key\)"):
        ask({0: "a"}, jax.random.key(0))


def test_a_model_without_a_last_norm_has_roles_and_can_be_universal() -> None:
    model: Any = model_of("relu")
    found = ji.neurons.logit_moments(model)
    out, words = (np.asarray(x, np.float64) for x in (model.blocks.mlp.w_out, model.w_embed))
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    cosines = unit(out) @ unit(words - words.mean(0)).T
    np.testing.assert_allclose(found.mean, cosines.mean(-1), atol=1e-5)
    np.testing.assert_allclose(found.variance, cosines.var(-1), atol=1e-5)
    alike = ji.neurons.universal([model, model], TOKENS, batch_size=3)
    assert alike.properties is not None and alike.share > 0
    np.testing.assert_allclose(alike.properties.logit_variance, found.variance.reshape(-1))
    with pytest.raises(ValueError, match="every effect is direct"):
        ji.neurons.entropy_neurons(model, TOKENS)
