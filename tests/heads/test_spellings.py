"""Old spellings of the options of heads are refused with the corrected call; results are tables."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji

KEY = jax.random.key(0)
CONFIG = ji.models.GPT2Config(vocab=40, ctx=16, d=8, layers=2, heads=2)

POSITIONAL: dict[str, Callable[..., Any]] = {
    "ji.heads.repeated_tokens(model.config, key=jax.random.key(0))": ji.heads.repeated_tokens,
    "ji.heads.induction_scores(model, key=jax.random.key(0))": ji.heads.induction_scores,
    "ji.heads.prefix_matching_scores(model, key=jax.random.key(0))": ji.heads.prefix_matching_scores,
    "ji.heads.previous_token_scores(model, key=jax.random.key(0))": ji.heads.previous_token_scores,
    "ji.heads.duplicate_token_scores(model, key=jax.random.key(0))": ji.heads.duplicate_token_scores,
    "ji.heads.copying_behaviour(model, key=jax.random.key(0))": ji.heads.copying_behaviour,
    "ji.heads.repeat_losses(model, key=jax.random.key(0))": ji.heads.repeat_losses,
    "ji.heads.summary(model, key=jax.random.key(0))": ji.heads.summary,
}


@pytest.mark.parametrize("call", POSITIONAL)
def test_a_key_is_given_by_name_and_batch_is_batch_size(call: str) -> None:
    with pytest.raises(TypeError) as error:
        POSITIONAL[call](CONFIG, KEY)
    assert str(error.value).endswith(f"takes its key by name: {call}.")
    with pytest.raises(TypeError, match=r"has no argument batch=\. Write batch_size=\."):
        POSITIONAL[call](CONFIG, key=KEY, batch=4)


def test_the_old_order_is_refused() -> None:
    with pytest.raises(TypeError, match=r"by name: ji\.heads\.repeated_tokens\(model\.config, key="):
        ji.heads.repeated_tokens(KEY, CONFIG)


def test_other_spellings() -> None:
    table = np.zeros((1, 2, 1, 2))
    with pytest.raises(TypeError, match=r"ji\.heads\.strongest has no argument n=\. Write top=\."):
        ji.heads.strongest(table, n=3)
    with pytest.raises(TypeError, match=r"no argument bar=\. Write threshold=\."):
        ji.heads.summary(CONFIG, key=KEY, bar=0.5)


def test_scores_are_read_as_a_dict_and_as_a_table() -> None:
    values = np.arange(4, dtype=np.float32).reshape(2, 2) / 4
    scores = ji.heads.HeadScores(
        {"first": jax.numpy.asarray(values), "current": jax.numpy.asarray(1 - values)}
    )
    assert list(scores) == ["first", "current"] and "first" in scores and len(scores) == 2
    assert scores.records()[2] == {"layer": 1, "head": 0, "first": 0.5, "current": 0.5}
    assert dict(scores.items())["first"] is scores["first"]
    assert "Head scores" in scores._repr_html_()
    found = ji.heads.Summary(scores, 0.5)
    assert found.named("first") == [(1, 1), (1, 0)] and found.records() == scores.records()
    with pytest.raises(TypeError, match=r"no argument bar=\. Write threshold=\."):
        found.named("first", bar=0.5)
    with pytest.raises(KeyError, match="of first, current; got 'mover'"):
        scores["mover"]
