"""Texts of the reader's on the pages of features: given to `browse`, and sent to the local server."""

import http.client
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.sae.features import _browser
from jaxinterp.sae.features._text_reading import STRONGEST, TextReading
from tests import models

from . import browsed
from .browsed import HOSTILE, N
from .test_browser import told
from .test_colab import frames as frames


class Words(browsed.Words):
    """Texts are numbers with blanks between them."""

    def __call__(self, text: str, bos: bool = False) -> Any:
        return np.asarray([int(word) for word in text.split()], np.int32)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, Any]:
    return browsed.made()


@pytest.fixture
def folder(tmp_path: Path, made: Any) -> Path:
    sae, model, read = made
    return ji.sae.browse(
        tmp_path / "f", sae, model, Words(), site="resid_post[0]", read=read, texts="7 8 9", progress=False
    )


def post(page: Any, body: Any, kind: str = "application/json", path: str = "", **headers: str) -> Any:
    """Status and answer of a request to the page's own machine."""
    at = urlsplit(page.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=240)
    body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, at.path + path, body, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text
    finally:
        connection.close()


@pytest.mark.parametrize("name", models.families("gpt2"))
def test_a_text_is_read_as_the_dictionary_reads_it(name: str) -> None:
    """At every token but the first the strongest features are there, with the values of `sae.encode`."""
    model = models.model_of(name)
    d, n = model.config.d, 100
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    sae = ji.sae.Standard(d=d, features=n).dictionary(
        encoder=draw(d, n),
        decoder=draw(n, d),
        bias=draw(d),
        encoder_bias=draw(n),
        scale=jnp.float32(0.5),
    )
    site, features = "resid_post[1]", np.arange(n)[::-1]
    reading = TextReading(sae, model, Words(), site, features)
    for text in ("3 7 11 2 9", "5 7 1"):  # both in the bucket of 8
        found = reading(text)
        ids = Words()(text)
        f = np.asarray(sae.encode(ji.run(model, ids, capture=[site])[1][site]))[:, features]
        at = dict(zip(found["features"], found["values"], strict=True))
        for place, flat in at.items():
            own = dict(zip(flat[::2], flat[1::2], strict=True))
            assert sorted(own) == [i for i in range(1, len(ids)) if f[i, place] != 0]
            for i, value in own.items():
                np.testing.assert_allclose(value, f[i, place], rtol=2e-3)
        for i in range(1, len(ids)):
            strongest = [j for j in np.argsort(-f[i], kind="stable")[:STRONGEST] if f[i, j] > 0]
            assert set(strongest) <= set(at) and len(strongest) > 20
    assert reading("7 7")["tokens"] == [HOSTILE.replace("\u2028", "⟨U+2028⟩")] * 2


def test_texts_that_cannot_be_read(made: Any) -> None:
    sae, model, read = made
    reading = TextReading(sae, model, Words(), "resid_post[0]", read.features)
    with pytest.raises(ValueError, match="write more than one"):
        reading("8")
    with pytest.raises(ValueError, match="9 tokens, and the model reads 8"):
        reading("8 " * 9)
    with pytest.raises(ValueError, match="is a str; got"):
        reading(3)  # type: ignore[arg-type]
    wild = TextReading(sae, jax.tree.map(lambda x: x * jnp.nan, model), Words(), "resid_post[0]", [1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        wild("8 9")


def test_the_server_reads_texts_and_sends_its_files_alone(folder: Path, made: Any) -> None:
    sae, model, _ = made
    with ji.sae.serve(folder, sae, model, Words(), site="resid_post[0]") as pages:
        assert urlsplit(pages.url).hostname == "127.0.0.1" and not pages.wait(0)
        status, page = post(pages, None)
        assert status == 200 and '<body class="ji fb" data-live>' in page
        data = next(folder.glob("data-*"))
        for file in data.iterdir():
            status, text = post(pages, None, path=f"{data.name}/{file.name}")
            assert status == 200 and text == file.read_text("ascii")
        status, found = post(pages, {"text": "7 8 9"})
        (given,) = told(data / "summary.js")["texts"]
        assert status == 200 and found == given and len(found["features"]) > 3
        for wrong, said in (
            ({"text": "8"}, "write more than one"),
            ({"text": "a b"}, "invalid literal"),
            ({"text": 3}, 'JSON: {"text"'),
            ([], 'JSON: {"text"'),
            (b"{", "Expecting"),
            (b"[" * 60_000, ""),
        ):
            status, answer = post(pages, wrong)
            assert status == 400 and said in answer["error"]
        for path in (
            "../jaxinterp-features.json",
            "jaxinterp-features.json",
            "index.html",
            f"{data.name}/../index.html",
            f"{data.name}/",
            "..%2findex.html",
            str(folder / "index.html"),
        ):
            assert post(pages, None, path=path)[0] == 404, path
            assert post(pages, {"text": "7 8"}, path=path)[0] in (404,), path
        assert post(pages, {"text": "7 " * 40_000})[0] == 413
        assert post(pages, {"text": "7 8"}, kind="text/plain")[0] == 415  # what a foreign page may send
        assert post(pages, None, Host="evil.example")[0] == 421
    assert pages.wait(0)
    with pytest.raises(OSError):
        post(pages, None)


def test_a_port_is_one_that_can_be_listened_on(folder: Path, made: Any) -> None:
    sae, model, _ = made
    serve = lambda port: ji.sae.serve(folder, sae, model, Words(), site="resid_post[0]", port=port)
    with serve(0) as pages:
        port = urlsplit(pages.url).port
        with pytest.raises(OSError, match=rf"port {port} of this machine.*the port 0"):
            serve(port)
        assert post(pages, None)[0] == 200
    with serve(port) as again:  # a port is free as soon as the page is closed
        assert urlsplit(again.url).port == port and again.url != pages.url
    for wrong in (65536, -1, "8000", 80.5):
        with pytest.raises(ValueError, match="port is an int"):
            serve(wrong)


def test_pages_of_another_dictionary_are_refused(folder: Path, made: Any, tmp_path: Path) -> None:
    sae, model, _ = made
    other = ji.sae.Standard(d=4, features=N + 1).init(jax.random.key(0))
    with pytest.raises(ValueError, match="a dictionary with 40 features; this one has 41"):
        ji.sae.serve(folder, other, model, Words(), site="resid_post[0]")
    with pytest.raises(FileNotFoundError, match="no pages of features in"):
        ji.sae.serve(tmp_path, sae, model, Words(), site="resid_post[0]")


def test_browse_shows_one_document_in_colab(
    frames: list[tuple[int, str]], made: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    sae, model, read = made
    shown: list[Any] = []
    display: Any = ModuleType("IPython.display")
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    options: dict[str, Any] = {"site": "resid_post[0]", "read": read, "progress": False}
    path = ji.sae.browse(tmp_path / "f", sae, model, Words(), **options)
    single = ji.sae.browse(tmp_path / "f.html", sae, model, Words(), **options)
    assert (path / "index.html").is_file() and len(shown) == 2 and not frames
    document = single.read_text()
    for figure in shown:
        frame = Frame(figure._repr_html_())
        assert frame.found == [document]  # as a browser reads the attribute
    monkeypatch.setattr(_browser, "MOST_FRAMED", 1000)
    with pytest.warns(UserWarning, match=r"too much for a cell.*ji\.sae\.serve"):
        ji.sae.browse(tmp_path / "f", sae, model, Words(), **options)
    assert len(shown) == 2
    with ji.sae.serve(path, sae, model, Words(), site="resid_post[0]") as pages:
        ((port, place),) = frames
        assert pages.url == f"http://127.0.0.1:{port}{place}"
        assert post(pages, None, Host="1.prod.colab.dev")[0] == 200


class Frame(HTMLParser):
    """The documents of frames."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "iframe":
            self.found.append(dict(attrs)["srcdoc"])
