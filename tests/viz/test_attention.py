"""Attention takes what a run captures: of one head, of heads, of layers, and without padding."""

import base64
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import viz
from jaxinterp.viz._pattern import read_pattern

WORDS = list("abcde")


@pytest.fixture(scope="module")
def acts() -> ji.Acts:
    config = ji.models.GPT2Config(vocab=11, ctx=8, d=8, layers=3, heads=2)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    tokens = jnp.array([[3, 1, 4, 1, 5]])
    return ji.run(model, tokens, capture=["pattern", "pattern[1]", "pattern[1:]", "z"])[1]


def data_of(figure: viz.Figure) -> dict:
    found = re.search(r'<script type="application/json">(.*?)</script>', figure.html, re.S)
    assert found
    return json.loads(found[1])


def weights_of(figure: viz.Figure) -> np.ndarray:
    """The weights (head, query, key) as the page's script unpacks them."""
    data = data_of(figure)
    shares = np.frombuffer(base64.b64decode(data["weights"]), "<u2").astype(float)
    shares = np.where(shares == 65535, np.nan, shares / 65534)
    size, heads = len(data["tokens"]), len(data["names"])
    if not data["causal"]:
        return shares.reshape(heads, size, size)
    out = np.zeros((heads, size, size))
    out[:, np.tril(np.ones((size, size), bool))] = shares.reshape(heads, -1)
    return out


@pytest.mark.quick
@pytest.mark.parametrize("draw", [viz.attention, viz.attention_text])
def test_what_a_run_captures_is_drawn(acts: ji.Acts, draw) -> None:
    pattern = np.asarray(acts["pattern"])[:, 0]
    for given, want, names in [
        (ji.Acts({"pattern": acts["pattern"]}), pattern, ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]),
        (ji.Acts({"pattern[1]": acts["pattern[1]"]}), pattern[1:2], ["1.0", "1.1"]),
        (
            ji.Acts({"pattern[1:]": acts["pattern[1:]"], "z": acts["z"]}),
            pattern[1:],
            ["1.0", "1.1", "2.0", "2.1"],
        ),
        (acts["pattern"], pattern, ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]),
        (pattern[2], pattern[2:], ["0", "1"]),
        (pattern[2, 1], pattern[2:, 1:], ["0"]),
    ]:
        figure = draw(given, WORDS)
        assert data_of(figure)["names"] == names and data_of(figure)["causal"]
        np.testing.assert_allclose(weights_of(figure), want.reshape(-1, 5, 5), atol=1e-5)
    named = draw(pattern, WORDS, layers=[4, 9, 11], heads=["x", "y"], selected=(2, 1))
    assert data_of(named)["names"][-1] == "11.y"
    assert named.html.count('aria-pressed="true" data-layer="11"') == 1


def test_padding_is_left_out() -> None:
    rng = np.random.default_rng(0)
    inner = np.tril(rng.dirichlet(np.ones(3), size=(2, 3)))
    for left in (0, 1, 2):
        mask = np.zeros(5, bool)
        mask[left : left + 3] = True
        padded = np.full((2, 5, 5), np.nan)
        padded[np.ix_([0, 1], mask, mask)] = inner
        read = read_pattern(padded, WORDS, mask=mask)
        np.testing.assert_array_equal(read.weights, inner)
        assert read.tokens == WORDS[left : left + 3] and read.positions == [left, left + 1, left + 2]
        figure = viz.attention_text(padded, WORDS, mask=mask[None])
        np.testing.assert_allclose(weights_of(figure), inner, atol=1e-5)
        assert data_of(figure)["positions"] == read.positions


def test_other_weights_stay_what_they_are() -> None:
    both_ways = np.full((1, 2, 2), 0.25)
    both_ways[0, 1, 0] = np.nan
    figure = viz.attention_text(both_ways, ["a", "b"])
    assert not data_of(figure)["causal"]
    np.testing.assert_allclose(weights_of(figure), both_ways, atol=1e-5)
    # Before the script runs the last token and what it attends to are shown.
    assert 'title="1: 0.25">b</button>' in figure.html and 'title="0: no value">a</button>' in figure.html


def test_many_heads_make_a_page_of_bearable_size() -> None:
    weights = np.tril(np.random.default_rng(0).dirichlet(np.ones(32), size=(12, 12, 32)))
    figure = viz.attention_text(weights, ["a"] * 32, selected=(3, 7))
    assert len(figure.html) < 450_000 and figure.picture is not None and figure.picture.panels == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: viz.attention_text(np.zeros((2, 3, 3)), ["a"]), r"one query and one key per token"),
        (
            lambda: viz.attention(np.zeros((2, 2, 4, 1, 1)), ["a"]),
            r"choose one prompt first: acts\['pattern'\]\[:, 0\]",
        ),
        (lambda: viz.attention({"z": np.zeros(3)}, ["a"]), r"hold no 'pattern'; they hold z. Capture it"),
        (lambda: viz.attention(np.zeros((1, 1)), ["a"], mask=[False]), "some are"),
        (
            lambda: viz.attention_text(np.zeros((2, 1, 1)), ["a"], selected=2),
            "one of the 2 heads given; got 2",
        ),
        (
            lambda: viz.attention_text(np.zeros((2, 2, 1, 1)), ["a"], selected=(1, 2)),
            r"4 heads given; got \(1, 2\)",
        ),
        (lambda: viz.attention(np.zeros((2, 1, 1)), ["a"], heads=["x"]), "one label for each of the 2 heads"),
        (lambda: viz.attention(np.zeros((600, 100, 100)), ["a"] * 100), "at most 4,000,000 weights"),
    ],
)
def test_bad_input_teaches(call, words) -> None:
    with pytest.raises((ValueError, IndexError), match=words):
        call()
