"""A function that goes twice over its argument gives an iterator what it gives a list."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import model_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype(np.float32)
TOKENS = RNG.integers(1, 40, (2, 6))


def chair(mentioned: Any) -> Any:
    return dict(ji.lens.chair(mentioned, iter([iter(["cat"]), {"car", "tree"}])))


def hidden(widths: Any) -> Any:
    settings = ji.probes.TrainSettings(epochs=1)
    found = ji.probes.mlp(X, X[:, 0] > 0, widths, key=jax.random.key(0), settings=settings)
    return [w.shape for w in found.weights]


def minimality(names: Any) -> Any:
    model = model_of("gpt2")
    graph = ji.circuits.graph(model)
    metric = ji.metrics.logit_diff([1], [2])
    clean, corrupt = TOKENS[:1], TOKENS[1:]
    circuit = ji.circuits.Circuit(np.ones(graph.size, bool), graph)
    found = ji.circuits.minimality(
        model, circuit, clean, corrupt, metric, by="node", classes={"early": names}
    )
    return found.records()


def settings(values: Any) -> Any:
    several = list(values)
    study = ji.probes.StudySettings(layers=iter(several), ks=iter(several))
    return [tuple(study.layers), tuple(study.layers), tuple(study.ks), tuple(study.ks)]


@pytest.mark.parametrize(
    "function, given",
    [
        (chair, [["cat", "dog"], ["car"]]),
        (lambda phrases: ji.steering.refused("No, I cannot.", phrases), ["sorry", "i cannot"]),
        (hidden, [5, 4]),
        (lambda rows: ji.viz.table(iter(["a", "b"]), rows).html, [["one", 2], ["three", 4]]),
        (lambda rows: ji.viz.contexts(rows).html, [("first", [" the", " cat"], [0.0, 2.0])]),
        (lambda body: ji.viz.page("A", [ji.viz.Chapter("B", body)]), ["text", ji.viz.heatmap(X)]),
        (lambda chapters: ji.viz.page("A", chapters), [ji.viz.Chapter("B", [ji.viz.heatmap(X)])]),
        (lambda sites: sorted(ji.data.activations(model_of("gpt2"), TOKENS, sites)), ["resid_pre", "z"]),
        (settings, [1, 2]),
        (minimality, ["0.0", "mlp1"]),
        (
            lambda kinds: list(ji.neurons.ScalingSettings(reduces=kinds).reduces),
            ["mean", "max"],
        ),
    ],
)
def test_an_iterator_is_read_as_a_list(function: Callable[[Any], Any], given: list[Any]) -> None:
    want = function(given)
    assert repr(function(iter(given))) == repr(want)
    if function is chair:
        assert want == {"sentence": 0.5, "instance": 1 / 3, "recall": 2 / 3}
        assert chair(iter(each) for each in given) == want
    if function is settings:
        assert want == [(1, 2)] * 4
    if function is hidden:
        assert len(want) == 3
