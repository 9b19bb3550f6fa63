"""Exported figures hold the numbers, labels and colours of the figure; a missing package is named."""

import json
import sys
from typing import Any

import numpy as np
import pytest

from jaxinterp import viz
from jaxinterp.viz._exchange import exchanged

VALUES = np.array([[0.5, -1.5, np.nan], [12.0, 0.0, -12.0]])
TOKENS = [" a", " a", "<b>"]


def figures() -> dict[str, viz.Figure]:
    pattern = np.tril(np.ones((2, 3, 3))) / np.arange(1, 4)[:, None]
    names = {"cols": TOKENS, "axis_names": ("layer", "token"), "value": "nats"}
    band = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    return {
        "heatmap": viz.heatmap(VALUES, rows=[3, 9], marks=VALUES > 1, title="<i>t", **names),
        "heatmaps": viz.heatmaps({"q": VALUES, "k": -VALUES}, **names),
        "attention": viz.attention(pattern, TOKENS, heads=["x", "y"]),
        "attention_text": viz.attention_text(pattern[0], TOKENS),
        "lens_table": viz.lens_table(
            ["a", "b"], [["x", "y"], ["z", "<b>"]], [[0.9, 0.5], [0.5, 0.25]], layers=[0, 4]
        ),
        "lines": viz.lines(
            {"a": [1.0, 2.0], "b": [2.0, np.nan]}, x=[1, 8], bands={"a": band}, marks={"m": 2}, log=True
        ),
        "scatter": viz.scatter({"a": ([1, 2, 4], [1.0, 0.5, np.nan])}, levels={"1/2": 0.5}),
        "histogram": viz.histogram({"de": [1, 3], "fr": [2, 0]}, [0, 1, 4], marks={"m": 2}),
    }


@pytest.mark.quick
def test_the_numbers_are_those_of_the_figure() -> None:
    made = figures()
    one: Any = exchanged(made["heatmap"].picture)
    np.testing.assert_array_equal(one.panels[""], VALUES)
    assert (one.rows, one.cols, one.value) == (["3", "9"], ["·a", "·a", "<b>"], "nats")
    assert one.tips[""][1][0] == "layer 9, token ·a: 12, significant" and one.texts[""][0] == [
        "0.5",
        "−1.5",
        "",
    ]
    two: Any = exchanged(made["heatmaps"].picture)
    assert list(two.panels) == ["q", "k"] and two.ramp == one.ramp
    heads: Any = exchanged(made["attention"].picture)
    assert list(heads.panels) == ["x", "y"] and heads.tips["x"][2][0] == "<b> reads ·a: 0.333"
    lens: Any = exchanged(made["lens_table"].picture)
    assert lens.rows == ["0", "4"] and lens.upwards and lens.texts[""] == [["x", "y"], ["z", "<b>"]]
    curves: Any = exchanged(made["lines"].picture)
    assert curves.log and list(curves.ends) == ["a"] and curves.y["b"][0] == 2.0
    points: Any = exchanged(made["scatter"].picture)
    assert points.kind == "points" and points.x["a"].tolist() == [1.0, 2.0]
    bars: Any = exchanged(made["histogram"].picture)
    assert bars.y["de"].tolist() == [0.25, 0.75] and bars.x["de"].tolist() == [0.5, 2.5]


@pytest.mark.parametrize("package", ["plotly", "altair"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plotly", "plotly.graph_objects", "altair"):
        monkeypatch.setitem(sys.modules, name, None)
    figure = figures()["heatmap"]
    with pytest.raises(
        ImportError, match=rf'Exporting to {package} needs it: pip install "jaxinterp\[export\]"'
    ):
        getattr(figure, f"to_{package}")()
    with pytest.raises(ValueError, match=r"none of these\. Save it as HTML"):
        getattr(viz.table(["a"], [[1]]), f"to_{package}")()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", list(figures()))
def test_plotly_draws_it(name: str) -> None:
    pytest.importorskip("plotly")
    figure = figures()[name].to_plotly()
    drawn = json.loads(figure.to_json())
    traces = drawn["data"]
    plain: Any = exchanged(figures()[name].picture)
    if name in ("lines", "scatter", "histogram"):
        named = [trace for trace in traces if trace.get("name")]
        assert [trace["name"] for trace in named] == list(plain.y)
        assert drawn["layout"]["xaxis"]["type"] == ("log" if plain.log else "linear")
        assert sum(trace.get("fill") == "tonexty" for trace in traces) == (name == "lines")
        return
    assert len(traces) == len(plain.panels)
    first = traces[0]
    want = next(iter(plain.panels.values()))
    np.testing.assert_allclose(np.array(first["z"], float), want)
    assert (first["zmin"], first["zmax"]) == (plain.ramp.low, plain.ramp.high)
    assert first["colorscale"][-1][1] == plain.ramp.mark(plain.ramp.high).hex
    labels = drawn["layout"]["xaxis"]["ticktext"]
    assert len(labels) == want.shape[1] and "<" not in "".join(labels) + json.dumps(first["text"])
    assert drawn["layout"]["yaxis"].get("autorange") == (None if name == "lens_table" else "reversed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", list(figures()))
def test_altair_draws_it(name: str) -> None:
    """`to_dict` checks the chart against the schema of Vega-Lite."""
    pytest.importorskip("altair")
    chart = json.loads(figures()[name].to_altair().to_json())
    plain: Any = exchanged(figures()[name].picture)
    text = json.dumps(chart)
    assert "NaN" not in text
    sets = [one["values"] for one in _data(chart)]
    rows = max(sets, key=len)
    if name in ("lines", "scatter", "histogram"):
        assert len(rows) == sum(np.isfinite(y).sum() for y in plain.y.values())
        assert {row["name"] for row in rows} == set(plain.y)
        return
    assert len(rows) == sum(values.size for values in plain.panels.values())
    found = [row["value"] for row in rows if row["panel"] == next(iter(plain.panels))]
    want = next(iter(plain.panels.values())).ravel()
    np.testing.assert_allclose(np.array(found, float), want)
    labels = f"{json.dumps(plain.cols, ensure_ascii=False)}[datum.value]"
    assert json.dumps(labels) in text, "two equal tokens are two places with labels of their own"


def _data(node: Any) -> list[Any]:
    if isinstance(node, dict):
        own = [node["data"]] if "values" in (node.get("data") or {}) else []
        return own + [one for value in node.values() for one in _data(value)]
    return [one for value in node for one in _data(value)] if isinstance(node, list) else []
