"""Curves of studies: the best record of each place, with its interval, and a logarithmic axis."""

import re
from typing import Any

import numpy as np
import pytest

from jaxinterp import viz
from jaxinterp.viz._records import best_series
from jaxinterp.viz._ticks import log_ticks

RECORDS = [
    {
        "feature": f,
        "layer": layer,
        "k": k,
        "parameters": 1000 * 10**layer,
        "f1": s,
        "f1_low": s - 0.1,
        "f1_high": s + 0.05,
    }
    for f, layer, k, s in [
        ("de", 0, 1, 0.5),
        ("de", 1, 1, 0.75),
        ("de", 1, 2, 0.875),
        ("de", 1, 16, 0.9),
        ("fr", 0, 1, 0.25),
        ("fr", 1, 16, 0.625),
    ]
]


def test_the_best_of_each_place_is_drawn() -> None:
    found = best_series(RECORDS, "layer", None, "f1")
    np.testing.assert_array_equal(found.x, [0, 1])
    np.testing.assert_array_equal(found.curves["de"], [0.5, 0.9])
    np.testing.assert_allclose(found.bands["de"], [[0.4, 0.8], [0.55, 0.95]])
    found = best_series(RECORDS, "k", ["fr"], "f1")
    np.testing.assert_array_equal(found.x, [1, 16])
    found = best_series(RECORDS, "k", None, "f1")
    np.testing.assert_array_equal(found.curves["fr"], [0.25, np.nan, 0.625])
    assert not best_series([{"feature": "a", "layer": 0, "f1": 1.0}], "layer", None, "f1").bands
    with pytest.raises(ValueError, match="no records to draw"):
        viz.by_layer([])
    with pytest.raises(ValueError, match="No record has 'mcc'"):
        viz.by_k(RECORDS, metric="mcc")
    with pytest.raises(ValueError, match="No record is of the feature 'es'"):
        viz.by_size(RECORDS, features=["es"])


@pytest.mark.parametrize("name", ["by_layer", "by_k", "by_size"])
def test_figures_and_axes_show_the_same(name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = getattr(viz, name)(RECORDS, title="a study")
    svg = figure.svg
    assert "a study" in figure.html and svg.count('fill-opacity="0.18"') == 2
    axis = {"by_layer": "layer", "by_k": "neurons (k)", "by_size": "parameters"}[name]
    assert axis in svg and "0.9" in svg
    fig, ax = pyplot.subplots()
    assert getattr(viz.mpl, name)(RECORDS, ax=ax, title="a study") is ax
    assert ax.get_xlabel() == axis and ax.get_ylabel() == "f1" and ax.get_title() == "a study"
    assert ax.get_xscale() == ("linear" if name == "by_layer" else "log")
    fig.canvas.draw()
    pyplot.close(fig)


def places(svg: Any) -> list[float]:
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]


def test_equal_ratios_are_equally_far() -> None:
    found = places(viz.lines({"a": [1, 2, 3]}, x=[1, 4, 16], log=True).svg)
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], abs=0.2)
    found = places(viz.lines({"a": [1, 2, 3]}, x=[1, 4, 16]).svg)
    assert found[2] - found[1] == pytest.approx(4 * (found[1] - found[0]), abs=0.5)
    assert log_ticks(1, 8) == [1, 2, 4, 8] and log_ticks(1e5, 1e10) == [10.0**i for i in range(5, 11)]
    assert log_ticks(3, 3.5) == [3.0]
    for draw in (viz.lines, viz.mpl.lines):
        with pytest.raises(ValueError, match="logarithmic axis holds positive"):
            draw({"a": [1, 2]}, x=[0, 1], log=True)
