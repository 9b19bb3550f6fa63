"""Token-frequency neurons and response curves: planted ones come out, and both are those of plain runs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of

QUIET: Any = {"progress": False}
SETTINGS = ji.neurons.ClampSettings(resamples=20)


@pytest.fixture(scope="module")
def planted() -> Any:
    return ji.toy.planted_unembed(key=jax.random.key(0))


@pytest.fixture(scope="module")
def prompts() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 96, (6, 24))


@pytest.fixture(scope="module")
def direction(planted: Any) -> Any:
    return ji.neurons.frequency_direction(planted.model, planted.counts)


def divergences(logits: Any, log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mine = np.asarray(jax.nn.log_softmax(logits), np.float64)
    return (np.exp(mine) * (mine - log)).sum(-1), (np.exp(log) * (log - mine)).sum(-1)


@pytest.mark.wide
def test_the_direction_of_planted_neurons(planted: Any, direction: Any) -> None:
    np.testing.assert_allclose(direction.direction, planted.direction, atol=1e-12)
    towards, away = planted.neurons["frequency"]
    np.testing.assert_allclose(direction.cosine[0, [towards, away]], [1, -1], atol=1e-5)
    assert (direction.cosine[0, list(planted.neurons["entropy"])] == 0).all()
    assert {tuple(each) for each in direction.top(2)} == {(0, towards), (0, away)}
    np.testing.assert_allclose(np.exp(direction.log_unigram).sum(), 1)
    assert direction.records()[0]["neuron"] in ("0.2", "0.3") and "layer 0" in direction.figure().html


@pytest.mark.wide
@pytest.mark.finite
def test_frequency_neurons_act_along_the_direction(planted: Any, prompts: Any, direction: Any) -> None:
    model = planted.model
    found = ji.neurons.frequency_neurons(model, prompts, direction, settings=SETTINGS, **QUIET)
    mine, other = list(planted.neurons["frequency"]), list(planted.neurons["other"])
    assert (found.mediated[mine] > 0.9).all() and np.median(found.mediated[other]) < 0.2
    # One neuron, by plain runs: with the logits' part along the direction put back.
    unit = mine[0]
    edit = ji.replace("mlp_post", float(found.mean[unit]), layer=0, unit=unit)
    before, after = (np.asarray(ji.run(model, prompts, edits=e)[0])[:, 3:-1] for e in ([], [edit]))
    u, log = planted.direction, direction.log_unigram
    restored = after + ((before - after) @ u)[..., None] * u
    target = prompts[:, 4:, None]
    loss = lambda z: (
        -np.take_along_axis(np.asarray(jax.nn.log_softmax(jnp.asarray(z, jnp.float32))), target, -1)
    )
    np.testing.assert_allclose(found.direct[unit], np.abs(loss(restored) - loss(before)).mean(), atol=1e-5)
    np.testing.assert_allclose(found.total[unit], np.abs(loss(after) - loss(before)).mean(), atol=1e-5)
    for name, old, new in zip(
        ("to_unigram", "from_unigram"), divergences(before, log), divergences(after, log), strict=True
    ):
        np.testing.assert_allclose(found.base[name], old.mean(), rtol=1e-4)
        np.testing.assert_allclose(getattr(found, name)[unit], (new - old).mean(), atol=2e-4)
        assert found.low[name][unit] <= getattr(found, name)[unit] <= found.high[name][unit]
    row = found.records()[0]
    assert row["neuron"] == "0.2" and row["to_unigram_before"] == found.base["to_unigram"]
    assert "entropy" in found.figure().html


def test_a_frequency_neuron_moves_predictions_towards_frequencies(
    planted: Any, prompts: Any, direction: Any
) -> None:
    unit = planted.neurons["frequency"][0]
    edits = [ji.replace("mlp_post", value, layer=0, unit=unit) for value in (0.0, 1.0)]
    near = [divergences(ji.run(planted.model, prompts, edits=[e])[0], direction.log_unigram) for e in edits]
    assert near[1][0].mean() < near[0][0].mean() and near[1][1].mean() < near[0][1].mean()


@pytest.mark.parametrize("neurons", [[(2, 3)], pytest.param([(2, 3), (1, 4)], marks=pytest.mark.slow)])
def test_curves_are_those_of_plain_edits(neurons: Any) -> None:
    model, tokens = model_of("gpt2"), np.random.default_rng(0).integers(0, 40, (4, 9))
    several = 3 * (len(neurons) - 1)
    how: Any = {"settings": SETTINGS, "key": jax.random.key(1), **QUIET}
    found = ji.neurons.response_curves(model, tokens, neurons, [0.0, 2.0], baseline=several, **how)
    assert found.loss.shape == (len(neurons) + several, 2) and found.baseline.sum() == several
    assert set(found.neurons[len(neurons) :, 0].tolist()) <= {1, 2} and found.tokens == 20
    for i, (layer, unit) in enumerate(neurons):
        edit = ji.replace("mlp_post", 2.0, layer=layer, unit=unit)
        logits, acts = ji.run(model, tokens, edits=[edit], capture=["ln_final_scale"])
        log = np.asarray(jax.nn.log_softmax(logits))[:, 3:-1]
        loss = -np.take_along_axis(log, tokens[:, 4:, None], -1)
        rank = 1 + (-log < loss).sum(-1)
        means = (acts["ln_final_scale"][:, 3:-1].mean(), -(np.exp(log) * log).sum(-1).mean())
        for column, value in zip(("scale", "entropy"), means, strict=True):
            np.testing.assert_allclose(getattr(found, column)[i, 1], float(value), rtol=1e-4)
        np.testing.assert_allclose(found.loss[i, 1], loss.mean(), rtol=1e-4)
        np.testing.assert_allclose(found.reciprocal_rank[i, 1], (1 / rank).mean(), rtol=1e-4)
    assert len(found.records()) == found.loss.size and "2.3" in found.figure("loss").html


def test_random_neurons_follow_the_rule() -> None:
    model = model_of("gpt2")
    drawn = ji.neurons.random_neurons(model, 1000, key=jax.random.key(0))
    assert len(np.unique(drawn, axis=0)) == len(drawn) and set(drawn[:, 0].tolist()) == {1, 2}
    # Of 64 neurons a tenth is above one quantile, and a tenth below the other.
    assert 64 - 14 <= len(drawn) <= 64 - 7
    few = ji.neurons.random_neurons(model, 5, key=jax.random.key(0))
    assert len(few) == 5 and {tuple(each) for each in few} <= {tuple(each) for each in drawn}


def test_bad_input_is_taught(planted: Any, prompts: Any, direction: Any) -> None:
    model = planted.model
    with pytest.raises(ValueError, match=r"one number for each of the 96 tokens .* got the shape \(5,\)"):
        ji.neurons.frequency_direction(model, np.ones(5))
    with pytest.raises(ValueError, match="All counts are equal"):
        ji.neurons.frequency_direction(model, np.ones(96))
    with pytest.raises(ValueError, match="finite numbers of 0 or more"):
        ji.neurons.frequency_direction(model, -planted.counts)
    with pytest.raises(ValueError, match="of another model"):
        ji.neurons.frequency_neurons(model_of("gpt2"), prompts % 40, direction, **QUIET)
    with pytest.raises(ValueError, match="needs at least one neuron"):
        ji.neurons.response_curves(model, prompts, [], key=jax.random.key(0))
    with pytest.raises(ValueError, match="values are finite numbers"):
        ji.neurons.response_curves(model, prompts, [(0, 1)], [np.nan], key=jax.random.key(0))
