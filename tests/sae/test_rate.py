"""The blind study through real requests: what the page shows, what it refuses, what it keeps."""

import html
import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.data._lines import BadRecords
from jaxinterp.sae.evaluation._rubric import checked

HOSTILE = "</script><img src=x onerror=alert(1)>"
FORM = {
    "interpretation": "é <b>",
    "confidence": "3",
    "activations": "4",
    "logits": "2",
    "separation": "1",
    "specificity": "1",
}


class Words:
    """Strings of made-up tokens, one of them hostile."""

    def tokens(self, ids: Any) -> list[str]:
        return [HOSTILE if i == 7 else f"t{i}" for i in np.asarray(ids)]


@pytest.fixture(scope="module")
def given() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    config = ji.models.GPT2Config(vocab=30, ctx=12, layers=1, d=8, heads=2)
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0)))
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    model = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
    sae = ji.sae.Standard(d=8, features=8).dictionary(
        encoder=draw(8, 8),
        decoder=draw(8, 8),
        bias=draw(8),
        encoder_bias=draw(8),
        scale=jnp.float32(1),
    )
    groups = {
        "features": (sae, "resid_post[0]"),
        "neurons": (ji.sae.Neurons(8), "resid_mid[0]"),
    }
    tokens = rng.integers(0, 30, (40, 12), dtype=np.int32)
    tokens[:, ::3] = 7
    return groups, model, tokens


@pytest.fixture
def study(tmp_path: Path, given: Any) -> Path:
    groups, model, tokens = given
    return ji.sae.rating_study(
        tmp_path / "study",
        groups,
        model,
        Words(),
        tokens,
        units=3,
        parts=2,
        key=jax.random.key(0),
        progress=False,
    )


def ask(page: Any, path: str | None = None, form: Any = None, **headers: str) -> tuple[int, Any, str]:
    """A request to the page's own machine: status, headers, text."""
    at = urlsplit(page.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=240)
    path = at.path if path is None else path
    body = None if form is None else form if isinstance(form, bytes) else urlencode(form)
    if body is not None:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    try:
        connection.request("GET" if form is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def action(text: str) -> str:
    found = re.search(r'action="([^"]+)"', text)
    assert found
    return html.unescape(found[1])


def test_a_study_is_blind_and_whole(study: Path, given: Any, tmp_path: Path) -> None:
    assert sorted(p.name for p in tmp_path.iterdir()) == ["study", "study.key.json"]
    text = (study / "items.jsonl").read_text()
    for word in ("features", "neurons", "resid", "unit", "interval"):
        assert word not in text
    items = [json.loads(line) for line in text.splitlines()]
    key = json.loads((tmp_path / "study.key.json").read_text())
    assert key["groups"] == ["features", "neurons"] and [i["id"] for i in items] == [
        i["id"] for i in key["items"]
    ]
    pairs = [i["pair"] for i in key["items"]]
    assert len(items) == 12 and pairs == sorted(pairs)
    groups, model, tokens = given
    for item, told in zip(items, key["items"], strict=True):
        sae, site = groups[told["group"]]
        f = np.asarray(sae.encode(ji.run(model, tokens, capture=[site])[1][site]))[..., told["unit"]]
        most = f[:, 1:].max()
        low, high = told["interval"] / 11, (told["interval"] + 1) / 11
        for shown in item["examples"]:
            assert len(shown["tokens"]) == len(shown["shares"])
            assert any(low - 1e-3 <= s <= high + 1e-3 for s in shown["shares"]) and most > 0
    one = [told["group"] for told in key["items"] if told["pair"] == 0]
    assert sorted(one) == ["features", "neurons"]
    with pytest.raises(FileExistsError, match="continues a study"):
        ji.sae.rating_study(study, groups, model, Words(), tokens, key=jax.random.key(0))
    with pytest.warns(UserWarning, match=r"units=90 with parts=2 asks for 180: of the units of '"):
        ji.sae.rating_study(
            tmp_path / "more", groups, model, Words(), tokens, units=90, key=jax.random.key(0), progress=False
        )
    with pytest.raises(FileNotFoundError, match="no study in"):
        ji.sae.rate(tmp_path)


def test_rated_through_requests(study: Path) -> None:
    with ji.sae.rate(study) as page:
        assert urlsplit(page.url).hostname == "127.0.0.1" and page.left == 12
        status, headers, text = ask(page)
        assert status == 200 and "Item 1 of 12" in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert "<img" not in text and "<script" not in text and "&lt;img" in text
        for word in ("features", "neurons", "resid_"):
            assert word not in text.split("</style>")[1]
        first = action(text)
        # What is missing is told, and what was typed stays.
        status, _, text = ask(page, first, {**FORM, "specificity": ""})
        assert status == 400 and "Choose one of 0 to 3" in text and "é &lt;b&gt;" in text
        status, headers, _ = ask(page, first, FORM)
        assert status == 303 and headers["Location"] == urlsplit(page.url).path
        assert (study / "ratings.jsonl").read_text().count("\n") == 1  # on disk at once
        _, _, text = ask(page)
        assert "Item 2 of 12" in text and page.left == 11
        ask(page, action(text), {"confidence": "0"})
        ask(page, first, {**FORM, "confidence": "1"})  # thought better of
        assert "é &lt;b&gt;" in ask(page, first)[2]
        with pytest.raises(BadRecords, match="Another process"):
            ji.sae.rate(study)
    with open(study / "ratings.jsonl", "ab") as file:
        file.write(b'{"item": "')  # killed in the middle of a line
    with ji.sae.rate(study) as page:
        assert page.left == 10 and not page.wait(0)
        while page.left:
            ask(page, action(ask(page)[2]), {**FORM, "logits": "0"})
        assert not page.wait(0) and "All is rated" in ask(page)[2] and page.wait(5)
    found = ji.sae.ratings(study)
    assert found["items"] == found["rated"] == 12 and found["paired"]["pairs"] == 6
    totals = sorted([3 + 4 + 0 + 1 + 1] * 10 + [0, 1 + 4 + 2 + 1])
    key = json.loads(study.with_name("study.key.json").read_text())
    assert sum(g["rated"] for g in found["groups"].values()) == 12
    lines = map(json.loads, (study / "ratings.jsonl").read_text().splitlines())
    said = {line["item"]: line["total"] for line in lines}
    assert sorted(said.values()) == totals
    for name, group in found["groups"].items():
        own = [said[i["id"]] for i in key["items"] if i["group"] == name]
        assert group["median"] == np.median(own) and group["mean"] == np.mean(own)
    assert found["paired"]["higher"] + found["paired"]["equal"] + found["paired"]["lower"] == 6


def test_strangers_are_refused(study: Path) -> None:
    with ji.sae.rate(study) as page:
        token = urlsplit(page.url).path.strip("/")
        own = f"/{token}/"
        for path in (
            "/",
            "/wrong/",
            "/../items.jsonl",
            f"{own}../../etc/passwd",
            f"{own}nothing",
            f"{own}a/b",
            "/%00/",
        ):
            status, _, text = ask(page, path)
            assert status == 404 and "Item" not in text
        assert ask(page, Host="evil.example")[0] == 421
        item = action(ask(page)[2])
        assert ask(page, own, FORM)[0] == 400
        assert ask(page, f"/wrong/{item.split('/')[-1]}", FORM)[0] == 404
        assert ask(page, item, b"{}", **{"Content-Type": "application/json"})[0] == 415
        assert ask(page, item, b"x" * 70_000)[0] == 413
        assert ask(page, item, {**FORM, "confidence": "9"})[0] == 400
        assert ask(page, item, "&".join(f"a{i}=1" for i in range(99)).encode())[0] == 400
        assert page.left == 12 and not (study / "ratings.jsonl").read_text()


def test_the_rubric_counts_to_fourteen() -> None:
    best = {"confidence": "3", "activations": "5", "logits": "3", "specificity": "3"}
    assert checked(best)["total"] == 14 and checked({**best, "separation": "1"})["total"] == 14
    assert checked({**best, "logits": "0", "separation": "1"})["total"] == 12
    assert checked({"confidence": "0"})["total"] == 0
    for wrong in ({}, {**best, "activations": "6"}, {**best, "logits": "-1"}, {**best, "specificity": "²"}):
        with pytest.raises(ValueError, match="Choose one"):
            checked(wrong)
