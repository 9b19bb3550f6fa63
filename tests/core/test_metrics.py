"""Metrics: their laws, and what they say of wrong answers."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

from .conftest import model_of

pytestmark = pytest.mark.wide

M = ji.metrics
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 7)), jnp.float32)
LAST = np.asarray(LOGITS[:, -1], np.float64)
PROBS = np.exp(LAST) / np.exp(LAST).sum(-1, keepdims=True)


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.quick
def test_of_the_last_position() -> None:
    close(M.logit_diff(1, 2)(LOGITS), LAST[:, 1] - LAST[:, 2])
    ids = np.asarray([1, 3])
    close(M.logit_diff(ids, 2)(LOGITS), LAST[[0, 1], ids] - LAST[:, 2])
    close(M.logit_diff(1, 2)(LOGITS), -M.logit_diff(2, 1)(LOGITS))
    rivals = np.asarray([[2, 4], [5, 6]])
    close(M.logit_diff(1, rivals)(LOGITS), LAST[:, 1] - np.take_along_axis(LAST, rivals, 1).max(1))
    close(M.prob(4)(LOGITS), PROBS[:, 4])
    close(jnp.exp(M.log_prob(4)(LOGITS)), PROBS[:, 4])
    close(sum(M.prob(i)(LOGITS) for i in range(7)), 1)
    close(M.rank(4)(LOGITS), (LAST[:, 4:5] < LAST).sum(-1))
    close(M.prob_diff([1, 2], [3])(LOGITS), PROBS[:, 1] + PROBS[:, 2] - PROBS[:, 3])
    sets = np.asarray([[1, 2], [5, -1]])
    mask = np.zeros(7, bool)
    mask[3] = True
    close(M.prob_diff(sets, mask)(LOGITS)[1], PROBS[1, 5] - PROBS[1, 3])
    close(M.prob_diff(~mask, mask)(LOGITS), 1 - 2 * PROBS[:, 3])
    close(M.kl(LOGITS)(LOGITS), 0)
    q = np.roll(PROBS, 1, 0)
    close(M.kl(LOGITS[::-1])(LOGITS), (q * np.log(q / PROBS)).sum(-1))
    close(M.kl(LOGITS[::-1, -1])(LOGITS), (q * np.log(q / PROBS)).sum(-1))
    one = M.logit_diff(1, 2)(LOGITS[0])
    assert one.shape == () and np.allclose(one, LAST[0, 1] - LAST[0, 2])


def test_of_several_positions() -> None:
    each = [M.prob(3, pos=p)(LOGITS) for p in range(5)]
    close(M.prob(3, pos=[1, -1])(LOGITS), (each[1] + each[4]) / 2)
    own = M.prob(3, pos=np.asarray([[0], [2]]))(LOGITS)
    close(own, [each[0][0], each[2][1]])
    close(
        M.kl(LOGITS[::-1], pos=[1, 4])(LOGITS),
        (M.kl(LOGITS[::-1], pos=1)(LOGITS) + M.kl(LOGITS[::-1], pos=4)(LOGITS)) / 2,
    )
    text = np.zeros((2, 5), np.int32)
    close(M.cross_entropy(text)(jnp.zeros((2, 5, 7))), np.log(7))
    keep = np.asarray([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], bool)
    alone = M.cross_entropy(text[1, 2:])(LOGITS[1, 2:])
    close(M.cross_entropy(text, mask=keep)(LOGITS)[1], alone)


def test_recovered_is_zero_corrupt_and_one_clean() -> None:
    inner = M.logit_diff(1, 2)
    clean, corrupt = inner(LOGITS), inner(-LOGITS)
    share = M.recovered(inner, clean, corrupt)
    close(share(LOGITS).mean(), 1)
    close(share(-LOGITS).mean(), 0)
    close(M.recovered(clean, clean, corrupt), share(LOGITS))
    with pytest.warns(UserWarning, match="nothing to recover"):
        assert np.isnan(M.recovered(clean, clean, clean)).all()


def test_measure_unembeds_what_it_reads_and_traces_once() -> None:
    model, shapes = model_of("gpt2"), []
    tokens = jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5]], jnp.int32)
    logits, _ = ji.run(model, tokens)
    for metric in (M.prob(3), M.logit_diff([1, 2], 3, pos=[0, 2]), lambda x: x[..., -1, 0]):
        whole = M.as_metric(metric)(logits)
        close(M.measure(model, tokens, metric), whole)

    def seen(chosen: jax.Array, token: jax.Array) -> jax.Array:
        shapes.append(chosen.shape)
        return chosen[..., 0] * token

    for token in (1.0, 2.0):
        M.measure(model, tokens, M.custom(seen, jnp.asarray(token)))
    assert shapes == [(2, 40)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: M.logit_diff(7, 1)(LOGITS), r"lie in 0\.\.6; got 7"),
        (lambda: M.logit_diff(-1, 1)(LOGITS), "got -1"),
        (lambda: M.prob([1, 2, 3])(LOGITS), r"one per example, here the shape \(2,\)"),
        (lambda: M.prob(1.5), "ints; got dtype float64"),
        (lambda: M.prob_diff(np.ones(6, bool), 1)(LOGITS), "vocabulary's length 7"),
        (lambda: M.kl(LOGITS[:, :, :6])(LOGITS), "reference logits have the shape"),
        (lambda: M.cross_entropy([[1, 2]])(LOGITS), "tokens have the shape"),
        (lambda: M.custom(lambda x: x.sum())(LOGITS), r"here the shape \(2,\).*returned \(\)"),
        (lambda: M.prob(1, pos=5)(LOGITS), "pos 5 is out of range"),
        (lambda: M.prob(1)(np.zeros((2, 5, 7), int)), "which are floats"),
        (lambda: M.as_metric(3), "A metric is a function of logits"),
    ],
)
def test_errors_teach(make: Any, message: str) -> None:
    with warnings.catch_warnings(), pytest.raises((ValueError, IndexError), match=message):
        make()
