"""A blind study that is damaged says what is wrong: when it is opened, on its page, and in the shell."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp.cli import main
from jaxinterp.data._lines import BadRecords

from .test_rate import FORM, ask

ITEM: dict[str, Any] = {
    "id": "a",
    "examples": [{"tokens": ["x", "y"], "shares": [0.5, 1.0]}],
    "up": ["u"],
    "down": ["d"],
}
TOLD = {"id": "a", "pair": 0, "group": "one", "unit": 3, "site": "mlp_post[0]", "interval": 2}
KEY: dict[str, Any] = {"kind": "jaxinterp rating key", "groups": ["one"], "items": [TOLD]}
SAID = {
    "item": "a",
    "total": 3,
    "confidence": 1,
    "activations": 1,
    "logits": 1,
    "separation": None,
    "specificity": 0,
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "items.jsonl").write_text(lines(ITEM, {**ITEM, "id": "b"}))
    (tmp_path / "study.key.json").write_text(json.dumps({**KEY, "items": [TOLD, {**TOLD, "id": "b"}]}))
    return folder


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ITEM.items() if key != name}


ITEMS: dict[str, tuple[str | None, str]] = {
    "no file": (None, "has no items.jsonl"),
    "no items": ("", "holds no items"),
    "a torn line": (lines(ITEM) + '{"id": "b", "exa', "last line of .* is torn"),
    "torn in the middle": ('{"id": "b"\n' + lines(ITEM), "line 1 is no record"),
    "no object": (lines([1]), "line 1 is no record"),
    "no text": (lines(ITEM) + "\x00\xff\n", "line 2 is no record"),
    "no id": (lines(without("id")), "line 1 has no 'id'"),
    "no examples": (lines(ITEM, without("examples")), "line 2 has no 'examples'"),
    "an id of an int": (lines({**ITEM, "id": 3}), "'id' is text; got 3"),
    "examples of text": (lines({**ITEM, "examples": "x"}), "'examples' is a list; got 'x'"),
    "an example of a number": (lines({**ITEM, "examples": [1]}), "an example is an object"),
    "tokens of numbers": (lines({**ITEM, "up": [1]}), "'up' is a list of texts"),
    "too few shares": (lines({**ITEM, "examples": [{"tokens": ["x"], "shares": []}]}), "one share"),
    "a share of text": (lines({**ITEM, "examples": [{"tokens": ["x"], "shares": ["1"]}]}), "one share"),
    "twice the same": (lines(ITEM, ITEM), "two items of the id 'a'"),
}


def damage(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode("latin-1"))


def test_its_items_on_the_page(study: Path) -> None:
    with ji.sae.rate(study) as page:
        for name, (text, words) in ITEMS.items():
            damage(study / "items.jsonl", text)
            status, headers, shown = ask(page)
            assert status == 500 and "This study is damaged" in shown, name
            assert headers["Content-Security-Policy"] and "Traceback" not in shown
            assert re.search(words, html.unescape(shown)), (name, shown)
            assert ask(page, "/wrong/")[0] == 404  # a stranger is told nothing


@pytest.mark.parametrize(("text", "words"), ITEMS.values(), ids=ITEMS)
def test_its_items_when_it_is_opened(study: Path, text: str | None, words: str) -> None:
    damage(study / "items.jsonl", text)
    with pytest.raises((BadRecords, FileNotFoundError), match=words):
        ji.sae.rate(study)
    result = CliRunner().invoke(main, ["sae", "rate", str(study)])
    assert result.exit_code == 2 and "Error: " in result.output and "Traceback" not in result.output


ANSWERS: dict[str, tuple[str, Any, str]] = {
    "no item": ("ratings.jsonl", lines({"total": 3}), "has no 'item'"),
    "an item of a list": ("ratings.jsonl", lines({**SAID, "item": [1]}), "'item' is text"),
    "no total": ("ratings.jsonl", lines({"item": "a"}), "'total' as a number; got None"),
    "a total of text": ("ratings.jsonl", lines({**SAID, "total": "3"}), "'total' as a number"),
    "a question of text": ("ratings.jsonl", lines({**SAID, "logits": {}}), "'logits' as a number"),
    "of another study": ("ratings.jsonl", lines({**SAID, "item": "z"}), "does not know"),
    "no key": ("../study.key.json", None, "says what each item of the study is"),
    "a torn key": ("../study.key.json", '{"groups": [', "is no JSON"),
    "a deep key": ("../study.key.json", "[" * 100_000, "is no JSON"),
    "a key of a list": ("../study.key.json", "[]", "is no key of a study"),
    "a key without groups": ("../study.key.json", '{"items": []}', "has no 'groups'"),
    "groups of numbers": ("../study.key.json", json.dumps({**KEY, "groups": [1]}), "list of texts"),
    "an item of text": ("../study.key.json", json.dumps({**KEY, "items": ["a"]}), "is an object"),
    "a pair of text": (
        "../study.key.json",
        json.dumps({**KEY, "items": [{**TOLD, "pair": "0"}]}),
        "'pair' is an int",
    ),
    "a foreign group": (
        "../study.key.json",
        json.dumps({**KEY, "items": [{**TOLD, "group": "x"}]}),
        "group 'x'",
    ),
}


@pytest.mark.parametrize(("name", "text", "words"), ANSWERS.values(), ids=ANSWERS)
def test_its_answers(study: Path, name: str, text: str | None, words: str) -> None:
    damage(study / name, text)
    with pytest.raises((BadRecords, FileNotFoundError), match=words):
        ji.sae.ratings(study)
    result = CliRunner().invoke(main, ["sae", "rate", str(study), "--results"])
    assert result.exit_code == 2 and "Error: " in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("gone", ["ratings.jsonl", "items.jsonl"])
def test_an_answer_that_cannot_be_kept_is_told(study: Path, gone: str) -> None:
    """What is written to a file that was taken away would be lost without a word."""
    with ji.sae.rate(study) as page:
        own = page.url.rsplit("/", 2)[1]
        (study / gone).unlink()
        status, _, shown = ask(page, f"/{own}/a", FORM)
        assert status == 500 and "damaged" in shown and gone in shown and page.left == 2


def test_a_whole_study_is_served_and_counted(study: Path) -> None:
    (study / "ratings.jsonl").write_text(lines(SAID))
    with ji.sae.rate(study) as page:
        assert page.left == 1 and ask(page)[0] == 200
    check: Callable[..., Any] = ji.sae.ratings
    assert check(study)["groups"]["one"]["median"] == 3
