"""Figures hold their numbers, escape every text and need no network."""

import base64
import functools
import html.parser
import json
import re
import struct
import zlib

import numpy as np
import pytest

from jaxinterp import viz

NASTY = [
    '<script>alert("x")</script>',
    "</title>",
    "&amp;",
    "'\"",
    "\n",
    "\x00\x1b[31m",
    "\u202e",
    "\ud800",
    " Mr",
]
SCRIPTED = ("attention", "attention_text", "activations")
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}


class Checker(html.parser.HTMLParser):
    """Every tag is closed in order; collects texts, tags and the addresses that a browser would load."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags, self.loads = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "action", "xlink:href", "srcset") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in checker.loads)
    # The only http is the name of the SVG namespace, which nothing fetches.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and "url(" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", text)
    return checker


@functools.cache
def figures():
    n = len(NASTY)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, n))
    top = np.array([[[NASTY[(i + j + k) % n] for k in range(2)] for j in range(n)] for i in range(3)], object)
    probs = np.sort(rng.random((3, n, 2)))[..., ::-1]
    words = {"title": NASTY[0], "caption": NASTY[1]}
    return {
        "heatmap": viz.heatmap(
            values,
            rows=NASTY[:3],
            cols=NASTY,
            axis_names=(NASTY[0], NASTY[3]),
            value=NASTY[2],
            title=NASTY[0],
            settings=viz.HeatmapSettings(caption=NASTY[1]),
        ),
        "heatmaps": viz.heatmaps(
            {NASTY[0]: values, NASTY[1]: -values},
            rows=NASTY[:3],
            cols=NASTY,
            marks={NASTY[1]: values > 0},
            interval={NASTY[0]: (values - 1, values)},
            value=NASTY[0],
            title=NASTY[0],
            settings=viz.HeatmapSettings(mark=NASTY[2], caption=NASTY[1]),
        ),
        "lens_table": viz.lens_table(
            NASTY,
            top,
            probs,
            layers=NASTY[:3],
            title=NASTY[0],
            settings=viz.HeatmapSettings(caption=NASTY[1]),
        ),
        "lens_table by values": viz.lens_table(
            NASTY, top, probs, layers=NASTY[:3], values=values, value=NASTY[0], title=NASTY[0]
        ),
        "attention": viz.attention(np.full((3, n, n), 1 / n), NASTY, heads=NASTY[:3], **words),
        "attention_text": viz.attention_text(
            np.full((2, 3, n, n), 1 / n), NASTY, heads=NASTY[:3], layers=NASTY[:2], **words
        ),
        "activations": viz.activations(
            [values.T, values.T], [NASTY, NASTY], units=NASTY[:3], value=NASTY[0], **words
        ),
        "records": viz.records([dict.fromkeys(NASTY, NASTY[0]), {NASTY[1]: 0.5}], **words),
        "token_strip": viz.token_strip(NASTY, values[0], value=NASTY[0], **words),
        "contexts": viz.contexts(
            [(NASTY[0], NASTY, values[0]), (NASTY[1], NASTY[:2], values[1][:2])], value=NASTY[0], **words
        ),
        "histogram": viz.histogram(
            {NASTY[0]: [1, 0, 3], NASTY[5]: [0, 2, 2]},
            [0, 1, 2, 3],
            marks={NASTY[0]: 2},
            x_axis=NASTY[1],
            y_axis=NASTY[0],
            **words,
        ),
        "lines": viz.lines(
            {NASTY[0]: values[0], NASTY[5]: values[1]},
            marks={NASTY[0]: 2},
            bands={NASTY[0]: (values[0] - 1, values[0])},
            x_axis=NASTY[1],
            y_axis=NASTY[0],
            **words,
        ),
        "table": viz.table(NASTY, [NASTY], **words),
    }


@pytest.mark.parametrize("name", list(figures()))
def test_every_text_is_escaped(name, tmp_path):
    figure = figures()[name]
    for text in [
        figure._repr_html_(),
        figure.save(tmp_path / "f.html").read_text(encoding="utf-8"),
    ]:
        tags = check(text).tags
        assert tags.count("script") == 1 + (name in SCRIPTED)
        assert "<script>alert" not in text
    if figure.svg is not None:
        drawing = figure.save(tmp_path / "f.svg").read_text(encoding="utf-8")
        check(drawing)
        assert drawing.startswith("<svg xmlns=")
        import xml.etree.ElementTree

        xml.etree.ElementTree.fromstring(drawing)


def test_a_figure_brings_the_scripts_that_it_needs():
    made = figures()
    for name, mark in [
        ("attention", "Uint16Array"),
        ("attention_text", "Uint16Array"),
        ("activations", "Int16Array"),
    ]:
        assert mark in made[name]._repr_html_() and mark not in made["heatmap"]._repr_html_()
        assert mark in viz.page("x", [viz.Chapter("", [made["heatmap"], made[name]])])
    # What has the focus tells JupyterLab to leave it the arrow keys.
    assert "data-lm-suppress-shortcuts" in made["heatmap"]._repr_html_()


@pytest.mark.quick
def test_page_is_one_document_with_contents():
    chapters = [
        viz.Chapter(f"{NASTY[0]} {i}", [NASTY[0], "a `code <b>` here", *figures().values()]) for i in range(2)
    ]
    text = viz.page(NASTY[0], chapters, summary=NASTY[0], footer="`x`")
    checker = check(text)
    assert text.startswith("<!DOCTYPE html>")
    assert checker.tags.count("section") == 2 and checker.tags.count("h1") == 1
    assert "<code>code &lt;b&gt;</code>" in text
    anchors = [load[1:] for load in checker.loads if load.startswith("#")]
    assert len(anchors) == 2 and all(f'id="{anchor}"' in text for anchor in anchors)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.quick
def test_heatmap_shows_its_numbers_and_says_them():
    figure = viz.heatmap(
        np.array([[0.25, -1.5], [np.nan, 12345.0]]),
        rows=["a", "b"],
        cols=[" x", "y"],
        axis_names=("layer", "token"),
    )
    text = "".join(check(figure._repr_html_()).text)
    for words in [
        "layer a, token ·x: 0.25",
        "layer a, token y: −1.5",
        "layer b, token ·x: no value",
        "layer b, token y: 12345",
    ]:
        assert words in text
    assert "Largest 12345 at layer b, token y; smallest −1.5 at layer a, token y." in figure.html


def test_heatmap_scale():
    from jaxinterp.viz._colour import scale

    assert (scale([1.0, 3.0]).low, scale([1.0, 3.0]).diverging) == (0.0, False)
    both = scale([-1.0, 3.0])
    assert (both.low, both.high, both.diverging) == (-3.0, 3.0, True)
    assert both.mark(0.0).percent == 0.0 and both.mark(3.0).percent == 100.0 and both.mark(-3.0).side == "low"
    assert scale([2.0, 2.0], limits=(0, 1)).mark(2.0).percent == 100.0
    assert scale([0.0, 0.0]).mark(0.0).percent == 0.0
    assert scale([np.nan]).mark(np.nan).side == "none"
    assert scale([1.0, 2.0], True).low == -2.0
    with pytest.raises(ValueError, match="low < high"):
        scale([1.0], limits=(1, 1))


def test_marks_and_intervals_are_told():
    values = np.array([[0.5, -2.0], [np.nan, 1.0]])
    marks = np.array([[True, False], [False, True]])
    figure = viz.heatmap(
        values,
        marks=marks,
        interval=(values - 0.25, values + 1),
        settings=viz.HeatmapSettings(mark="p < 0.05"),
    )
    text = "".join(check(figure._repr_html_()).text)
    for words in [
        "row 0, column 0: 0.5 (0.25 to 1.5), p < 0.05",
        "row 0, column 1: −2 (−2.25 to −1)",
        "row 1, column 0: no value (no value to no value)",
        "• p < 0.05",
        "0.5 *",
    ]:
        assert words in text
    assert figure.svg.count("<circle") == 2
    assert "Of 4 cells 2 are p &lt; 0.05." in figure.svg
    assert "<circle" not in viz.heatmap(values).svg and "•" not in viz.heatmap(values).html


def test_panels_share_one_scale():
    import xml.etree.ElementTree

    one, two = np.array([[1.0, 2.0]]), np.array([[4.0, -1.0]])
    figure = viz.heatmaps({"a": one, "b": two}, rows=["r"], cols=["x", "y"])
    drawing = xml.etree.ElementTree.fromstring(figure.svg)
    space = "{http://www.w3.org/2000/svg}"
    rects = [r for r in drawing.iter(f"{space}rect") if r.find(f"{space}title") is not None]
    tips = [r.find(f"{space}title").text for r in rects]
    assert tips == [
        "a, row r, column x: 1",
        "a, row r, column y: 2",
        "b, row r, column x: 4",
        "b, row r, column y: −1",
    ]
    alone = viz.heatmap(
        np.concatenate([one, two]), settings=viz.HeatmapSettings(diverging=True, limits=(-4, 4))
    ).svg
    for rect in rects:
        assert f'fill="{rect.get("fill")}"' in alone
    lefts = [float(r.get("x")) for r in rects]
    assert lefts == sorted(lefts) and lefts[2] - lefts[1] > float(rects[0].get("width"))
    assert float(drawing.get("width")) > lefts[-1] + float(rects[0].get("width"))


def test_lens_table_by_values():
    figure = viz.lens_table(["a", "b"], [["x", "y"]], [[0.5, 0.25]], values=[[0.0, 4.0]], value="KL (nats)")
    assert 'title="0, position 1 (b)&#10;KL (nats): 4&#10;0.25  y"' in figure.html
    assert "--v:0.0%" in figure.html and "--v:100.0%" in figure.html
    assert "<span>KL (nats) 0</span>" in figure.html and "<span>4</span>" in figure.html


@pytest.mark.quick
def test_bands_are_drawn_and_told():
    band = np.array([0.0, 1.0, np.nan, 0.0]), np.array([2.0, 3.0, np.nan, 1.0])
    figure = viz.lines({"a": [1.0, 2.0, 3.0, 0.5]}, bands={"a": band})
    assert "a, x 1: 2 (1 to 3)" in figure.svg
    (outline,) = re.findall(r'<path d="([^"]*)" fill="#0b5eaa"', figure.svg)
    assert outline.count("M") == 2 and outline.count("Z") == 2, "a missing end breaks the band"
    assert "fill-opacity" not in viz.lines({"a": [1.0, 2.0]}).svg


def test_lens_table_keeps_guesses_in_order():
    figure = viz.lens_table(
        [" a", "b"], [[["x", "y"], ["z", "w"]]], [[[0.9, 0.05], [0.5, 0.25]]], layers=["layer 0"]
    )
    assert 'title="layer 0, position 0 (·a)&#10;0.9  x&#10;0.05  y"' in figure.html
    assert "0.25  w" in figure.html and "ji-strong" in figure.html
    viz.lens_table(["a"], [["x"]], [[0.5]])


def test_attention_data_and_picture():
    pattern = np.tril(np.ones((2, 3, 3))) / np.arange(1, 4)[None, :, None]
    pattern[1] = np.eye(3)
    figure = viz.attention(pattern, ["a", "</script>", "c"], heads=["0.0", "0.1"])
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', figure.html, re.S)[1])
    assert data["tokens"][1] == "</script>" and data["causal"]
    shares = np.frombuffer(base64.b64decode(data["weights"]), "<u2") / 65534
    np.testing.assert_allclose(shares.reshape(2, 6)[0], [1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3], atol=1e-5)
    assert figure.html.index('aria-pressed="true"') > figure.html.index("0.0</span>"), (
        "the sharpest head is chosen"
    )
    from jaxinterp.viz._packed import png

    file = base64.b64decode(png(pattern[0]).split(",")[1])
    width, height = struct.unpack(">II", file[16:24])
    start = file.index(b"IDAT") + 4
    pixels = zlib.decompress(file[start : start + struct.unpack(">I", file[start - 8 : start - 4])[0]])
    alpha = np.frombuffer(pixels, np.uint8).reshape(height, 1 + 4 * width)[:, 4::4]
    assert alpha.tolist() == [[255, 0, 0], [128, 128, 0], [85, 85, 85]]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: viz.heatmap(np.zeros(3)), r"matrix \(row, col\).*\(3,\)"),
        (lambda: viz.heatmap(np.zeros((0, 3))), "at least one cell"),
        (
            lambda: viz.heatmap(np.zeros((2, 3)), cols=["a"]),
            "cols holds one label for each of the 3 cols.*got 1",
        ),
        (
            lambda: viz.heatmap(np.zeros((2, 3)), marks=np.zeros(3, bool)),
            r"marks holds one entry .*\(2, 3\).*\(3,\)",
        ),
        (
            lambda: viz.heatmap(np.zeros((2, 3)), marks=np.zeros((2, 3))),
            "marks=p < 0.05; got float64",
        ),
        (lambda: viz.heatmap(np.zeros((2, 3)), interval=(np.zeros((2, 3)), None)), "two ends"),
        (lambda: viz.heatmap([[1.0]], interval=([[2.0]], [[1.0]])), "low > high"),
        (lambda: viz.heatmaps([[1.0]]), r"named matrices.*heatmap\(values\). Got list"),
        (lambda: viz.heatmaps({}), "Got dict without entries"),
        (
            lambda: viz.heatmaps({"a": [[1.0]], "b": [[1.0, 2.0]]}),
            r"one shape; got .*'b': \(1, 2\)",
        ),
        (
            lambda: viz.heatmaps({"a": [[1.0]]}, marks={"b": [[True]]}),
            "names 'b', which is no panel",
        ),
        (lambda: viz.lens_table(["a"], [["x"]], [[0.1]], values=[0.1]), r"\(1, 1\); got \(1,\)"),
        (
            lambda: viz.lines({"a": [1.0]}, bands={"b": ([0.0], [1.0])}),
            "names 'b', which is no series",
        ),
        (lambda: viz.lines({"a": [1.0]}, bands={"a": ([2.0], [1.0])}), "low <= high"),
        (lambda: viz.lens_table(["a"], [["x", "y"]], [[0.1, 0.2]]), "one position per token"),
        (
            lambda: viz.attention(np.zeros((2, 3, 3)), ["a"]),
            r"one query and one key per token.*\(2, 3, 3\) and 1 tokens",
        ),
        (lambda: viz.attention(np.zeros((2, 1, 1)), ["a"], selected=2), "one of the 2 heads"),
        (lambda: viz.token_strip(["a"], [1.0, 2.0]), "one value per token; got 1 tokens"),
        (lambda: viz.lines({"a": [1.0], "b": [1.0, 2.0]}), "one length"),
        (lambda: viz.table(["a"], [[1, 2]]), "one value for each of the 1 columns"),
        (lambda: viz.write("/nowhere/at/all/x.html", ""), "no folder.*Create it first"),
        (lambda: viz.table(["a"], [[1]]).save("x.svg"), "save it as HTML"),
        (lambda: viz.table(["a"], [[1]]).save("x.png"), r"save it as HTML: save\('x.html'\)"),
        (lambda: viz.token_strip(["a"], [1.0]).save("x.PDF"), "save it as HTML"),
        (
            lambda: viz.heatmap(np.eye(2)).save("x.txt"),
            r"\.html, or as a picture.*save\('x.html'\)",
        ),
        (lambda: viz.heatmap(np.eye(2)).save("x"), r"save\('x.html'\)"),
        (lambda: viz.write("x.png", viz.page("x", [])), r"page.*is HTML.*Write it to 'x.html'"),
        (
            lambda: viz.write("x.html", viz.heatmap(np.eye(2)).svg),
            "SVG drawing: write it to 'x.svg'",
        ),
        (
            lambda: viz.heatmap(np.eye(2)).save("/nowhere/at/all/x.png"),
            "no folder.*Create it first",
        ),
    ],
)
def test_bad_input_teaches(call, words):
    with pytest.raises((ValueError, IndexError, FileNotFoundError), match=words):
        call()


def test_visible():
    assert viz.visible(" a b\n") == "·a b↵"
    assert viz.visible("  ") == "··"
    assert viz.visible("\x00\t\u202e") == "␀→⟨U+202E⟩"
    assert viz.visible("日本") == "日本"


def test_numbers_and_ticks():
    from jaxinterp._text import number
    from jaxinterp.viz._ticks import ticks

    assert [number(v) for v in (0, 0.12345, -2.0, 1234.5, 1e-9, float("inf"))] == [
        "0",
        "0.123",
        "−2",
        "1234",
        "1e−09",
        "∞",
    ]
    assert ticks(0, 9.3) == [0, 2, 4, 6, 8, 10]
    assert ticks(0, 0)[0] <= 0 < ticks(0, 0)[-1]


def test_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = viz.write(tmp_path / "a.html", "old")
    with pytest.raises(UnicodeEncodeError):
        viz.write(path, "\ud800")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.html"]
