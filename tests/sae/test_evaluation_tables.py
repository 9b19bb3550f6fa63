"""Comparisons of dictionaries as tables, with the numbers of their fields."""

import numpy as np

from jaxinterp import sae
from jaxinterp.sae.evaluation._splitting import Splitting
from jaxinterp.sae.evaluation._universality import Universality


def test_a_specificity_has_a_row_for_each_interval() -> None:
    found = sae.specificity(np.asarray([0.0, 1.0, 2.0, 4.0]), np.asarray([-1.0, -1.0, 1.0, 1.0]), intervals=2)
    rows = found.records()
    assert [(row["low"], row["high"], row["tokens"], row["share"]) for row in rows] == [
        (0.0, 2.0, 1, 0.0),
        (2.0, 4.0, 2, 1.0),
    ]


def test_a_splitting_has_a_row_for_each_edge() -> None:
    graph = Splitting(np.asarray([[0, 3], [1, 2]]), np.asarray([0.5, 1.0]), (2, 4), 10)
    assert graph.records() == [{"a": 0, "b": 3, "weight": 0.5}, {"a": 1, "b": 2, "weight": 1.0}]


def test_a_universality_has_a_row_for_each_feature() -> None:
    found = Universality(np.asarray([0.5, 1.0]), np.asarray([1, 0]), None, None, 7)
    assert found.records()[1] == {"correlation": 1.0, "partner": 0, "tokens": 7}
    assert found["partner"] is found.partner and "baseline" not in found
