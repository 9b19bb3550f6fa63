"""What others wrote is shown whole and obeyed nowhere: control characters, marks of direction, lone surrogates."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import jaxinterp as ji
from jaxinterp._text import grid, line, plain, visible
from jaxinterp.cli import main
from jaxinterp.cli._command import say

HOSTILE = {
    "\x1b[31m": "␛[31m",
    "\x1b]0;title\x07": "␛]0;title␇",
    "a\rb": "a␍b",
    "a\x00b": "a␀b",
    "a\x7fb": "a␡b",
    "a\x9b31mb": "a⟨U+009B⟩31mb",
    "a\u202eb": "a⟨U+202E⟩b",
    "\u2066a\u2067b\u2068c\u2069": "⟨U+2066⟩a⟨U+2067⟩b⟨U+2068⟩c⟨U+2069⟩",
    "a\u200bb\ufeff": "a⟨U+200B⟩b⟨U+FEFF⟩",
    "a\ud800b\udcff": "a⟨U+D800⟩b⟨U+DCFF⟩",
    "a\u2028b": "a⟨U+2028⟩b",
    "\U000e0041": "⟨U+E0041⟩",
}
EVERY = "".join(HOSTILE)
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("kind", [str, np.str_])
@pytest.mark.parametrize(("text", "shown"), HOSTILE.items(), ids=map(ascii, HOSTILE))
def test_what_is_hidden_is_shown(text: str, shown: str, kind: Any) -> None:
    for show in (visible, plain, line):
        found = show(kind(text))
        assert found == shown and type(found) is str
        found.encode("utf-8")


def test_words_stay_as_they_are() -> None:
    for text in ("plain words", "Grüße, 你好 👍", "e\u0301", "שלום", "a b\u00a0c"):
        assert plain(text) == text
    assert plain("two\nlines") == "two\nlines" and line("two\nlines") == "two↵lines"


def test_a_table_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import rich.console

    out = io.StringIO()
    table = grid([np.str_(EVERY)], [[EVERY], [np.str_("[red]x[/red]\ny")], [3]], title=EVERY)
    rich.console.Console(file=out, width=400).print(table)
    text = out.getvalue()
    assert not RAW.search(text) and "[red]x[/red]↵y" in text and "⟨U+202E⟩" in text
    say(EVERY)
    say(f"{EVERY}\nmore", err=True)
    printed = capsys.readouterr()
    assert not RAW.search(printed.out + printed.err) and printed.err.endswith("\nmore\n")


RECORD = {
    "feature": EVERY,
    "layer": 0,
    "method": "single",
    "k": 1,
    "support": [3],
    "f1": 0.9,
    "mcc": 0.8,
    "status": EVERY,
    "model": EVERY,
    "parameters": 10,
    "site": "mlp_post",
    "score": 0.5,
}


def test_tables_of_records() -> None:
    import rich.console

    out = io.StringIO()
    console = rich.console.Console(file=out, width=600)
    console.print(ji.probes.records_table([RECORD]))
    from jaxinterp.tour._chapter import Table

    console.print(Table([EVERY], [[EVERY], [0.5]], title=EVERY).rich())
    assert not RAW.search(out.getvalue()) and "⟨U+2066⟩" in out.getvalue()


def test_pages() -> None:
    """Also labels of a NumPy array, whose strings are of a class of their own."""
    names = np.asarray([EVERY, "<b>&"])
    figures = [
        ji.viz.table(list(names), [[names[0], Path("a\x1bb")]], title=names[0], caption=names[0]),
        ji.viz.heatmap(np.eye(2), rows=list(names), cols=list(names), title=names[0]),
        ji.viz.token_strip(list(names), np.ones(2), title=names[0]),
        ji.viz.contexts([(names[0], list(names), [0.5, 1.0])], title=names[0]),
        ji.viz.lines({names[0]: np.ones(2)}, title=names[0]),
    ]
    for figure in figures:
        assert not RAW.search(figure.html), figure.title
        assert not RAW.search(figure._repr_html_()) and "<b>&" not in figure.html
    page = ji.viz.page(names[0], [ji.viz.Chapter(names[0], [names[0], *figures])], summary=names[0])
    assert not RAW.search(page)
    page.encode("utf-8")


def test_what_objects_say_of_themselves() -> None:
    from jaxinterp.weights import Components

    components = Components(jax.numpy.ones((1, 2)), (EVERY,))
    places = ji.data.features.Places([EVERY], np.zeros(1), np.zeros(1), np.zeros(1, bool), {})
    for text in (repr(components), repr(places)):
        assert not RAW.search(text)


@pytest.mark.parametrize(
    "args",
    [
        ["\x1b[31mtour\u202e"],
        ["sites", "\x1b[31mnowhere\u202e"],
        ["sites", "./\x1b[31mnowhere\r\u2066"],
        ["lens", "tiny", "a", "--html", "\x1b[31m/x\u202e.html", "--top", "1"],
        ["probe", "tiny", "texts\x1b[31m\u202e"],
        ["probe", "tiny", "texts", "--layers", "\x1b[31m"],
        ["sae", "rate", "\x1b[31m\u202e"],
        ["sae", "eval", "tiny", "\x1b[31m\u202e"],
        ["models", "\x1b[31m\u202e"],
        ["heads", "tiny", "--plot", "\x1b[31m\u202e.xyz"],
        ["patch", "m", "a", "b", "--answer", "a", "--over", "\x1b[31m,\u202e,x", "--plot", "x.html"],
        ["sae", "train", "tiny", "--site", "z[0]", "--kind", "\x1b[31m\u202e", "x"],
        ["sites", "tiny", "--\x1b[31m"],
        ["tour", "--out", "\x1b[31m\u202e.png"],
    ],
)
def test_the_command_line(args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxinterp._waiting.DELAY", 1e6)  # a bar returns to the start of its line
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2 and "rror: " in result.output
    assert not RAW.search(result.output), ascii(result.output)


def test_names_of_files_and_labels_in_a_shell(tmp_path: Path) -> None:
    """A file's name labels its texts; a terminal that knows ASCII alone, and a name of lone bytes."""
    folder = tmp_path / "\x1b[31m\u202e"
    folder.mkdir()
    (folder / "de\x1b[7m.txt").write_text("ein Satz\n\nnoch ein Satz")
    command = [sys.executable, "-m", "jaxinterp", "probe", "tiny", os.fsencode(folder), b"\xff\x1b"]
    for encoding in ("utf-8", "ascii"):
        done = subprocess.run(
            command, capture_output=True, timeout=120, env={**os.environ, "PYTHONIOENCODING": encoding}
        )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 2 and not RAW.search(said), ascii(said)
        assert "U+DCFF" in said.upper() or "UDCFF" in said.upper()


def test_bars_show_labels_without_control_characters(
    monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from jaxinterp import _waiting
    from jaxinterp.probes.study import _study

    monkeypatch.setattr(_waiting, "DELAY", 0.0)
    list(_study._watched([(0, "a\x1b[31m\u202eb", "single")], True))
    shown = capsys.readouterr().err
    assert "layer 0, a␛[31m⟨U+202E⟩b, single" in shown and not RAW.search(shown.replace("\r", ""))
