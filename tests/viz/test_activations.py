"""Activations of one text and of several, of layers and of captures, are the numbers that the page unpacks."""

import base64
import json
import re

import numpy as np
import pytest

from jaxinterp import viz

WORDS = [list("abcd"), list("efg")]


def unpacked(figure: viz.Figure) -> tuple[dict, np.ndarray]:
    """The data of the page, and its activations (layer, unit, token of all texts)."""
    found = re.search(r'<script type="application/json">(.*?)</script>', figure.html, re.S)
    assert found
    data = json.loads(found[1])
    shares = np.frombuffer(base64.b64decode(data["shares"]), "<i2").astype(float)
    shares = np.where(shares == -32768, np.nan, shares / 32767)
    most = np.array(data["most"])
    return data, shares.reshape(*most.shape, -1) * most[..., None]


@pytest.mark.quick
def test_every_form_holds_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 2, 4, 5)) * 10.0 ** rng.integers(-6, 6, size=(3, 1, 1, 5))
    values[1, 0, 2, 3] = np.nan
    mask = np.array([[True] * 4, [True] * 3 + [False]])
    texts = [WORDS[0], [*WORDS[1], "<pad>"]]
    want = np.concatenate([values[:, 0], values[:, 1, :3]], 1).swapaxes(1, 2)
    near = 2e-5 * np.nanmax(np.abs(want), -1)[..., None]
    ragged = [values[:, 0], values[:, 1, :3]]
    for figure in (
        viz.activations(values, texts, mask=mask),
        viz.activations(ragged, WORDS),
        viz.activations({"mlp_post": values}, texts, mask=mask),
    ):
        data, got = unpacked(figure)
        assert data["texts"] == WORDS and data["layers"] == ["0", "1", "2"]
        assert (np.abs(np.nan_to_num(got - want)) <= near).all()
        assert np.isnan(got).sum() == 1
    left = np.roll(values, 1, 2), np.roll(mask, 1, 1), [text[-1:] + text[:-1] for text in texts]
    data, got = unpacked(viz.activations(left[0][:, 1:], left[2][1:], mask=left[1][1:]))
    assert data["texts"] == WORDS[1:] and data["positions"] == [[1, 2, 3]]
    np.testing.assert_allclose(got, want[:, :, 4:], rtol=1e-3, atol=np.nanmax(near))


def test_one_text_and_names() -> None:
    values = np.arange(12.0).reshape(4, 3)
    for given in (values, values[None], values[None, None]):
        data, got = unpacked(viz.activations(given, WORDS[0]))
        np.testing.assert_allclose(got, values.T[None], atol=1e-3)
        assert data["units"] == ["0", "1", "2"] and not data["named"]
    figure = viz.activations(values, WORDS[0], units=[336, 17, "<b>"], selected=1, value="feature <b>")
    data, _ = unpacked(figure)
    assert (
        data["units"] == ["336", "17", "<b>"]
        and "unit 17<" in figure.html
        and "<b>" not in figure.html.replace('<b class="ji-number">', "").split("<script")[0]
    )
    assert 'title="3: 10">d</button>' in figure.html
    # The unit that fires most strongly is shown at first; one number per token is one unit.
    assert "unit 2<" in viz.activations(values, WORDS[0]).html
    assert unpacked(viz.activations(values[:, 0], WORDS[0]))[1].shape == (1, 1, 4)


def test_captures_know_their_layers() -> None:
    """Layers of a capture's name; a batch of one text loses its axis."""
    values = np.random.default_rng(0).normal(size=(3, 1, 4, 2))
    for acts, layers, want in [
        ({"mlp_post[1]": values[1]}, ["1"], values[1:2]),
        ({"mlp_post[3:9:2]": values, "mlp_post[0]": values[0, 0][None]}, ["3", "5", "7", "0"], None),
        ({"mlp_post": values[:, 0]}, ["0", "1", "2"], values),
    ]:
        data, got = unpacked(viz.activations(acts, WORDS[0]))
        assert data["layers"] == layers and got.shape == (len(layers), 2, 4)
        if want is not None:
            np.testing.assert_allclose(got, want[:, 0].swapaxes(1, 2), atol=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: viz.activations(np.zeros((3, 2)), WORDS[0]), r"shapes \[\(1, 3, 2\)\].*\[4\] tokens"),
        (lambda: viz.activations(np.zeros((2, 3)), WORDS), r"\(text, pos, unit\).*\(2, 3\)"),
        (lambda: viz.activations(np.zeros((2, 2, 2, 4, 2)), WORDS[0]), r"of one text; got the shape"),
        (lambda: viz.activations([], []), "at least one token"),
        (lambda: viz.activations(np.zeros((4, 0)), WORDS[0]), "holds 1 to 4,000,000 numbers"),
        (lambda: viz.activations(np.zeros((4, 2)), WORDS[0], selected=2), "got 2"),
        (lambda: viz.activations(np.zeros((4, 2)), WORDS[0], units=["a"]), "each of the 2 units"),
        (lambda: viz.activations(np.zeros((4, 2)), WORDS[0], mask=[True] * 3), "each token"),
        (lambda: viz.activations({"z": 0, "q[1]": 0}, WORDS[0]), r"hold z, q\[1\]. Choose one"),
    ],
)
def test_bad_input_teaches(call, words) -> None:
    with pytest.raises((ValueError, IndexError), match=words):
        call()
