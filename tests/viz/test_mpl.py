"""The same figures on matplotlib axes: colours, text and errors are those of the HTML ones."""

import subprocess
import sys

import numpy as np
import pytest

from jaxinterp import viz
from jaxinterp.viz._colour import scale

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_colours_are_those_of_the_html(ax):
    values = np.array([[0.3, -1.5, np.nan], [12.0, 0.0, -12.0]])
    assert viz.mpl.heatmap(values, ax=ax, marks=values > 1) is ax
    (image,) = ax.images
    ramp = scale(values)
    drawn = image.to_rgba(values)
    for at in np.ndindex(values.shape):
        wanted = np.array(matplotlib.colors.to_rgb(ramp.mark(values[at]).hex))
        assert np.abs(drawn[at][:3] - wanted).max() < 0.01
        assert f'fill="{to_hex(wanted)}"' in viz.heatmap(values).svg
    assert texts(ax) == ["0.3", "−1.5", "", "12.0", "0.0", "−12.0"]
    (dot,) = ax.lines
    assert (round(dot.get_xdata()[0]), round(dot.get_ydata()[0])) == (0, 1)


def test_the_colormap_of_values_has_the_colours_of_their_heat_map(ax):
    values = np.array([[0.3, -1.5], [12.0, 0.0]])
    settings = viz.HeatmapSettings(limits=(-3, 3))
    for options in ({}, {"settings": settings}):
        cmap, norm = viz.mpl.colormap(values, **options)
        (image,) = viz.mpl.heatmap(values, ax=plt.subplots()[1], **options).images
        np.testing.assert_array_equal(cmap(norm(values)), image.to_rgba(values))


def test_labels_are_text(ax):
    """Tokens may hold what matplotlib would read as a formula, or leave out."""
    cols = [" a", "$x^{2$", "\n", "_y"]
    viz.mpl.heatmap(np.eye(2, 4), ax=ax, cols=cols, title="$a_{", axis_names=("$r", "column"), value="$v")
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["·a", "$x^{2$", "↵", "_y"]
    assert (ax.get_title(), ax.get_ylabel(), ax.get_xlabel()) == ("$a_{", "$r", "column")
    assert ax.figure.axes[1].get_ylabel() == "$v"
    viz.mpl.heatmap(np.ones((100, 2)), ax=ax, settings=viz.HeatmapSettings(bar=False))
    assert len(ax.get_yticklabels()) == 34 and ax.get_yticklabels()[1].get_text() == "3"


def test_points_directions_and_graphs(ax, tmp_path):
    series = {"a": ([1, 2, 4], [1.0, 0.5, np.nan]), "_b": ([8], [0.1])}
    options = {"levels": {"1/2": 0.5}, "log": True, "title": "$t", "x_axis": "u"}
    assert viz.mpl.scatter(series, ax=ax, **options) is ax
    assert [list(line.get_xdata()) for line in ax.lines] == [[1, 2], [8]]
    assert (ax.get_title(), ax.get_xlabel()) == ("$t", "u")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1/2"]
    assert len(ax.get_legend().get_texts()) == 2
    for log in (False, True):  # where no point is defined, the axes are empty
        undefined = {"a": ([1, 2], [np.nan, np.nan])}
        assert "a, 0 points" in viz.scatter(undefined, log=log)._repr_html_()
        empty = viz.mpl.scatter(undefined, log=log, ax=plt.subplots()[1])
        assert not len(empty.lines[0].get_xdata())
        assert viz.scatter(undefined, log=log).save(tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(ValueError, match=r"at least one point; got none in the series \['a'\]"):
        viz.scatter({"a": ([], [])})
    panels = {"plane": np.eye(3, 2), "space": np.eye(2, 3)}
    flat, bars = viz.mpl.directions(
        panels, ax=plt.subplots(1, 2)[1], shade={"plane": np.ones(3), "space": [0, 1]}
    )
    assert len(flat.lines) == 1 + 3 and [bar.get_height() for bar in bars.patches] == [1, 1]
    nodes, edges = (
        {"$a": 0, "b": 1, "c": 2},
        [("$a", "c", -2.0, ""), ("$a", "b", 1.0, ""), ("b", "c", 0.5, "")],
    )
    graph = viz.mpl.layered_graph(nodes, edges, ax=plt.subplots()[1], top=2)
    assert texts(graph) == ["$a", "b", "c"] and len(graph.patches) == 2 + 3
    for made in (viz.scatter(series, **options), viz.directions(panels), viz.layered_graph(nodes, edges)):
        assert made.save(tmp_path / "a.png").read_bytes()[1:4] == b"PNG"


def test_panels_share_a_scale():
    figure, ax = plt.subplots(1, 2)
    one, two = np.array([[1.0, 2.0]]), np.array([[4.0, -1.0]])
    drawn = viz.mpl.heatmaps(
        {"a": one, "b": two}, ax=ax, marks={"b": two > 0}, axis_names=("layer", "column")
    )
    assert [one is two for one, two in zip(drawn, ax, strict=True)] == [True, True]
    assert [one.get_title() for one in drawn] == ["a", "b"]
    assert [one.get_ylabel() for one in drawn] == ["layer", ""]
    assert {one.images[0].norm.vmin for one in drawn} == {-4.0}
    assert len(figure.axes) == 3 and len(drawn[1].lines) == 1
    assert len(viz.mpl.heatmaps({"a": one, "b": two}, settings=viz.HeatmapSettings(bar=False))) == 2


def test_attention(ax):
    pattern = np.tril(np.ones((2, 3, 3))) / np.arange(1, 4)[None, :, None]
    assert viz.mpl.attention(pattern[0], list("abc"), ax=ax, title="0.1") is ax
    pixels = ax.images[0].get_array()
    assert np.asarray(pixels)[..., 3].tolist() == [[255, 0, 0], [128, 128, 0], [85, 85, 85]]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("0.1", "key", "query")
    found = viz.mpl.attention(pattern, list("abc"), ax=plt.subplots(1, 2)[1])
    assert [one.get_title() for one in found] == ["head 0", "head 1"]


def test_lens_table(ax):
    top, probs = [[["x", "y"], ["z$", "w"]]], [[[0.9, 0.05], [0.5, 0.25]]]
    assert viz.mpl.lens_table([" a", "b"], top, probs, ax=ax, layers=["last"]) is ax
    assert texts(ax) == ["x", "z$"]
    assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (0.0, 1.0)
    viz.mpl.lens_table(
        [" a", "b"],
        top,
        probs,
        ax=ax,
        values=[[1.0, 3.0]],
        value="KL",
        settings=viz.HeatmapSettings(bar=False),
    )
    assert ax.images[1].get_array().tolist() == [[1.0, 3.0]]
    ax.figure.canvas.draw()


def test_lines(ax):
    series = {"a": [1.0, np.nan, 3.0], "_b$": [0.0, 1.0, 2.0]}
    bands = {"a": ([0.0, 0.0, 0.0], [2.0, 2.0, 4.0])}
    assert viz.mpl.lines(series, ax=ax, bands=bands, marks={"here": 1}, y_axis="nats") is ax
    assert [line.get_color() for line in ax.lines[:2]] == ["#0b5eaa", "#be410f"]
    assert len(ax.collections) == 1
    labels = [text.get_text().strip("\u200b") for text in ax.get_legend().get_texts()]
    assert labels == ["a", "_b$"] and texts(ax) == ["here"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: viz.mpl.heatmap(np.zeros(3)), r"matrix \(row, col\).*\(3,\)"),
        (lambda: viz.mpl.heatmap([[1.0]], marks=[[1]]), "marks=p < 0.05"),
        (lambda: viz.mpl.heatmap([[1.0]], settings=viz.HeatmapSettings(limits=(1, 1))), "low < high"),
        (lambda: viz.mpl.heatmap([[1.0]], ax=3), "matplotlib axes to draw on .*got int"),
        (lambda: viz.mpl.heatmaps({"a": [[1.0]]}, ax=plt.subplots(1, 2)[1]), "each of the 1 pictures.*got 2"),
        (lambda: viz.mpl.attention(np.zeros((2, 3, 3)), ["a"]), "one query and one key per token"),
        (lambda: viz.mpl.lens_table(["a"], [["x"]], [[0.1]], values=[1.0]), r"\(layer, pos\)"),
        (lambda: viz.mpl.lines({"a": [1.0], "b": [1.0, 2.0]}), "one length"),
    ],
)
def test_bad_input_teaches(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ImportError, match=r'pip install "jaxinterp\[viz\]"'):
        viz.mpl.heatmap([[1.0]])


@pytest.mark.slow
def test_importing_the_library_does_not_import_matplotlib():
    code = "import sys, jaxinterp.viz.mpl; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_histogram(ax):
    counts, edges = {"a": [1, 0, 3], "_b": [0, 2, 2]}, [0, 1, 2, 4]
    assert viz.mpl.histogram(counts, edges, ax=ax, marks={"$m": 2}, title="$t") is ax
    outlines = [patch for patch in ax.patches if not patch.get_fill()]
    assert [patch.get_data().values.tolist() for patch in outlines] == [
        np.sqrt([0.25, 0, 0.75]).tolist(),
        np.sqrt([0, 0.5, 0.5]).tolist(),
    ]
    assert ax.get_title() == "$t" and texts(ax) == ["$m"]
    figure = viz.histogram(counts, edges)
    assert "a, 0 to 1: 25%" in figure.svg and "a, 1 to 2" not in figure.svg
    with pytest.raises(ValueError, match=r"counts \(bin,\) over rising edges"):
        viz.histogram(counts, [0, 1, 2])
    with pytest.raises(ValueError, match="at least 0"):
        viz.histogram({"a": [1, -1]}, [0, 1, 2])


SIGNATURES = {".png": b"\x89PNG", ".PDF": b"%PDF", ".svg": b"<", ".jpg": b"\xff\xd8"}


def test_a_name_of_a_picture_gets_a_picture(tmp_path):
    """What is written is what the name says; the picture is the one of `viz.mpl`."""
    values = np.array([[0.3, -1.5], [12.0, 0.0]])
    top = [["x", "y"], ["z", "w"]]
    pairs = [
        (viz.heatmap(values, marks=values > 1, title="t"), 1),
        (viz.heatmaps({"q": values, "k": -values}, marks={"k": values > 1}), 2),
        (viz.attention(np.full((5, 2, 2), 0.5), "ab", heads="vwxyz"), 5),
        (viz.lens_table(["a", "b"], top, values / 12 > 0, layers=["l", "m"]), 1),
        (viz.lines({"a": [1.0, 2.0]}, x=[1, 8], log=True, bands={"a": ([0.0, 1.0], [2.0, 3.0])}), 1),
        (viz.histogram({"a": [1, 3]}, [0, 1, 2], root=False), 1),
    ]
    for i, (figure, panels) in enumerate(pairs):
        assert figure.picture.panels == panels
        for end in [".png"] if i else SIGNATURES:
            path = figure.save(tmp_path / f"{i}{end}")
            assert path.read_bytes().startswith(SIGNATURES[end])
    assert {path.suffix for path in tmp_path.iterdir()} == set(SIGNATURES)
    assert not plt.get_fignums()  # nothing is left open, or shown in a notebook
