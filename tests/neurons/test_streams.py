"""What is streamed over batches is what all activations at once would say."""

from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.corpus import _fold
from jaxinterp.neurons import _distribution, _top_contexts

NEURONS = [(1, 3), (0, 7), (1, 31)]
SKIP = 2


def tokens_of(whole: Any, name: str, neuron: tuple[int, int]) -> np.ndarray:
    """Activations of a neuron at the tokens of a class that count."""
    x = whole[name][neuron[0], :, SKIP:, neuron[1]]
    return x[np.isfinite(x)]


def test_distribution_is_that_of_all_activations(model: Any, classes: Any, whole: Any) -> None:
    found = ji.neurons.distribution(model, classes, NEURONS, skip=SKIP, bins=20, batch_size=4)
    assert found.names == ("a", "b")
    for c, name in enumerate(found.names):
        for i, neuron in enumerate(NEURONS):
            x = tokens_of(whole, name, neuron)
            gap = x.astype(np.float64) - x.mean(dtype=np.float64)
            power = [(gap**n).mean() for n in (2, 3, 4)]
            wanted = [
                x.mean(),
                power[0] ** 0.5,
                power[1] / power[0] ** 1.5,
                power[2] / power[0] ** 2,
                x.min(),
                x.max(),
            ]
            got = [getattr(found, what)[c, i] for what in ("mean", "std", "skew", "kurtosis", "low", "high")]
            np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=1e-5)
            ends = found.edges[i]
            counts = np.histogram(np.clip(x, ends[0], ends[-1]), ends)[0]
            # A value that rounding carries over an edge is in the neighbouring bin.
            assert np.abs(np.cumsum(found.counts[c, i] - counts)).max() <= 1
            assert found.counts[c, i].sum() == len(x) == found.tokens[c]
            step = found.edges[i, 1] - found.edges[i, 0]
            assert abs(found.quantile(0.3)[c, i] - np.quantile(x, 0.3, method="inverted_cdf")) <= step + 1e-6
    both = np.concatenate([tokens_of(whole, name, NEURONS[1]) for name in "ab"])
    np.testing.assert_allclose(found.mean_of()[1], both.mean(), rtol=1e-5)
    assert found.records()[4]["class"] == "b" and found.records()[4]["neuron"] == "0.7"


def test_limits_need_one_pass_and_clip(model: Any, classes: Any, whole: Any) -> None:
    found = ji.neurons.distribution(
        model, classes, NEURONS, skip=SKIP, bins=20, batch_size=4, limits=(0, 0.5)
    )
    x = tokens_of(whole, "a", NEURONS[0])
    assert found.counts[0, 0, 0] >= (x < 0).sum() and found.counts[0, 0, -1] >= (x > 0.5).sum()
    assert found.counts[0, 0].sum() == len(x)


@pytest.mark.slow
def test_a_second_call_traces_nothing(model: Any, classes: Any) -> None:
    programs = (_fold._read, _distribution._histogram, _top_contexts._merge)
    ask = dict(skip=SKIP, batch_size=4)
    ji.neurons.distribution(model, classes, NEURONS, bins=20, **ask)
    ji.neurons.top_contexts(model, classes, NEURONS, top=4, **ask)
    sizes = [each._cached._cache_size() for each in programs]
    others = [(0, 1), (0, 2), (0, 3)]
    ji.neurons.distribution(model, classes, others, bins=20, **ask)
    ji.neurons.top_contexts(model, classes, others, top=4, **ask)
    assert [each._cached._cache_size() for each in programs] == sizes


@pytest.mark.parametrize("per", ["context", "token"])
def test_top_contexts_are_those_of_a_sort(model: Any, classes: Any, whole: Any, per: str) -> None:
    top = ji.neurons.top_contexts(
        model, classes, NEURONS, top=4, window=(2, 1), per=per, skip=SKIP, batch_size=4
    )
    x = {
        name: np.pad(each, ((0, 0), (0, 0), (0, 12 - each.shape[2]), (0, 0)), constant_values=np.nan)
        for name, each in whole.items()
    }
    x = np.concatenate([x["a"], x["b"]], 1)
    ids = np.concatenate([classes["a"][0], np.pad(classes["b"][0], ((0, 0), (0, 3)))])
    for i, (layer, unit) in enumerate(NEURONS):
        own = np.where(np.isnan(x[layer, ..., unit]), -np.inf, x[layer, ..., unit])
        score = own.copy()
        score[:, :SKIP] = -np.inf
        if per == "context":
            best = np.sort(score.max(1))[::-1][:4]
        else:
            best = np.sort(score, axis=None)[::-1][:4]
        np.testing.assert_allclose(top.values[i], best, atol=1e-6)
        for j in range(4):
            seq, pos = top.seq[i, j], top.pos[i, j]
            np.testing.assert_allclose(score[seq, pos], top.values[i, j], atol=1e-6)
            assert top.tokens[i, j, 2] == ids[seq, pos]
            for w, at in enumerate(range(pos - 2, pos + 2)):
                there = 0 <= at < 12 and np.isfinite(own[seq, at])
                assert top.tokens[i, j, w] == (ids[seq, at] if there else -1)
                if there:
                    np.testing.assert_allclose(top.activations[i, j, w], own[seq, at], atol=1e-6)
            assert top.names[top.classes[i, j]] == ("a" if seq < 5 else "b")
    if per == "context":
        assert all(len(set(row)) == 4 for row in top.seq.tolist())
    np.testing.assert_allclose(top.share().sum(0), 1)


@pytest.mark.slow
def test_all_neurons_and_fewer_contexts_than_k(model: Any, classes: Any) -> None:
    some = {"a": classes["a"]}
    top = ji.neurons.top_contexts(model, some, top=8)
    assert top.values.shape == (64, 8) and (top.seq[:, 5:] == -1).all() and (top.seq[:, :5] >= 0).all()
    assert np.isnan(top.values[:, 5:]).all() and (np.diff(top.values[:, :5]) <= 0).all()


@pytest.mark.slow
def test_token_means_are_those_of_a_loop(model: Any, classes: Any, whole: Any) -> None:
    found = ji.neurons.token_means(model, classes, NEURONS, least=2, top=100, skip=SKIP, batch_size=4)
    sums: dict[int, list[float]] = {}
    for name, (tokens, _) in classes.items():
        x = whole[name][1, ..., 3]
        for i, p in np.argwhere(np.isfinite(x)):
            if p >= SKIP:
                sums.setdefault(int(tokens[i, p]), []).append(float(x[i, p]))
    wanted = {token: np.mean(each) for token, each in sums.items() if len(each) >= 2}
    there = found.ids[0] >= 0
    assert set(found.ids[0][there].tolist()) == set(wanted)
    np.testing.assert_allclose(found.mean[0][there], [wanted[int(t)] for t in found.ids[0][there]], atol=1e-6)
    assert (np.diff(found.mean[0][there]) <= 0).all()
    assert found.count[0][there].tolist() == [len(sums[int(t)]) for t in found.ids[0][there]]
    alone = ji.neurons.token_means(
        model, classes, NEURONS, without="a", least=1, top=3, skip=SKIP, batch_size=4
    )
    assert alone.names == ("b",)


def test_left_padding_changes_nothing(model: Any, classes: Any) -> None:
    tokens, mask = classes["b"]
    ask: dict[str, Any] = dict(skip=SKIP, bins=20, limits=(-1, 1))
    right = ji.neurons.distribution(model, {"b": (tokens, mask)}, NEURONS, **ask)
    turned = [np.roll(row, 9 - real.sum()) for row, real in zip(tokens, mask, strict=True)]
    left = ji.neurons.distribution(model, {"b": (np.stack(turned), mask[:, ::-1])}, NEURONS, **ask)
    np.testing.assert_allclose(left.mean, right.mean, atol=1e-5)
    assert np.abs(left.counts - right.counts).sum() <= 2


def test_bad_input(model: Any, classes: Any) -> None:
    distribution = ji.neurons.distribution
    with pytest.raises(IndexError, match=r"the neurons 0\.\.31; .*\[0, 32\] is none"):
        distribution(model, classes, [(1, 3), (0, 32)], skip=SKIP)
    with pytest.raises(ValueError, match=r"pairs \(layer, neuron\)"):
        distribution(model, classes, [1, 2, 3], skip=SKIP)
    with pytest.raises(ValueError, match=r"'layer.neuron', as '3.336'"):
        distribution(model, classes, "L3N4", skip=SKIP)
    with pytest.raises(ValueError, match="at most skip=12 tokens"):
        distribution(model, classes, NEURONS, skip=12)
    with pytest.raises(ValueError, match="mlp_pst"):
        distribution(model, classes, NEURONS, site="mlp_pst", skip=SKIP)
    with pytest.raises(ValueError, match="is named without a layer"):
        distribution(model, classes, NEURONS, site="mlp_post[1]", skip=SKIP)
    with pytest.raises(ValueError, match="'c' is no class; there are 'a', 'b'"):
        ji.neurons.token_means(model, classes, NEURONS, without="c", skip=SKIP)
    with pytest.raises(ValueError, match=r"least=99 .*Read more text"):
        ji.neurons.token_means(model, classes, NEURONS, least=99, skip=SKIP, batch_size=4)
    with pytest.raises(ValueError, match="no classes"):
        distribution(model, {}, NEURONS)
    with pytest.raises(ValueError, match="A mask is of bools"):
        distribution(model, (classes["a"][0], np.ones((5, 12))), NEURONS)
    with pytest.raises(ValueError, match=r"Contexts are a ji\.data\.Corpus"):
        distribution(model, np.zeros((2, 3)), NEURONS)
    with pytest.raises(ValueError, match="per is 'context' or 'token'"):
        ji.neurons.top_contexts(model, classes, NEURONS, per="document")
