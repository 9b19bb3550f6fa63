"""From neurons to labels: enrichment, held-out probes and optimal supports, on neurons that are planted."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinterp as ji
from tests.models import families, model_of, small_model

KEY = jax.random.key(0)
SETTINGS = ji.neurons.CandidateSettings(top=10)
OPTIONS: dict[str, Any] = {"key": KEY, "settings": SETTINGS, "resamples": 200, "progress": False}


def planted() -> Any:
    """A model whose neuron (1, 5) fires at the token 7 alone: it reads one direction that 7 alone has."""
    model = small_model()
    d, width = model.config.d, 40
    embed = np.array(model.w_embed)
    embed[:, 0] = np.where(np.arange(width) == 7, 30.0, 0.0)
    blocks = model.blocks
    quiet = lambda leaf: jnp.asarray(np.array(leaf) * 0.01)
    model = eqx.tree_at(lambda m: m.w_embed, model, jnp.asarray(embed))
    model = eqx.tree_at(lambda m: (m.blocks.attn.w_o, m.blocks.mlp.w_out), model, replace_fn=quiet)
    w_in = np.array(blocks.mlp.w_in)
    w_in[1, :, 5] = 0
    w_in[1, 0, 5] = 4.0
    b_in = np.array(blocks.mlp.b_in)
    b_in[1, 5] = -3.0
    assert w_in.shape[1] == d
    return eqx.tree_at(
        lambda m: (m.blocks.mlp.w_in, m.blocks.mlp.b_in), model, (jnp.asarray(w_in), jnp.asarray(b_in))
    )


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    """20 documents of each of three labels, one context each, padded; those of "seven" hold the token 7."""
    rng, found = np.random.default_rng(0), {}
    for label in ("a", "b", "seven"):
        tokens = rng.integers(8, 40, (20, 12))
        mask = np.arange(12) < rng.integers(6, 13, (20, 1))
        mask[0] = True
        if label == "seven":
            tokens[:, 2:5] = 7
        found[label] = (tokens, mask)
    return found


def test_a_planted_neuron_has_its_label(corpus: Any) -> None:
    model = planted()
    found = ji.neurons.candidate_labels(model, corpus, [(1, 5), (0, 3)], **OPTIONS)
    assert found.labels == ("a", "b", "seven") and found.best()[0] == "seven"
    assert found.share[0].tolist() == [0, 0, 1] and found.f1[0, 2] == 1 == found.f1_low[0, 2]
    # 42 documents are read and 14 of them have the label: the 10 top contexts are among these.
    train = 42
    table = [[10, 0], [4, train - 14]]
    np.testing.assert_allclose(found.p[0, 2], stats.fisher_exact(table, alternative="greater")[1], rtol=1e-9)
    wanted = stats.contingency.odds_ratio(table)
    assert found.odds[0, 2] == wanted.statistic == np.inf
    np.testing.assert_allclose(found.odds_low[0, 2], wanted.confidence_interval(0.95).low)
    np.testing.assert_array_equal(found.significant, ji.stats.discoveries(found.p))
    assert found.base.tolist() == [1 / 3] * 3 and not found.significant[0, :2].any()
    rows = found.records()
    assert len(rows) == 6 and rows[0]["label"] == "seven" and rows[0]["neuron"] == "1.5"
    assert (found.f1_low <= found.f1).all() and (found.f1 <= found.f1_high).all()
    assert "F1" in found.figure().html and found._repr_html_()
    one = ji.neurons.candidate_labels(model, corpus, "1.5", labels=["seven"], **{**OPTIONS, "resamples": 0})
    assert np.isnan(one.f1_low).all() and np.isnan(one.f1_high).all()
    np.testing.assert_array_equal(one.p[0], found.p[0, 2:])
    np.testing.assert_array_equal(one.f1, found.f1[:1, 2:])


@pytest.mark.parametrize("family", families("llama"))
def test_held_out_f1_is_that_of_the_probe(corpus: Any, family: str) -> None:
    """On the left and on the right padding gives the same, and F1 is that of `single_neuron` on what is held out."""
    model = model_of(family)
    left = {}
    for label, (tokens, mask) in corpus.items():
        ids, real = np.zeros_like(tokens), np.zeros_like(mask)
        for i, row in enumerate(mask):
            ids[i, 12 - row.sum() :], real[i, 12 - row.sum() :] = tokens[i, row], True
        left[label] = (ids, real)
    both = [ji.neurons.candidate_labels(model, each, [(2, 1), (0, 4)], **OPTIONS) for each in (corpus, left)]
    np.testing.assert_array_equal(both[0].p, both[1].p)
    np.testing.assert_array_equal(both[0].f1, both[1].f1)
    rows = [
        ji.data.activations(model, tokens, "mlp_post", mask=mask, reduce="mean", progress=False)
        for tokens, mask in corpus.values()
    ]
    x = np.concatenate([each[[2, 0], :, [1, 4]].T for each in rows])
    labels = np.repeat(["a", "b", "seven"], 20)
    train, test = ji.data.split(np.arange(60), key=KEY, test=0.3, labels=labels)
    x = x / x[train].std(0)
    for c, label in enumerate(("a", "b", "seven")):
        probe = ji.probes.single_neuron(x[train], labels[train] == label)
        np.testing.assert_allclose(
            both[0].f1[:, c], probe.evaluate(x[test], labels[test] == label).f1, atol=1e-6
        )


def test_labels_without_a_relation_are_not_found() -> None:
    """Documents with random labels: few of 64 neurons have a small p-value, and none is significant."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(1, 40, (60, 12))
    parts = {"a": tokens[:30], "b": tokens[30:]}
    found = ji.neurons.candidate_labels(small_model(), parts, **OPTIONS)
    assert found.p.shape == (64, 2) and (found.p[:, 0] <= 0.1).mean() <= 0.2
    assert found.significant.sum() <= 2


def test_superpositions_are_the_optimal_supports() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 150, 8)) * np.arange(1, 9)
    x[1, :, 6] = x[1, :, 2] * 2 + 4 * rng.normal(size=150)  # a double of unit 2
    y = {"sum": x[1, :, 1] / 2 + x[1, :, 4] / 5 > 0, "two": x[1, :, 2] > 0}
    found = ji.neurons.superpositions(x, y, [(1, 1), (1, 6), (0, 1)], ks=(1, 2))
    assert found.member.shape == (3, 2, 2) and found.member[0, 0, 1] and not found.member[1, :, 0].any()
    for layer in (0, 1):
        for label, positive in y.items():
            wanted = ji.probes.best_subsets(x[layer] / x[layer].std(0), positive, (1, 2))
            for i, k in enumerate((1, 2)):
                probe = found.supports[layer, label][k]
                np.testing.assert_array_equal(probe.support, wanted[k].support)
                for n, (at, unit) in enumerate(found.neurons.tolist()):
                    if at == layer:
                        c = list(y).index(label)
                        assert found.member[n, c, i] == (unit in wanted[k].support)
                        weight = wanted[k].weights[wanted[k].support == unit]
                        np.testing.assert_allclose(
                            found.weight[n, c, i], weight[0] if len(weight) else np.nan
                        )
    np.testing.assert_allclose(found.correlation[1], np.corrcoef(x[1].T)[6], atol=1e-5)
    rows = {(each["neuron"], each["label"], each["k"]): each for each in found.records()}
    assert rows["1.1", "sum", 2]["others"] == ["1.4"] and rows["1.6", "two", 1]["others"] == ["1.2"]
    np.testing.assert_allclose(rows["1.6", "two", 1]["correlations"], np.corrcoef(x[1].T)[6, 2], atol=1e-5)
    assert found.neighbours(1)[1]["other"] == "1.2"
    named = ji.neurons.superpositions(x, y, ["1.1", "1.6", "0.1"], ks=(1,))
    np.testing.assert_array_equal(named.neurons, found.neurons)
    np.testing.assert_array_equal(named.member, found.member[..., :1])
    made, probe = found.combination(0, "sum", 2), found.supports[1, "sum"][2]
    score = np.maximum(probe.decision(x[1] / x[1].std(0)), 0)
    np.testing.assert_allclose(made.encode(np.float32(x[1]))[:, 0], score, rtol=1e-4, atol=1e-5)
    assert "optimal support" in found.figure().html
    with pytest.raises(IndexError, match="neuron 3 is out of range"):
        found.combination(3, "sum", 2)
    with pytest.raises(ValueError, match="top is an int of 1 or more"):
        found.neighbours(-1)


def test_bad_input(corpus: Any) -> None:
    model = small_model()
    tokens, mask = corpus["a"]
    ask = lambda classes, neurons=(1, 5), **more: ji.neurons.candidate_labels(
        model, classes, neurons, **{**OPTIONS, **more}
    )
    with pytest.raises(ValueError, match="there is one, 'all': label the documents"):
        ask(tokens)
    with pytest.raises(ValueError, match="'b' has 1"):
        ask({"a": (tokens, mask), "b": tokens[:1]})
    with pytest.raises(ValueError, match="'c' is no class"):
        ask(corpus, labels=["c"])
    with pytest.raises(ValueError, match="labels names some of"):
        ask(corpus, labels=[])
    with pytest.raises(
        IndexError, match=r"at 'mlp_post' has the layers 0\.\.1 with the neurons 0\.\.31; neuron \[1, 32\]"
    ):
        ask(corpus, (1, 32))
    with pytest.raises(ValueError, match="needs at least one neuron"):
        ask(corpus, [])
    with pytest.raises(ValueError, match=r"at most half: CandidateSettings\(top=21\)"):
        ask(corpus, settings=ji.neurons.CandidateSettings(top=40))
    with pytest.raises(ValueError, match="resamples"):
        ask(corpus, resamples=-1)
    with pytest.raises(ValueError, match="test lies between"):
        ji.neurons.CandidateSettings(test=1.0)
    x = np.random.default_rng(0).normal(size=(20, 4))
    y = {"a": np.arange(20) < 9}
    with pytest.raises(IndexError, match=r"the neurons 0\.\.3; neuron \[0, 4\]"):
        ji.neurons.superpositions(x, y, [(0, 4)])
    with pytest.raises(ValueError, match="at least one neuron"):
        ji.neurons.superpositions(x, y, [])
    with pytest.raises(ValueError, match="pairs"):
        ji.neurons.superpositions(x, y, [0, 1, 2])
    with pytest.raises(ValueError, match="the size of a support"):
        ji.neurons.superpositions(x, y, [(0, 1)], ks=(1.5,))
    with pytest.raises(ValueError, match="0 of 20 rows have the label 'b'"):
        ji.neurons.superpositions(x, {"b": np.zeros(20, bool)}, [(0, 1)])
    with pytest.raises(ValueError, match="a label for each of 20 rows"):
        ji.neurons.superpositions(x, ["a"] * 19 + [None], [(0, 1)])
    with pytest.raises(ValueError, match="NaN or infinite"):
        ji.neurons.superpositions(np.where(np.eye(20, 4) > 0, np.nan, x), y, [(0, 1)])
