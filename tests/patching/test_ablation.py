"""Ablations are single edited runs; noise stays where it is put; statistics are honest."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinterp as ji
from tests.models import model_of, sampled

P = ji.patching
TOKENS = jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5], [4, 4, 8, 30, 2]], jnp.int32)
METRIC = ji.metrics.logit_diff(3, 5)


def ablated(model: Any, value: Any, **where: Any) -> Any:
    return ji.metrics.measure(model, TOKENS, METRIC, edits=[ji.replace("z", value, **where)])


def test_what_is_no_number_is_not_significant_and_baselines_keep_their_fractions() -> None:
    effects = np.arange(1, 9, dtype=np.float32) * np.ones((3, 1), np.float32)
    effects[0], effects[1, 3] = np.nan, np.nan
    found = P.statistics(effects, key=jax.random.key(0))
    assert np.isnan(found.p[:2]).all() and found.p[2] == 2 / 2**8
    assert found.significant().tolist() == [False, False, True]
    for made in (np.ones((1, 8), int), jnp.full((1, 8), 1, jnp.bfloat16)):
        mean = P.statistics(made, np.full(8, 0.3), key=jax.random.key(0)).mean
        np.testing.assert_allclose(mean, [0.7], rtol=1e-6)


def test_zero_mean_and_resample_are_single_runs() -> None:
    model = model_of("gpt2")
    _, acts = ji.run(model, TOKENS, capture=["z"])
    ask = dict(site="z", over=("layer", "head"), per_example=True)
    found = P.ablate(model, TOKENS, METRIC, values=P.zeros, **ask)
    np.testing.assert_allclose(found[1, 0], ablated(model, 0.0, layer=1, head=0), atol=1e-5)
    mean = acts["z"].mean(1, keepdims=True)
    found = P.ablate(model, TOKENS, METRIC, values=P.batch_mean, **ask)
    np.testing.assert_allclose(found[2, 1], ablated(model, mean[2], layer=2, head=1), atol=1e-5)
    as_array = P.ablate(model, TOKENS, METRIC, values=mean, **ask)
    np.testing.assert_allclose(found, as_array, atol=1e-5)
    unbatched = P.ablate(model, TOKENS, METRIC, values=mean[:, 0], **ask)
    np.testing.assert_allclose(found, unbatched, atol=1e-5)
    with pytest.raises(ValueError, match=r"have the axes \(pos, head, k\), \(layer, pos"):
        P.ablate(model, TOKENS, METRIC, values=mean[None, None], **ask)
    draw = P.resample(jax.random.key(1))
    other = draw(acts["z"])
    assert not (other == acts["z"]).all((0, 2, 3, 4)).any()  # nobody keeps what is its own
    found = P.ablate(model, TOKENS, METRIC, values=draw, **ask)
    np.testing.assert_allclose(found[0, 1], ablated(model, other[0], layer=0, head=1), atol=1e-5)


def test_padding_is_no_part_of_a_mean_and_goes_to_nobody() -> None:
    model = model_of("gpt2")
    mask = np.asarray([[True] * 5, [True] * 3 + [False] * 2, [True] * 5])
    _, acts = ji.run(model, TOKENS, capture=["z"], mask=mask, logits=False)
    z, real = np.asarray(acts["z"]), mask[None, :, :, None, None]
    ask = dict(site="z", over=("layer", "head"), per_example=True, mask=mask)
    mean = (z * real).sum(1, keepdims=True) / real.sum(1, keepdims=True)
    found = P.ablate(model, TOKENS, METRIC, values=P.batch_mean, **ask)
    wanted = P.ablate(model, TOKENS, METRIC, values=mean, **ask)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    draw = P.resample(jax.random.key(1))
    rows = np.asarray(draw(jnp.arange(3.0).reshape(1, 3, 1))).astype(int).ravel()
    other = np.where(real[:, rows], z[:, rows], z)
    found = P.ablate(model, TOKENS, METRIC, values=draw, **ask)
    wanted = P.ablate(model, TOKENS, METRIC, values=lambda acts: jnp.asarray(other), **ask)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
def test_mean_activations_are_those_of_all_batches_together() -> None:
    model = model_of("neox")
    _, acts = ji.run(model, TOKENS, capture=["mlp_out"])
    parts = [TOKENS[:2], TOKENS[2:]]
    by_position = P.mean_activations(model, parts, "mlp_out", by_position=True)
    np.testing.assert_allclose(by_position, acts["mlp_out"].mean(1), atol=1e-5)
    keep = np.asarray([[True] * 5, [True] * 3 + [False] * 2])
    masked = P.mean_activations(model, [(TOKENS[:2], jnp.asarray(keep)), TOKENS[2:]], "mlp_out")
    real = np.concatenate([keep, np.ones((1, 5), bool)])
    np.testing.assert_allclose(masked[:, 0], np.asarray(acts["mlp_out"])[:, real].mean(1), atol=1e-5)


def test_causal_tracing_noise_stays_on_the_subject() -> None:
    model = model_of("gpt2")
    corrupt = P.noised(model, TOKENS[0], [1, 2], key=jax.random.key(0), samples=4)
    _, acts = ji.run(model, TOKENS[0], capture=["embed"])
    moved = np.asarray(corrupt != acts["embed"][None]).any(-1)
    assert (moved == np.asarray([False, True, True, False, False])).all()
    same = P.noised(model, TOKENS[0], [1, 2], key=jax.random.key(0), scale=0.0, samples=2)
    np.testing.assert_array_equal(same, jnp.broadcast_to(acts["embed"], same.shape))
    noise = np.asarray(corrupt - acts["embed"][None])[:, 1:3]
    assert 0.5 < noise.std() / (3 * np.asarray(acts["embed"]).std()) < 1.5
    heat = P.sweep(model, TOKENS[0], corrupt, METRIC, over=("layer", "pos"), per_example=True)
    assert heat.shape == (3, 5, 4)
    _, clean = ji.run(model, TOKENS[0], capture=["resid_pre[1]"])
    edit = ji.replace("resid_pre", clean["resid_pre[1]"], layer=1, pos=2)
    wanted = ji.metrics.measure(model, corrupt, METRIC, edits=[edit])
    np.testing.assert_allclose(heat[1, 2], wanted, atol=1e-5)


@pytest.mark.slow
def test_p_values_are_uniform_without_an_effect() -> None:
    rng = np.random.default_rng(0)
    null = P.statistics(rng.normal(size=(400, 10)).astype(np.float32), key=jax.random.key(0))
    many = P.statistics(rng.normal(size=(400, 30)).astype(np.float32), key=jax.random.key(0))
    for found in (null, many):
        p = np.asarray(found.p)
        assert abs((p <= 0.05).mean() - 0.05) < 0.04 and abs(p.mean() - 0.5) < 0.06
        assert found.significant().sum() <= 2
    covered = (np.asarray(many.low) <= 0) & (np.asarray(many.high) >= 0)
    assert 0.88 < covered.mean() < 0.99


DRAWS: dict[str, Any] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), np.exp(0.5)),
}


# Thousands of intervals, for the figures of the documentation: one row of three in `.ci/run`.
@pytest.mark.parametrize("count", sampled(slow=[8], exhaustive=[20, 50]))
def test_intervals_cover_what_the_documentation_says(count: int) -> None:
    """The table of the docstring, measured anew."""
    rng, cells = np.random.default_rng(0), 8000 if count > 8 else 3000
    rows = re.findall(r"\| (\d+) \| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", P.statistics.__doc__)
    told = {name: list(map(float, shares)) for n, name, *shares in rows if int(n) == count}
    drawn = np.stack([DRAWS[name][0](rng, (cells, count)) - DRAWS[name][1] for name in told])
    for at, interval in enumerate(("t", "bca", "percentile")):
        found = P.statistics(
            drawn.astype(np.float32), key=jax.random.key(0), resamples=1000, interval=interval
        )
        covered = ((np.asarray(found.low) <= 0) & (np.asarray(found.high) >= 0)).mean(1)
        for name, share in zip(told, covered, strict=True):
            assert abs(share - told[name][at]) < 0.02, (interval, name, share)


def test_intervals_are_those_of_scipy() -> None:
    effects = np.random.default_rng(0).gamma(1.0, size=(5, 12)) - 0.5
    options: Any = {"confidence_level": 0.9, "axis": 1, "n_resamples": 5_000, "rng": 0}
    wanted: dict[str, Any] = {
        "t": stats.t.interval(0.9, 11, effects.mean(1), stats.sem(effects, axis=1)),
        "bca": stats.bootstrap((effects,), np.mean, method="BCa", **options).confidence_interval,
        "percentile": stats.bootstrap(
            (effects,), np.mean, method="percentile", **options
        ).confidence_interval,
    }
    for interval, (low, high) in wanted.items():
        found = P.statistics(effects, key=jax.random.key(0), level=0.9, resamples=5_000, interval=interval)
        off = 1e-5 if interval == "t" else 0.05 * (high - low).max()
        np.testing.assert_allclose(found.low, low, atol=off)
        np.testing.assert_allclose(found.high, high, atol=off)
    same = P.statistics(np.ones((1, 6)), key=jax.random.key(0), interval="bca")
    assert same.low == same.high == 1


def test_an_effect_is_found_and_small_samples_say_so() -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(2, 3, 10)).astype(np.float32)
    effects[1, 2] += 3
    base = rng.normal(size=10).astype(np.float32)
    found = P.statistics(effects + base, base, key=jax.random.key(0))
    assert found.p.shape == (2, 3) and found.p[1, 2] < 0.01
    assert found.low[1, 2] < found.mean[1, 2] < found.high[1, 2] and found.low[1, 2] > 1
    assert found.significant().sum() == 1 and found.significant()[1, 2]
    # Of all sign patterns of three examples two are as extreme as the observed one.
    three = P.statistics(np.ones((1, 3), np.float32), key=jax.random.key(0))
    np.testing.assert_allclose(three.p, 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: P.statistics(np.ones(1), key=None), "two or more"),
        (lambda m: P.statistics(np.ones((2, 3)), np.ones(2), key=None), "one number per example"),
        (lambda m: P.statistics(np.ones((2, 3)), key=None, level=95), "between 0 and 1"),
        (lambda m: P.statistics(np.ones((2, 3)), key=None, resamples=0), "resamples is an int of 1 or more"),
        (lambda m: P.statistics(np.ones((2, 3)), key=None, interval="bc"), "one of 't', 'bca'"),
        (lambda m: P.noised(m, TOKENS, [1], key=jax.random.key(0)), r"one prompt \(pos,\)"),
        (lambda m: P.noised(m, TOKENS[0], [9], key=jax.random.key(0)), "pos 9 is out of range"),
        (lambda m: P.mean_activations(m, [], "z"), "at least one batch"),
        (lambda m: P.mean_activations(m, [TOKENS], "pattern"), "with positions"),
        (lambda m: P.mean_activations(m, [TOKENS + 40], "z"), r"lie in 0\.\.39"),
        (lambda m: P.mean_activations(m, [(TOKENS, np.zeros((3, 5), bool))], "z"), "one real token"),
        (
            lambda m: P.ablate(m, TOKENS[:1], METRIC, values=P.resample(jax.random.key(0))),
            "two prompts or more",
        ),
    ],
)
def test_errors_teach(call: Any, message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        call(model_of("gpt2"))
