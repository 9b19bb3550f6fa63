"""Causal scrubbing: hypotheses that hold keep the metric, others lose it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.patching.patched_models import model_of

TOKENS = jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 19, 0, 5], [4, 4, 8, 1, 2], [6, 30, 31, 5, 9]], jnp.int32)
METRIC = ji.metrics.logit_diff(jnp.asarray([3, 4, 5, 6]), jnp.asarray([5, 6, 7, 8]))
MASK = np.asarray([[True] * 5, [False] + [True] * 4, [True] * 5, [False] + [True] * 4])


def scrub(name: str, claims: Any, **options: Any) -> Any:
    return ji.circuits.scrub(
        model_of(name), TOKENS, METRIC, claims, key=jax.random.key(0), resamples=3, **options
    )


@pytest.mark.parametrize("name", ["neox", pytest.param("llama", marks=pytest.mark.slow)])
def test_the_ends(name: str) -> None:
    """Prompts that are told apart keep the run; where all that the logits read is swapped, so are the logits."""
    graph = ji.circuits.graph(model_of(name))
    own = scrub(name, {"own": (graph.edges, np.arange(4))}, mask=MASK)
    logits, _ = ji.run(model_of(name), TOKENS, mask=MASK)
    clean = METRIC(logits, mask=MASK)
    np.testing.assert_allclose(own.values, float(clean.mean()), atol=1e-5)
    assert own.recovered == pytest.approx(1, abs=1e-5) and own.clean == pytest.approx(
        float(clean.mean()), abs=1e-5
    )
    # Each prompt has the logits of another one of its padding.
    read = [edge for edge in graph.edges if edge.endswith("->logits")]
    rest = [edge for edge in graph.edges if edge not in read]
    claims = {"read": (read, lambda tokens: np.zeros(len(tokens))), "rest": (rest, np.arange(4))}
    same = scrub(name, claims, mask=MASK)
    last = np.asarray(logits)[:, -1]
    swaps = [[0, 1, 2, 3], [2, 1, 0, 3], [0, 3, 2, 1], [2, 3, 0, 1]]
    possible = [float(METRIC.of(jnp.asarray(last[order])).mean()) for order in swaps]
    assert all(np.abs(np.asarray(possible) - value).min() < 1e-5 for value in same.values)
    nothing = scrub(name, {}, mask=MASK)
    assert nothing.recovered == pytest.approx(0, abs=1e-6) and len(nothing.records()) == 1


def test_a_planted_circuit_carries_what_it_is_said_to() -> None:
    one = ji.toy.planted_induction(vocab=8, ctx=12)
    graph = ji.circuits.graph(one.model, split_embed=True)
    keys = jax.random.split(jax.random.key(0), 64)
    block = jax.vmap(lambda key: jax.random.permutation(key, 8)[:3])(keys)
    tokens = jnp.concatenate([block, block[:, :1]], 1)
    metric = ji.metrics.log_prob(tokens[:, 1])
    answer = ("1.0->logits",)
    right = {"the next token": (answer, tokens[:, 1])}
    held = {"the rest": ([edge for edge in graph.edges if edge not in answer], np.arange(64))}
    options: Any = {"key": jax.random.key(1), "resamples": 5, "graph": graph}
    found = ji.circuits.scrub(one.model, tokens, metric, right | held, **options)
    assert found.recovered > 0.99
    wrong = {"the last token of the block": (answer, tokens[:, 2])}
    assert ji.circuits.scrub(one.model, tokens, metric, wrong | held, **options).recovered < 0.5


def test_what_is_wrong_teaches() -> None:
    with pytest.raises(ValueError, match="in two claims"):
        scrub("neox", {"a": (["embed->mlp0"], np.zeros(4)), "b": (["embed->mlp0"], np.zeros(4))})
    with pytest.raises(ValueError, match="one label for each"):
        scrub("neox", {"a": (["embed->mlp0"], np.zeros(3))})
    with pytest.raises(ValueError, match="A claim is"):
        scrub("neox", {"a": ["embed->mlp0"]})
    with pytest.raises(ValueError, match="swapped with each other"):
        ji.circuits.scrub(model_of("neox"), TOKENS[0], METRIC, {}, key=jax.random.key(0))
