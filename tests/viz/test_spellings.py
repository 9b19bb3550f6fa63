"""Old spellings of options are refused with the new ones."""

import pytest

from jaxinterp import viz


@pytest.mark.parametrize(
    ("draw", "old", "new"),
    [
        (viz.heatmap, {"row_axis": "layer"}, r"viz.heatmap has no argument row_axis=. Write axis_names=\("),
        (viz.heatmap, {"low": [[0.0]]}, r"no argument low=. Write interval=\(low, high\)"),
        (viz.heatmaps, {"limits": (0, 1)}, r"Write settings=ji.viz.HeatmapSettings\(limits=\(0, 1\)\)"),
        (
            viz.mpl.heatmap,
            {"bar": False},
            r"heatmap has no argument bar=. Write settings=ji.viz.HeatmapSettings\(bar=False\)",
        ),
        (viz.mpl.heatmaps, {"diverging": True}, r"settings=ji.viz.HeatmapSettings\(diverging=True\)"),
    ],
)
def test_old_spellings_are_refused(draw, old, new):
    with pytest.raises(TypeError, match=new):
        draw([[1.0]], **old)
