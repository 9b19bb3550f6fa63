"""Losses without neurons are those of plain runs with plain edits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.corpus import _fold
from jaxinterp.neurons._ablation import _interval
from tests.models import sampled

NEURONS = [(1, 3), (0, 7), (1, 31)]


def plain(model: Any, classes: Any, name: str, edits: Any) -> np.ndarray:
    """Nats of each context, one run at a time: `(seq, 2)` sums and counts."""
    found = []
    for row, real in zip(*classes[name], strict=True):
        size = int(real.sum())
        padded = jnp.asarray(np.pad(np.where(real, row, 0), (0, 12 - len(row))), jnp.int32)
        logits, _ = ji.run(model, padded, edits=edits)
        nats = -jax.nn.log_softmax(logits)[jnp.arange(size - 1), padded[1:size]]
        found.append((float(nats.sum()), size - 1))
    return np.array(found)


def edits_of(values: list[float], *which: int) -> list[Any]:
    return [
        ji.replace("mlp_post", values[i], layer=jnp.asarray(NEURONS[i][0]), unit=NEURONS[i][1]) for i in which
    ]


@pytest.fixture(scope="module")
def zeroed(model: Any, classes: Any) -> Any:
    return ji.neurons.ablation(model, classes, NEURONS, resamples=300, batch_size=6)


def test_equals_a_plain_loop(model: Any, classes: Any, zeroed: Any) -> None:
    assert zeroed.rows == ("1.3", "0.7", "1.31", "all together") and zeroed.names == ("a", "b")
    for c, name in enumerate(zeroed.names):
        base = plain(model, classes, name, []).sum(0)
        assert zeroed.tokens[c] == base[1] and zeroed.documents[c] == len(classes[name][0])
        np.testing.assert_allclose(zeroed.base[c], base[0] / base[1], rtol=1e-5)
        for r, which in enumerate([(0,), (1,), (2,)]):
            loss = plain(model, classes, name, edits_of([0.0] * 3, *which)).sum(0)
            np.testing.assert_allclose(zeroed.loss[r, c], loss[0] / loss[1], rtol=1e-5)
            np.testing.assert_allclose(zeroed.increase[r, c], (loss[0] - base[0]) / base[1], atol=2e-5)
            np.testing.assert_allclose(zeroed.percent[r, c], 100 * (loss[0] / base[0] - 1), atol=2e-3)
    together = plain(model, classes, "b", edits_of([0.0] * 3, 0, 1, 2)).sum(0)
    np.testing.assert_allclose(zeroed.loss[3, 1], together[0] / together[1], rtol=1e-5)
    assert len(zeroed.records()) == 8 and zeroed.records()[-1]["ablated"] == "all together"


@pytest.mark.slow
def test_values_and_means_trace_nothing_new(model: Any, classes: Any, zeroed: Any) -> None:
    counted = ji.neurons.distribution(model, classes, NEURONS, skip=1, bins=2, batch_size=6)
    size = _fold._read._cached._cache_size()
    values = [0.5, -0.25, 1.5]
    found = ji.neurons.ablation(model, classes, NEURONS, to=values, resamples=0, batch_size=6)
    assert np.isnan(found.low).all()
    loss = plain(model, classes, "b", edits_of(values, 1)).sum(0)
    np.testing.assert_allclose(found.loss[1, 1], loss[0] / loss[1], rtol=1e-5)
    mean = ji.neurons.ablation(model, classes, NEURONS, to="mean", resamples=0, batch_size=6)
    np.testing.assert_allclose(mean.values, counted.mean_of(), rtol=1e-4, atol=1e-6)
    ji.neurons.ablation(model, classes, [(0, 0), (0, 1), (1, 5)], batch_size=6)
    assert _fold._read._cached._cache_size() == size


def test_ablating_nothing_changes_nothing(model: Any, classes: Any, zeroed: Any) -> None:
    none = ji.neurons.ablation(model, classes, [], batch_size=6)
    assert none.rows == ("all together",) and (none.increase == 0).all() and (none.low == 0).all()
    # And the model as it is, run plainly, to the last bit: a factor of 1 and a sum with 0 are exact.
    tokens = jnp.asarray(classes["a"][0], jnp.int32)
    ones, zeros = jnp.ones((2, 1, 1, 32)), jnp.zeros((2, 1, 1, 32))
    edited, _ = ji.run(model, tokens, edits=[ji.scale("mlp_post", ones), ji.add("mlp_post", zeros)])
    assert (edited == ji.run(model, tokens)[0]).all()


@pytest.mark.slow
def test_intervals_resample_documents(model: Any, classes: Any, zeroed: Any) -> None:
    assert ((zeroed.low <= zeroed.increase) & (zeroed.increase <= zeroed.high)).all()
    assert ((zeroed.percent_low <= zeroed.percent) & (zeroed.percent <= zeroed.percent_high)).all()
    # The spread of the mean, from the contexts themselves.
    base, loss = (plain(model, classes, "a", edits) for edits in ([], edits_of([0.0] * 3, 0)))
    each = (loss[:, 0] - base[:, 0]) / base[:, 1]
    wide = zeroed.high[0, 0] - zeroed.low[0, 0]
    assert 0.4 < wide / (2 * 1.96 * each.std() / len(each) ** 0.5) < 1.6
    again = ji.neurons.ablation(model, classes, NEURONS, resamples=300, batch_size=6)
    assert (again.low == zeroed.low).all()


def test_facts(model: Any, classes: Any) -> None:
    class Digits:
        """A token for every character."""

        bos_id = 0

        def __call__(self, text: str, bos: bool = False) -> Any:
            ids = [1 + ord(each) - ord("a") for each in text]
            return jnp.asarray([0] * bos + ids, jnp.int32)

        def tokens(self, ids: Any) -> list[str]:
            return [chr(96 + int(i)) for i in ids]

    facts = [("abc", "d"), ("bd", "ab"), ("fedcb", "a")]
    found = ji.neurons.fact_ablation(model, Digits(), facts, NEURONS)
    for f, (prompt, word) in enumerate(facts):
        ids = np.pad(np.asarray(Digits()(prompt + word, bos=True)), (0, 12 - 1 - len(prompt + word)))
        for edits, got in (([], found.before[f]), (edits_of([0.0] * 3, 1), found.after[1, f])):
            log = jax.nn.log_softmax(ji.run(model, ids, edits=edits)[0])
            at = np.arange(len(prompt), len(prompt) + len(word))
            np.testing.assert_allclose(got, float(log[at, ids[at + 1]].sum()), rtol=1e-5)
    records = found.records()
    assert len(records) == 12 and records[0]["word"] == "d" and 0 < records[0]["before"] < 1
    with pytest.raises(ValueError, match="does not begin with a new token"):
        ji.neurons.fact_ablation(model, Digits(), [("abc", "")], NEURONS)
    with pytest.raises(ValueError, match="not a sample for a mean"):
        ji.neurons.fact_ablation(model, Digits(), facts, NEURONS, to="mean")
    with pytest.raises(ValueError, match="facts are pairs"):
        ji.neurons.fact_ablation(model, Digits(), [], NEURONS)


def test_bad_input(model: Any, classes: Any) -> None:
    with pytest.raises(ValueError, match=r"to is 'zero', 'mean', a number"):
        ji.neurons.ablation(model, classes, NEURONS, to="median")
    with pytest.raises(ValueError, match="one finite number for each of the 3 neurons"):
        ji.neurons.ablation(model, classes, NEURONS, to=[0.0, 1.0])
    with pytest.raises(ValueError, match="level is a number"):
        ji.neurons.ablation(model, classes, NEURONS, level=95)
    with pytest.raises(ValueError, match="resamples is an int of 0"):
        ji.neurons.ablation(model, classes, NEURONS, resamples=-1)
    with pytest.raises(ValueError, match=r"No token of \['a'\] is predicted"):
        ji.neurons.ablation(model, {"a": classes["a"][0][:, :1]}, NEURONS)


@pytest.mark.parametrize(("documents", "told"), sampled((9, 0.94), slow=[(4, 0.87), (50, 0.95)]))
def test_intervals_cover_what_the_docstring_says(documents: int, told: float) -> None:
    """Documents of uneven length, whose effect varies around 0.02 nats a token."""
    assert f"{told} " in (ji.neurons.ablation.__doc__ or "")
    rng, held = np.random.default_rng(0), []
    for _ in range(800):
        counts = rng.lognormal(5, 0.7, documents).round() + 1
        gaps = counts * rng.normal(0.02, 0.05, documents)
        base = 3 * counts
        found = _interval(base, (base + gaps)[None], counts, 400, 0.95, rng)
        held.append(found[3][0] <= 0.02 <= found[4][0])
    assert abs(np.mean(held) - told) < 0.03
