"""Strengths, side effects, learned vectors, scans, cosines and suffixes: laws against single runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp import steering
from tests.models import model_of, sampled

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 40, (5, 7))
RIGHT = np.arange(7) < np.array([7, 4, 4, 7, 4])[:, None]
LEFT = RIGHT[:, ::-1].copy()
SCORE = ji.metrics.log_odds([3, 5])


def direction_of(model, seed=0):
    return np.random.default_rng(seed).normal(size=model.config.d).astype(np.float32)


@pytest.mark.parametrize("name", sampled("neox", slow=["gpt2", "llama"]))
def test_strengths_and_side_effects(name):
    model = model_of(name)
    direction = direction_of(model)
    found = steering.strengths(
        model, direction, (TOKENS, RIGHT), SCORE, [-1.0, 0, 2], layer=1, texts=(TOKENS[:2], LEFT[:2])
    )
    assert found.values.shape == (3, 5)
    for i, c in enumerate(found.strengths.tolist()):
        edits = [ji.add("resid_pre", c * direction, layer=1)]
        wanted = ji.metrics.measure(model, TOKENS, SCORE, mask=RIGHT, edits=edits)
        np.testing.assert_allclose(found.values[i], wanted, rtol=1e-4, atol=1e-4)
    cost = steering.side_effects(model, edits, (TOKENS[:2], LEFT[:2]))
    np.testing.assert_allclose(cost.after, found.loss[2], rtol=1e-4)
    np.testing.assert_allclose(cost.kl, found.kl[2], rtol=1e-4, atol=1e-5)
    for row in range(2):
        text = TOKENS[row][LEFT[row]]
        logs = [np.asarray(jax.nn.log_softmax(ji.run(model, text, edits=e)[0]))[:-1] for e in ((), edits)]
        nats = [-log[np.arange(len(log)), text[1:]].mean() for log in logs]
        np.testing.assert_allclose([cost.before[row], cost.after[row]], nats, rtol=1e-4)
        kl = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean()
        np.testing.assert_allclose(cost.kl[row], kl, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.kl[1], 0, atol=1e-6)
    assert [row["measure"] for row in cost.summary()] == ["before", "after", "difference", "kl"]
    assert found.records()[2]["strength"] == 2.0 and found.figure().svg


def test_a_learned_vector_is_a_gradient_and_climbs():
    model = model_of("gpt2")
    zeros = jnp.zeros(model.config.d)

    def mean(vector):
        edits = [ji.add("resid_pre", vector, layer=1)]
        logits, _ = ji.run(model, TOKENS, mask=RIGHT, edits=edits, logits=-1)
        return SCORE.of(logits).mean()

    quiet = ji.fit.Settings(progress=False)
    given = dict(layer=1, settings=quiet)
    once = steering.learn(model, (TOKENS, RIGHT), SCORE, optax.sgd(1.0), steps=1, **given)
    np.testing.assert_allclose(once.direction, jax.grad(mean)(zeros), rtol=1e-3, atol=1e-5)
    found = steering.learn(model, (TOKENS, RIGHT), SCORE, optax.adam(0.1), steps=16, **given)
    assert found.metric[-1] > found.metric[0] + 0.3
    np.testing.assert_allclose(found.metric[0], float(mean(zeros)), rtol=1e-4, atol=1e-5)
    held = steering.learn(model, (TOKENS, RIGHT), SCORE, optax.adam(0.1), steps=16, penalty=10.0, **given)
    assert np.linalg.norm(held.direction) < np.linalg.norm(found.direction)
    assert len(found.records()) == 16 and found.figure().svg


@pytest.mark.parametrize("mask", sampled(LEFT, slow=[RIGHT]))
def test_cosines(mask):
    model = model_of("llama")
    direction = direction_of(model)
    whole = steering.cosines(model, (TOKENS, mask), 7 * direction)
    last = steering.cosines(model, (TOKENS, mask), direction, positions=[-2, -1], batch_size=2)
    assert whole.shape == (3, 5, 7) and last.shape == (3, 5, 2)
    assert (np.isnan(whole) == ~mask[None]).all()
    for row in range(5):
        _, acts = ji.run(model, TOKENS[row][mask[row]], capture=["resid_pre"])
        x = np.asarray(acts["resid_pre"])
        wanted = x @ direction / np.linalg.norm(x, axis=-1) / np.linalg.norm(direction)
        np.testing.assert_allclose(whole[:, row, mask[row]], wanted, atol=1e-4)
        np.testing.assert_allclose(last[:, row], wanted[:, -2:], atol=1e-4)


def test_scan_reads_the_planted_direction():
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0))
    for estimate in (steering.difference_in_means, steering.principal_difference):
        found = steering.scan(planted.model, planted.harmful, planted.harmless, estimate, positions=[-2, -1])
        assert found.auc.shape == (2, 5) and (found.auc[:, 2:] == 1).all()
        axis = found.directions[1, 2] / np.linalg.norm(found.directions[1, 2])
        assert axis @ planted.direction > 1 - 1e-5
    assert len(found.records()) == 10 and found.figure().svg


@pytest.mark.parametrize("estimate", [steering.difference_in_means, steering.principal_difference])
def test_means_that_are_equal_up_to_rounding_tell_nothing(estimate):
    """The same prompts in another order, with padding that rounds each stream otherwise, have the same means."""
    rng = np.random.default_rng(3)
    model, order, pad = model_of("gpt2"), rng.permutation(20), ((0, 0), (3, 0))
    tokens, left, right = (
        rng.integers(0, 40, (20, 5)),
        rng.integers(0, 40, (8, 5)),
        rng.integers(0, 40, (8, 5)),
    )
    again = np.pad(tokens[order], pad), np.pad(np.ones((20, 5), bool), pad)
    how = {"positions": [-2, -1], "validation": (left, right)}
    same = steering.scan(model, tokens, again, estimate, **how)
    assert same.directions.any() and (same.auc == 0.5).all()
    # One other token in 20 prompts is more than rounding, where it stands and after it.
    tokens = np.where(np.arange(5) == 3, (tokens + (np.arange(20) == 0)[:, None]) % 40, tokens)
    near = steering.scan(model, tokens, again, estimate, **how)
    other = steering.scan(model, again, tokens, estimate, positions=[-2, -1], validation=(right, left))
    assert (near.auc[0] != 0.5).all() and (near.auc[1, 0] == 0.5) and (near.auc[1, 1:] != 0.5).all()
    np.testing.assert_allclose(other.auc, near.auc, atol=1e-6)


@pytest.mark.parametrize("name", sampled("llama", slow=["gpt2", "neox"]))
def test_suffix_effect(name):
    model = model_of(name)
    direction = direction_of(model)
    longer = np.concatenate([TOKENS[:, :4], RNG.integers(0, 40, (5, 2)), TOKENS[:, 4:]], 1)
    mask = np.ones(longer.shape, bool)
    mask[0, 0] = False
    column = np.arange(9)[None] + 0 * longer
    found = steering.suffix_effect(
        model,
        direction,
        TOKENS,
        (longer, mask),
        instruction=(column[:, :7] < 4, column < 4),
        suffix=(column >= 4) & (column < 6),
        positions=[-3, -1],
        top=3,
        batch_size=2,
    )
    heads = model.config.heads
    assert found.cosine.shape == (2, 3, 5, 2) and found.heads.shape == (3, 2)
    axis = direction / np.linalg.norm(direction)
    for row in (0, 3):
        text = longer[row][mask[row]]
        _, acts = ji.run(model, text, capture=["head_out", "pattern"])
        np.testing.assert_allclose(
            found.written[1, :, :, row], np.asarray(acts["head_out"])[:, -1] @ axis, rtol=1e-3, atol=1e-4
        )
        off = int(~mask[row, 0])
        pattern = np.asarray(acts["pattern"])[:, :, -1]
        np.testing.assert_allclose(
            found.instruction[1, :, :, row], pattern[..., : 4 - off].sum(-1), atol=1e-5
        )
        np.testing.assert_allclose(
            found.suffix[:, :, row], pattern[..., 4 - off : 6 - off].sum(-1), atol=1e-5
        )
    assert found.written.shape == (2, 3, heads, 5)
    rows = found.records()
    assert rows[0]["written_without"] == pytest.approx(float(found.written[0].mean(-1).max()), rel=1e-5)
    assert found.figure().svg and found.figure("attention").svg


def test_what_these_refuse():
    model, direction = model_of("gpt2"), np.ones(8)
    given = {"instruction": (RIGHT, RIGHT), "suffix": RIGHT}
    for words, call in (
        ("all zero", lambda: steering.strengths(model, 0 * direction, TOKENS, SCORE, [1.0], layer=0)),
        ("factors are numbers", lambda: steering.strengths(model, direction, TOKENS, SCORE, [], layer=0)),
        ("two tokens at least", lambda: steering.side_effects(model, (), TOKENS[:, :1])),
        (
            "with d=8",
            lambda: steering.learn(model, TOKENS, SCORE, optax.sgd(1.0), layer=0, steps=1, start=np.ones(3)),
        ),
        (
            "penalty is a number",
            lambda: steering.learn(model, TOKENS, SCORE, optax.sgd(1.0), layer=0, steps=1, penalty=-1),
        ),
        ("that is not zero", lambda: steering.cosines(model, TOKENS, 0 * direction)),
        ("the same prompts", lambda: steering.suffix_effect(model, direction, TOKENS, TOKENS[:2], **given)),
        (
            "pair of masks",
            lambda: steering.suffix_effect(
                model, direction, TOKENS, TOKENS, **given | {"instruction": RIGHT}
            ),
        ),
        (
            "has none",
            lambda: steering.suffix_effect(
                model, direction, TOKENS, TOKENS, **given | {"suffix": 0 * RIGHT > 0}
            ),
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(IndexError, match="layer 3"):
        steering.strengths(model, direction, TOKENS, SCORE, [1.0], layer=3)
