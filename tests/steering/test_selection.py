"""Selection of a direction: the planted truth, every score by single runs, and the rules case by case."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import steering
from tests.models import model_of, sampled

RNG = np.random.default_rng(0)
HARMFUL, HARMLESS = RNG.integers(0, 40, (2, 7, 6))
RIGHT = np.arange(6) < np.array([6, 4, 6, 4, 4, 6, 6])[:, None]  # two lengths: each compiles runs of its own
SCORE = ji.metrics.log_odds([3, 5])
RULES = steering.SelectionSettings(filter=False, depth=1.0, max_kl=1e9, min_induce=-1e9, validation=0.4)


@pytest.fixture(scope="module")
def planted():
    return ji.toy.planted_direction_chat(key=jax.random.key(0))


def test_the_planted_direction_is_found(planted):
    score = ji.metrics.log_odds(planted.refusal)
    values = [
        ji.metrics.measure(planted.model, *x[:1], score, mask=x[1])
        for x in (planted.harmful, planted.harmless)
    ]
    assert values[0].min() > 0 > values[1].max()
    found = steering.select_direction(
        planted.model, planted.harmful, planted.harmless, score, positions=range(-3, 0), progress=False
    )
    assert (found.layer, found.position) == (planted.layer, planted.position)
    assert found.direction @ planted.direction / np.linalg.norm(found.direction) > 1 - 1e-6
    tokens, mask = planted.harmful
    removed = steering.ablate(found.direction)
    assert ji.metrics.measure(planted.model, tokens, score, mask=mask, edits=removed).max() < 0
    added = [ji.add("resid_pre", found.direction, layer=found.layer)]
    tokens, mask = planted.harmless
    assert ji.metrics.measure(planted.model, tokens, score, mask=mask, edits=added).min() > 0
    assert found.candidates.counts == {
        "train_harmful": 32,
        "train_harmless": 32,
        "val_harmful": 8,
        "val_harmless": 8,
    }
    assert (found.candidates.reasons()[:, :2] == "not finite").all(), "the classes have one mean there"
    assert len(found.candidates.records()) == 15 and found.records()[0]["layer"] == 2
    assert "position -1" in found.figure().svg


@pytest.mark.parametrize(
    ("name", "side"),
    sampled(slow=[("llama", "left"), ("gpt2", "right")], exhaustive=[("neox", "left"), ("gpt2", "left")]),
)
def test_scores_are_those_of_single_runs(name, side):
    model = model_of(name)
    mask = RIGHT if side == "right" else RIGHT[:, ::-1].copy()
    if side == "left":
        model = ji.intervene(model, [ji.scale("mlp_out", 0.5, layer=0)])
    given = (HARMFUL, mask), (HARMLESS, mask[::-1].copy())
    found = steering.candidates(model, *given, SCORE, positions=[-2, -1], settings=RULES, progress=False)
    assert found.bypass.shape == (2, 3) and found.counts["val_harmful"] == 3
    train, val = [[(x[:4], m[:4]) for x, m in given], [(x[4:], m[4:]) for x, m in given]]

    def alone(prompts, edits=(), capture=()):
        """Each prompt without padding: logits behind it, and the stream before each block."""
        return [
            ji.run(model, x[m], edits=edits, capture=capture, logits=-1)
            for x, m in zip(*prompts, strict=True)
        ]

    mean = lambda runs: np.mean([float(SCORE.of(logits)) for logits, _ in runs])
    base = [logits for logits, _ in alone(val[1])]
    np.testing.assert_allclose([found.harmful, found.harmless], [mean(alone(x)) for x in val], rtol=1e-4)
    streams = [
        np.mean(
            [np.asarray(acts["resid_pre"])[:, [-2, -1]] for _, acts in alone(x, capture=["resid_pre"])], 0
        )
        for x in train
    ]
    wanted = np.moveaxis(streams[0] - streams[1], 1, 0)
    np.testing.assert_allclose(found.directions, wanted, atol=1e-4)
    for i, layer in [(0, 1), (1, 2), (1, 0)]:
        r = found.directions[i, layer]
        removed = steering.ablate(r)
        np.testing.assert_allclose(found.bypass[i, layer], mean(alone(val[0], removed)), rtol=1e-3, atol=1e-3)
        added = [ji.add("resid_pre", r, layer=layer)]
        np.testing.assert_allclose(found.induce[i, layer], mean(alone(val[1], added)), rtol=1e-3, atol=1e-3)
        nats = []
        for before, (after, _) in zip(base, alone(val[1], removed), strict=True):
            p, q = (np.exp(np.asarray(jax.nn.log_softmax(x), np.float64)) for x in (before, after))
            nats.append((p * (np.log(p + 1e-6) - np.log(q + 1e-6))).sum())
        np.testing.assert_allclose(found.kl[i, layer], np.mean(nats), rtol=1e-3, atol=1e-4)


def test_layers_share_a_program_and_a_stopped_selection_goes_on(tmp_path, monkeypatch):
    from jaxinterp.steering import _trials

    model, given = model_of("gpt2"), ((HARMFUL, RIGHT), (HARMLESS, RIGHT))
    file = tmp_path / "scores.npz"
    call = lambda **more: steering.candidates(
        model, *given, SCORE, positions=[-1], settings=RULES, progress=False, checkpoint=file, **more
    )
    real, calls, traced = _trials._tried, [], []
    monkeypatch.setattr(_trials, "measured", lambda *a, f=_trials.measured: traced.append(1) or f(*a))

    def stopping(trial, layer, *rest):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(int(layer))
        return real(trial, layer, *rest)

    monkeypatch.setattr(_trials, "_tried", stopping)
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.setattr(_trials, "_tried", lambda *a: calls.append(int(a[1])) or real(*a))
    found = call()
    assert calls == [0, 1, 2]
    assert len(traced) <= 2, "one program for all layers"
    file.unlink()
    again = call()
    for name in ("bypass", "induce", "kl"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    with pytest.raises(ValueError, match="Give another checkpoint"):
        steering.candidates(model, given[1], given[0], SCORE, settings=RULES, progress=False, checkpoint=file)


BASE = {"bypass": -2.0, "induce": 1.0, "kl": 0.05}
CASES = [
    ({}, {}, 1, ""),
    ({"kl": 0.1}, {}, 1, ""),
    ({"kl": 0.11}, {}, 1, "kl"),
    ({"kl": 0.11}, {"max_kl": 0.2}, 1, ""),
    ({"induce": 0.0}, {}, 1, ""),
    ({"induce": -0.1}, {}, 1, "induce"),
    ({"induce": -0.1}, {"min_induce": -1.0}, 1, ""),
    ({"bypass": np.nan}, {}, 1, "not finite"),
    ({"kl": np.inf}, {}, 1, "not finite"),
    ({"induce": np.nan, "kl": 1.0}, {}, 1, "not finite"),
    ({}, {}, 3, ""),
    ({}, {}, 4, "late layer"),
    ({"kl": np.nan}, {}, 4, "late layer"),
    ({}, {"depth": 1.0}, 4, ""),
    ({}, {"depth": 0.5}, 2, "late layer"),
    ({"kl": 1.0, "induce": -1.0}, {}, 1, "kl"),
]


def made(layers, **scores):
    one = lambda name: np.asarray(scores[name], float).reshape(1, -1)
    layers = np.atleast_1d(layers)
    directions = np.arange(2.0 * len(layers)).reshape(1, len(layers), 2)
    return steering.Candidates(
        np.array([-1]), layers, directions, one("bypass"), one("induce"), one("kl"), 1.0, -1.0, {}, 5
    )


@pytest.mark.parametrize(("scores", "settings", "layer", "reason"), CASES)
def test_discards(scores, settings, layer, reason):
    tried, rules = made(layer, **BASE | scores), steering.SelectionSettings(**settings)
    assert tried.reasons(rules).tolist() == [[reason]]
    if not reason:
        assert tried.best(rules).layer == layer
        return
    with pytest.raises(steering.NoCandidate, match=f"All 1 candidates are discarded .{reason} 1") as error:
        tried.best(rules)
    assert error.value.candidates is tried


def test_the_lowest_bypass_of_those_that_are_left():
    tried = made([0, 1, 2, 3, 4], bypass=[-9, -1, -3, -2, -8], induce=[1, 1, 1, 1, 1], kl=[0.5, 0, 0, 0, 0])
    found = tried.best()
    assert (found.layer, found.bypass) == (2, -3.0) and found.direction.tolist() == [4.0, 5.0]


def test_what_a_selection_refuses(planted):
    model = model_of("gpt2")
    call = lambda h=HARMFUL, s=HARMLESS, **more: steering.candidates(
        model, h, s, SCORE, progress=False, **{"settings": RULES, **more}
    )
    for words, wrong in (
        (
            "at least as many prompts as positions",
            {"h": HARMFUL[:4], "s": HARMLESS[:4], "positions": range(-5, 0)},
        ),
        ("different ints", {"positions": [-1, -1]}),
        ("different ints", {"positions": []}),
        (r"prompts \(n, pos\)", {"h": HARMFUL[0]}),
        ("validation is a pair", {"validation": HARMFUL}),
        ("none is left beside", {"h": HARMFUL[:1]}),
        (r"SelectionSettings\(max_kl", {"settings": {"max_kl": 1.0}}),
        ("has a score above 0", {"settings": dataclasses.replace(RULES, filter=True)}),
    ):
        with pytest.raises(ValueError, match=words):
            call(**wrong)
    with pytest.raises(IndexError, match="out of range"):
        call(positions=[-7])
    with pytest.raises(IndexError, match="the shortest has 4"):
        call((HARMFUL, RIGHT), positions=[-5])
    with pytest.raises(ValueError, match="share between 0 and 1"):
        steering.SelectionSettings(validation=1.0)
    with pytest.raises(ValueError, match="one of 'bypass'"):
        made(1, **BASE).figure("layer")


def test_planted_model_of_another_width():
    truth = ji.toy.planted_direction_chat(key=jax.random.key(3), n=10, d=20)
    _, acts = ji.run(truth.model, truth.harmful[0], mask=truth.harmful[1], capture=["resid_pre"])
    _, other = ji.run(truth.model, truth.harmless[0], mask=truth.harmless[1], capture=["resid_pre"])
    real = truth.harmful[1]
    gap = (acts["resid_pre"] - other["resid_pre"])[:, real]
    axis = jnp.asarray(truth.direction)
    assert float(jnp.abs(gap[:2][..., :] @ axis).max()) < 1e-4, "nothing writes it before"
    with pytest.raises(ValueError, match="16 or more"):
        ji.toy.planted_direction_chat(key=jax.random.key(0), d=8)
