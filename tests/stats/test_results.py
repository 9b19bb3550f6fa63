"""Results are classes with fields, and are read as the dicts that they were."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.stats._results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class Scores(Result):
    f1: float
    layer: np.ndarray
    intervals: dict[str, tuple[float, float]] | None = None


class Pair(Result, eqx.Module):
    loss: jax.Array
    name: str = eqx.field(static=True)


def test_names_are_the_fields_that_have_a_value() -> None:
    scores = Scores(0.5, np.arange(3))
    assert list(scores) == scores.keys() == ["f1", "layer"] and len(scores) == 2
    assert "intervals" not in scores and "f1" in scores
    assert all(dict(scores)[name] is getattr(scores, name) for name in scores)
    assert {**scores, "k": 1}["k"] == 1
    assert "intervals" in Scores(0.5, np.arange(3), {"f1": (0.1, 0.9)})


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="Scores has no 'f2'; it has f1, layer"):
        Scores(0.5, np.arange(3))["f2"]


def test_records_are_rows_of_plain_numbers() -> None:
    records = Scores(0.5, np.arange(3, dtype=np.int32)).records()
    assert records == [{"f1": 0.5, "layer": i} for i in range(3)]
    assert type(records[0]["layer"]) is int
    one = Pair(jnp.float32(2.0), "a")
    assert one.records() == [{"loss": 2.0, "name": "a"}]
    nested = Scores(np.float32(0.5), np.ones((2, 2)), {"f1": (0.25, 0.75)})
    assert [r["intervals.f1"] for r in nested.records()] == [0.25, 0.75]
    assert [r["layer"] for r in nested.records()] == [[1.0, 1.0]] * 2


def test_fields_of_different_lengths_are_no_table() -> None:
    with pytest.raises(
        ValueError, match=r"no single table; its fields have the lengths layer 3, intervals.f1 2"
    ):
        Scores(0.5, np.arange(3), {"f1": (0.1, 0.9)}).records()


def test_a_module_stays_a_tree_of_arrays() -> None:
    doubled = jax.tree.map(lambda x: 2 * x, Pair(jnp.arange(2.0), "a"))
    assert doubled["loss"].tolist() == [0.0, 2.0] and doubled["name"] == "a"


def test_a_notebook_shows_the_first_rows_escaped() -> None:
    html = Scores(0.5, np.arange(40))._repr_html_()
    assert "The first 30 of 40 rows" in html and html.count("<tr") <= 32
    assert "<b>" not in Pair(jnp.ones(2), "<b>")._repr_html_()
