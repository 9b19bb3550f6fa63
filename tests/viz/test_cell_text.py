"""Numbers in cells have the digits that the scale asks for: none with a colour of its own reads 0."""

import numpy as np
import pytest

from jaxinterp import viz
from jaxinterp.viz._cells import cell_text
from jaxinterp.viz._colour import scale


@pytest.mark.quick
def test_no_coloured_cell_reads_zero() -> None:
    rng = np.random.default_rng(0)
    for reach in (3e-9, 2e-5, 0.004, 0.03, 0.09, 0.4, 0.5, 1.0, 7.0, 12.0, 99.0, 750.0, 2e4, 3e8):
        for low in (-reach, 0.0):
            values = np.append(rng.uniform(low, reach, 200), [reach, reach * 0.0101, low * 0.0101, 0.0])
            ramp = scale(values)
            form = cell_text(ramp)
            for value in values:
                text = form.inside(value)
                read = float(text.replace("−", "-"))
                assert len(text) <= 6, (reach, text)
                assert abs(read * 10.0**form.power - value) <= 0.0101 * reach
                if ramp.mark(value).percent > 1.01:
                    assert read != 0, (reach, value, text)
                else:
                    assert "−" not in text or read != 0


def test_small_numbers_have_a_unit_and_the_scale_is_shown() -> None:
    effects = np.array([[3e-5, -1e-5], [0.0, np.nan]])
    figure = viz.heatmap(effects, value="logit difference")
    assert ">3.00<" in figure.svg and ">−1.00<" in figure.svg and ">0.00<" in figure.svg
    assert "logit difference, cells in units of 10⁻⁵" in figure.svg
    for words in ("<span>logit difference</span>", "<span>−3e−05</span>", "cells in units of 10⁻⁵"):
        assert words in figure.html
    assert "units" not in viz.heatmap([[0.5, 1.0]]).html
    # The scale stands below the cells, outside of what scrolls.
    scrolls, below = figure.html.split("</svg></div>", 1)
    assert 'class="ji-ramp2"' in below and "ji-ramp" not in scrolls


def test_limits_ask_for_digits_too() -> None:
    figure = viz.heatmap([[0.004, 0.9]], settings=viz.HeatmapSettings(limits=(0, 0.01)))
    assert ">0.004<" in figure.svg or "units of 10" in figure.svg
    narrow = cell_text(scale(np.array([100.0]), limits=(100, 100.003)))
    assert narrow.inside(100.001) != narrow.inside(100.002)
