"""Circuits from scores, and how good they are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from tests.patching.patched_models import CLEAN, CORRUPT, MASK, METRIC, model_of


def few(*names: str) -> list[Any]:
    """Families that the slow suite runs."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@dataclasses.dataclass(frozen=True)
class Given:
    """Scores of edges."""

    values: Any
    graph: Any


def drawn(graph: Any, seed: int = 0) -> Given:
    return Given(jax.random.normal(jax.random.key(seed), (graph.size,)), graph)


@pytest.mark.parametrize(
    "x, y, area",
    [
        ([0, 1], [0, 1], 0),
        ([0, 0.5, 1], [0, 0.5, 1], 0.25),
        ([0, 0.25, 1], [0, 0.25, 1], 0.1875),
        ([0, 0.25, 0.5, 1], [0, 0.25, 0.5, 1], 5 / 16),
        ([0, 0.25, 0.75, 1], [0, 0.25, 0.5, 1], 0.25),
    ],
)
def test_published_pessimistic_areas(x: Any, y: Any, area: float) -> None:
    assert ji.circuits.pessimistic_auc(x, y) == pytest.approx(area)
    assert ji.circuits.pessimistic_auc(x[::-1], y[::-1]) == pytest.approx(area)


def test_roc() -> None:
    graph = ji.circuits.graph(model_of("gpt2"))
    truth = graph.mask(["embed->mlp0", "mlp0->1.1.k", "1.1->logits"])
    assert ji.circuits.roc(truth, truth).auc == 1
    assert ji.circuits.roc(Given(truth.mask.astype(jnp.float32) + 0.1, graph), truth).auc == 1
    assert ji.circuits.roc(~truth, truth).auc == 0
    both = ji.circuits.Circuit(jnp.stack([truth.mask, (~truth).mask]), graph)
    assert ji.circuits.roc(both, truth, of="nodes").auc == 1
    # Scores and the circuits of their ranks are the same points.
    scores = drawn(graph)
    ranks = ji.circuits.select(scores, n=list(range(graph.size + 1)), pruned=False)
    assert ji.circuits.roc(scores, truth).auc == pytest.approx(ji.circuits.roc(ranks, truth).auc)
    assert ji.circuits.roc(scores, truth, of="nodes").auc == pytest.approx(
        ji.circuits.roc(ranks, truth, of="nodes").auc
    )
    assert "AUC" in ji.circuits.roc(scores, truth).figure().html


@pytest.mark.parametrize("name", [*few("gpt2", "neox"), "llama"])
def test_selection(name: str) -> None:
    model = model_of(name)
    for options in ({}, {"pos": 5}) if name == "llama" else ({},):
        graph = ji.circuits.graph(model, **options)
        scores = drawn(graph)
        counts = [0, 3, 10, graph.size]
        top = ji.circuits.select(scores, n=counts, pruned=False)
        np.testing.assert_array_equal(top.kept.sum(1), counts)
        kept = np.abs(scores.values)[top.kept[2]]
        assert kept.min() >= np.sort(np.abs(scores.values))[-10]
        greedy = ji.circuits.select(scores, n=counts, how="greedy", pruned=False)
        assert (greedy.kept[:-1] <= greedy.kept[1:]).all() and greedy.kept[-1].all()
        assert ji.circuits.select(scores, n=graph.size).kept.all()
    # Whatever dangles changes nothing.
    loose = ji.circuits.select(scores, n=graph.size // 2, pruned=False)
    tight = ji.circuits.prune_dangling(loose)
    assert len(tight) <= len(loose) and not (tight.kept & ~loose.kept).any()
    both = ji.circuits.Circuit(jnp.stack([loose.mask, tight.mask]), graph)
    first, second = ji.circuits.run(model, CLEAN, CORRUPT, both)
    np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("name", ["neox", pytest.param("llama", marks=pytest.mark.slow)])
def test_judgement(name: str) -> None:
    model = model_of(name)
    graph = ji.circuits.graph(model)
    circuits = ji.circuits.select(drawn(graph), n=[0, 20, 40, graph.size], pruned=False)
    found = ji.circuits.evaluate(model, circuits, CLEAN, CORRUPT, METRIC, mask=MASK)
    np.testing.assert_allclose(found.faithfulness[[0, 3]], [0, 1], atol=1e-5)
    np.testing.assert_allclose(found.remaining[[0, 3]], [1, 0], atol=1e-5)
    np.testing.assert_allclose([found.kl[3], found.accuracy[3]], [0, 1], atol=1e-5)
    logits = ji.circuits.run(model, CLEAN, CORRUPT, circuits, mask=MASK)
    value = [float(METRIC(each, mask=MASK).mean()) for each in logits]
    np.testing.assert_allclose(found.metric, value, atol=1e-5)
    np.testing.assert_allclose([found.clean, found.corrupt], [value[3], value[0]], atol=1e-5)
    alone = ji.circuits.Circuit(circuits.mask[1], graph)
    one = ji.circuits.evaluate(
        model, alone, CLEAN, CORRUPT, METRIC, mask=MASK, key=jax.random.key(1), resamples=9
    )
    assert one.faithfulness == pytest.approx(found.faithfulness[1], abs=1e-5)
    assert one.p in np.arange(1, 11) / 10 and one.null.shape == (9,)
    assert one.records()[0]["size"] == 20 and len(found.records()) == 4


def test_curve_of_exact_scores() -> None:
    model = model_of("gpt2")
    graph = ji.circuits.graph(model)
    found = ji.circuits.curve(model, drawn(graph), CLEAN, CORRUPT, METRIC, shares=(0.1, 0.5, 1))
    assert found.faithfulness[-1] == pytest.approx(1, abs=1e-5)
    f = found.faithfulness
    assert found.cpr == pytest.approx(0.4 * (f[0] + f[1]) / 2 + 0.5 * (f[1] + f[2]) / 2)
    g = np.abs(1 - f)
    assert found.cmd == pytest.approx(0.4 * (g[0] + g[1]) / 2 + 0.5 * (g[1] + g[2]) / 2)
    assert "CPR" in found.figure().html


@pytest.mark.slow
def test_completeness_and_minimality() -> None:
    model = model_of("neox")
    graph = ji.circuits.graph(model)
    pair = (CLEAN, CORRUPT, METRIC)
    whole = ji.circuits.completeness(model, graph.full(), *pair, key=jax.random.key(0), subsets=2, greedy=1)
    np.testing.assert_allclose(whole.score, 0, atol=1e-5)
    circuit = ji.circuits.select(drawn(graph), n=25, how="greedy")
    classes = {"first": ["0.0", "0.1"]}
    found = ji.circuits.completeness(
        model, circuit, *pair, key=jax.random.key(0), subsets=2, greedy=2, classes=classes
    )
    assert len(found.score) == 5 and (np.diff(found.score) <= 0).all()
    by_name = dict(zip(found.name, found.score, strict=True))
    assert by_name["greedy 1"] >= 0
    rows = ji.circuits.minimality(model, circuit, *pair, by="edge")
    assert set(rows.part) == set(circuit.edges) and (np.diff(rows.score) >= 0).all()
    edge = rows.part[-1]
    cut = circuit & ~graph.mask(edge)
    both = ji.circuits.evaluate(model, ji.circuits.Circuit(jnp.stack([circuit.mask, cut.mask]), graph), *pair)
    assert rows.score[-1] == pytest.approx(abs(both.faithfulness[0] - both.faithfulness[1]), abs=1e-4)
    nodes = ji.circuits.minimality(model, circuit, *pair, classes=classes)
    assert set(nodes.part) <= set(graph.senders)


def test_what_is_wrong_teaches() -> None:
    model = model_of("gpt2")
    graph = ji.circuits.graph(model)
    with pytest.raises(ValueError, match="tell them apart"):
        ji.circuits.evaluate(model, graph.full(), CLEAN, CLEAN, METRIC)
    with pytest.raises(ValueError, match="one length"):
        ji.circuits.evaluate(model, graph.full(), CLEAN, CORRUPT[:, :4], METRIC)
    with pytest.raises(ValueError, match="without edits"):
        edited = ji.intervene(model, [ji.zero("z", layer=0, head=1)])
        ji.circuits.evaluate(edited, graph.full(), CLEAN, CORRUPT, METRIC)
    with pytest.raises(ValueError, match="number of edges"):
        ji.circuits.select(drawn(graph), n=graph.size + 1)
    with pytest.raises(ValueError, match="NaN"):
        ji.circuits.select(Given(jnp.full(graph.size, jnp.nan), graph), n=1)
    with pytest.raises(ValueError, match="rising"):
        ji.circuits.curve(model, drawn(graph), CLEAN, CORRUPT, METRIC, shares=(0.5, 0.1))
    with pytest.raises(ValueError, match="senders of the graph"):
        ji.circuits.minimality(model, graph.full(), CLEAN, CORRUPT, METRIC, classes={"a": ["9.9"]})
