"""The page of the tour: the code of each figure makes it, each chapter says what it asks, and no markup leaks."""

import ast
import html
import re
from html.parser import HTMLParser

import pytest

import jaxinterp as ji
from jaxinterp import tour
from jaxinterp.tour import CodedFigure, _chapter, _dictionary, _paths, _shown, _tour, first_lines


def test_page_holds_every_figure_and_loads_nothing(told):
    findings, _, page = told
    figures = [block for finding in findings for block in finding.body if not isinstance(block, str)]
    coded = [block for block in figures if isinstance(block, CodedFigure)]
    assert page.count('<figure class="ji-figure">') == len(figures) >= 20
    assert page.count('<details class="ji-code"') == len(coded) >= 15
    assert all(any(isinstance(block, CodedFigure) for block in finding.body) for finding in findings)
    drawn = [block for block in figures if not isinstance(block, tour.Table)]
    assert drawn == coded  # each picture has its code; tables are of the numbers beside them
    assert page.count("<html") == 1
    loads = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert loads and all(load.startswith(("#", "data:image/png;base64,")) for load in loads)
    assert len(page) < 3_000_000


def test_the_code_of_every_figure_makes_that_figure(told):
    """As a reader runs it: the first lines of the page, then what a chapter shows, from above."""
    findings, _, page = told
    begin = re.search(r"ji\.load\((.*?)\)", html.unescape(page))[1]
    same_figures(findings, first_lines(ast.literal_eval(begin)))


def same_figures(findings, begin):
    """Runs the code of each chapter below the first lines, and compares its figures with those of the chapter."""
    given = {}
    exec(begin, given)
    for finding in findings:
        names = dict(given)
        for block in finding.body:
            if isinstance(block, CodedFigure):
                exec(block.code, names)
                assert names["figure"] == block.figure, block.title


def test_each_chapter_asks_and_says_what_its_figures_show(told):
    findings, printed, page = told
    words = html.unescape(page)
    for finding in findings:
        assert re.fullmatch(r"[A-Z][^.?!]*\?", finding.question), finding.question
        assert re.fullmatch(r"The [^.?!]*\.", finding.shows), finding.shows
        assert f"<p>{finding.question} {finding.shows}</p>" in words
        assert finding.question in re.sub(r"\s+", " ", printed)
        assert f"{finding.title}</a></li>" in page
    questions = [finding.question for finding in findings]
    assert len(set(questions)) == len(questions)


PLAIN = ("script", "style", "pre", "code", "td", "svg", "button", "option")
"Where text is code, or is written by the model."


class Words(HTMLParser):
    """Running text of a page, without code and without what a model writes."""

    def __init__(self):
        super().__init__()
        self.inside, self.found = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "wbr", "img", "input", "link"):
            css = dict(attrs).get("class") or ""
            self.inside.append("td" if "ji-fill" in css or "ji-tok" in css else tag)

    def handle_endtag(self, tag):
        if self.inside and tag not in ("meta", "br", "wbr", "img", "input", "link"):
            self.inside.pop()

    def handle_data(self, data):
        if not set(self.inside) & set(PLAIN):
            self.found.append(data)


def leaks(page):
    words = Words()
    words.feed(page)
    assert sum(map(len, words.found)) > 50
    return [text for text in words.found if re.search(r"`|\*\*|\]\(|\b_\w+_\b|^#+ ", text)]


def test_no_markdown_reaches_the_page(told):
    _, printed, page = told
    assert not leaks(page)
    assert "`ji." not in printed  # tables hold what a model writes, which may be any character
    # A token of backticks in a paragraph does not end its code.
    told = tour.Finding(
        "T", "Q?", "The figure.", [f"It says {_chapter.code(' ``x')} here, " + "word " * 20], {}
    )
    shown = _tour.document("m", [told], [], 0.0)
    assert not leaks(shown) and "<code>·ˋˋx</code> here" in shown
    assert leaks("<p>" + "word " * 20 + "a `b` c</p>") and leaks("<p>" + "word " * 20 + "**b**</p>")


INDEX = {
    "layer",
    "layers read",
    "head",
    "token",
    "position",
    "neuron",
    "kind",
    "edges taken",
    "heads left clean",
}
"Axes that count or name, and have no unit."


def test_axes_and_scales_say_what_they_are_and_in_which_unit(told):
    findings, _, _ = told
    seen = 0
    for block in (block for finding in findings for block in finding.body if isinstance(block, CodedFigure)):
        picture = getattr(block.figure, "picture", None)
        if picture is None:
            continue
        named = picture.options
        labels = [named[key] for key in ("x_axis", "y_axis") if key in named]
        labels += [*named["axis_names"], named["value"]] if "axis_names" in named else []
        for label in labels:
            assert label in INDEX or "(" in label or "share of" in label, (block.title, label)
        seen += bool(labels)
    assert seen >= 12


@pytest.mark.quick
def test_code_is_cut_out_of_the_lines_that_ran():
    def chapter():
        # <one>
        values = [[low, 1.0]]
        # </one>
        # <two>
        figure = ji.viz.heatmap(values, value="share")
        # </two>
        return figure

    low = 0.5
    block = _shown.shown(chapter, "one two", chapter(), low=low)
    assert block.code == (
        'low = 0.5\nvalues = [[low, 1.0]]\nfigure = ji.viz.heatmap(values, value="share")\n'
    )
    drawn, code = block.blocks("import jaxinterp as ji\n")
    assert (
        drawn == block.figure
        and "import jaxinterp as ji\nlow = 0.5" in code.html
        and "data-first" in code.html
    )
    with pytest.raises(ValueError, match="has the line '# <three>' once; found 0"):
        _shown.shown(chapter, "three", chapter())


@pytest.mark.slow
def test_the_chapters_of_the_embedded_model_alone():
    """Code and findings of those chapters that the random model leaves out."""
    model, tokenizer = ji.load("tiny")
    found = [each.chapter(model, tokenizer) for each in (_paths, _dictionary)]
    same_figures(found, first_lines("tiny"))
