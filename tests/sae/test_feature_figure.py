"""The figure of one feature: its numbers are those of what was read, and text stays text."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import jaxinterp as ji

from . import browsed
from .browsed import HOSTILE, Words


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return browsed.made()


class Closed(HTMLParser):
    """Every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[Any] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("br", "wbr", "meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_figure_shows_what_was_read(made: Any) -> None:
    sae, model, read = made
    weights = ji.sae.logit_weights(sae, model, "resid_post[0]")
    figure = ji.sae.feature_figure(read, Words(), np.int64(5), weights=weights, explanation=HOSTILE, top=2)
    text = unescape(re.sub("<[^>]*>", " ", figure.html))
    assert f"{ji.viz.number(100 * read.density[5])}% of 1000 tokens" in text
    records = [each for each in read.records(Words(), 5) if each["interval"] is None]
    assert len(records) == 3 and "Top contexts" in text
    assert figure.html.count('<p class="ji-strip"') == 2  # top=2
    for each in records[:2]:
        assert ji.viz.number(each["activation"]) in text
    ends = weights.records(Words(), 5, 2)
    for each in ends:
        assert ji.viz.visible(each["token"]) in text and ji.viz.number(each["weight"]) in text
    counts, _ = read.histogram(5)
    assert figure.html.count("<circle") == int((counts > 0).sum())
    assert "Explanation" in text and "<img" not in figure.html and "<script" not in figure.html
    assert not Closed(figure.html).addresses
    assert Closed(figure._repr_html_())


def test_a_dead_feature_and_wrong_calls(made: Any) -> None:
    sae, model, read = made
    dead = ji.sae.feature_figure(read, None, 3)
    assert "never fires on these 1000 tokens" in dead.html and "Top contexts" not in dead.html
    part = ji.sae.logit_weights(sae, model, "resid_post[0]", [1, 2])
    with pytest.raises(ValueError, match=r"weights belong to the 40 features of found; these are of 2"):
        ji.sae.feature_figure(read, None, 1, weights=part)
    with pytest.raises(IndexError, match="not among the 40"):
        ji.sae.feature_figure(read, None, 40)
    with pytest.raises(ValueError, match="top=1 or more"):
        ji.sae.feature_figure(read, None, 1, top=0)
