"""Records are drawn with their intervals beside them, bars on each column's own scale, and every row of them."""

import re

import numpy as np
import pytest

from jaxinterp import viz


def cells(figure: viz.Figure) -> list[list[str]]:
    body = figure.html.split("<tbody>")[1]
    return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("</tr>")[:-1]]


@pytest.mark.quick
def test_intervals_stand_beside_their_numbers() -> None:
    rows = [
        {"layer": 0, "f1": 0.5, "f1_low": 0.25, "f1_high": 0.75, "n": 9, "ok": True},
        {"layer": 1, "f1": -1.0, "f1_low": None, "f1_high": None, "n": 8, "ok": False},
    ]
    figure = viz.records(rows, title="t")
    assert cells(figure) == [["0", "0.5 (0.25 to 0.75)", "9", "True"], ["1", "−1", "8", "False"]]
    # A measure has a bar, a number of things has none; the largest size fills its column.
    assert re.findall(r"ji-bar-(\w+)\" style=\"--v:([\d.]+)%", figure.html) == [
        ("high", "50.0"),
        ("low", "100.0"),
    ]
    bare = viz.records([{"name": "a", "mean": 0.5, "low": 0.4, "high": 0.6}] * 2)
    assert cells(bare)[0] == ["a", "0.5 (0.4 to 0.6)"]
    nested = viz.records([{"f1": 0.5, "f1.low": 0.4, "f1.high": 0.6}] * 2)
    assert cells(nested)[0] == ["0.5 (0.4 to 0.6)"]


def test_one_record_is_a_row_for_each_name() -> None:
    figure = viz.records([{"spearman": 0.5, "low": 0.25, "high": 0.75, "pairs": 12}])
    assert cells(figure) == [["spearman", "0.5 (0.25 to 0.75)"], ["pairs", "12"]]
    assert "data-sort" not in figure.html


def test_what_is_missing_and_what_is_long() -> None:
    rows = [{"a": np.nan, "b": [0.5] * 9, "c": "<b>\n"}, {"a": np.inf, "d": None}]
    figure = viz.records(rows)
    assert cells(figure)[0] == ["no value", "0.5, 0.5, 0.5, 0.5, 0.5, 0.5, … 9 in all", "&lt;b&gt;\n", ""]
    assert cells(figure)[1] == ["∞", "", "", ""]
    assert figure.html.count("data-key") == 0
    many = viz.records([{"a": i / 7} for i in range(600)], top=500)
    assert len(cells(many)) == 500 and "The first 500 of 600 rows." in many.html
    assert "<tbody>" in viz.records([]).html
    with pytest.raises(ValueError, match="top"):
        viz.records([], top=0)
