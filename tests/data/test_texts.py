"""Texts come back as they stand in files, lazily, each with its label and its own group."""

import contextlib
import csv
import gzip
import importlib.util
import json
import lzma
import sys
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import data
from jaxinterp.data import _texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "de.txt").write_text("Ein Satz.\nNoch eine Zeile.\n\nZwei.\n \n\nDrei.\n")
    (tmp_path / "en.txt.xz").write_bytes(lzma.compress(b"one\n\ntwo\n\0\nthree\n\0\n"))
    (tmp_path / "fr.txt.gz").write_bytes(gzip.compress("été\nhiver\n".encode()))
    lines = [{"text": "a"}, {"text": " "}, {"text": "b", "label": "other", "group": 7}]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (tmp_path / "notes.md").write_text("not a text")
    (tmp_path / ".hidden.txt").write_text("not read")
    return tmp_path


def test_a_folder_with_a_file_per_class(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"No texts are read from notes.md: .*\.parquet") as told:
        found = list(data.read_texts(folder))
    assert len(told) == 1
    (folder / "notes.md").unlink()
    assert [(d.text, d.label, d.group) for d in found] == [
        ("Ein Satz.\nNoch eine Zeile.", "de", "de.txt:0"),
        ("Zwei.", "de", "de.txt:1"),
        ("Drei.\n", "de", "de.txt:2"),
        ("one\n\ntwo", "en", "en.txt.xz:0"),
        ("three", "en", "en.txt.xz:1"),
        ("été", "fr", "fr.txt.gz:0"),
        ("hiver", "fr", "fr.txt.gz:1"),
        ("a", "mixed", "mixed.jsonl:0"),
        ("b", "other", "7"),
    ]
    assert [d.text for d in data.read_texts(folder / "de.txt", separator="\n")][:2] == [
        "Ein Satz.",
        "Noch eine Zeile.",
    ]
    two = data.read_texts(folder / "fr.txt.gz", folder / "de.txt", most=1)
    assert [d.text for d in two] == ["été", "Ein Satz.\nNoch eine Zeile."]
    assert [d.label for d in data.read_texts(folder, least=6)] == ["de", "de", "en"]


@pytest.mark.parametrize("separator", [None, "\n\0\n", "--"])
@pytest.mark.parametrize("chunk", [1 << 20, 7, 3])
def test_the_documents_are_the_file(separator: Any, chunk: int, tmp_path: Path, monkeypatch: Any) -> None:
    """With the separator between them, wherever chunks end."""
    monkeypatch.setattr(_texts, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abü \n"), rng.integers(1, 40))).strip() + "." for _ in range(30)]
    between = separator or "\n\n"
    if separator is None:
        texts = [text.replace("\n", " ") for text in texts]
        texts[0] = "."  # the first chunk shows what parts documents
    (tmp_path / "x.txt").write_text(between.join(texts))
    assert [d.text for d in data.read_texts(tmp_path, separator=separator)] == texts


def test_draws_are_repeated_and_fair(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("\n".join(f"{i:03d} word and more words" for i in range(100)))
    draw = lambda key, **more: [
        d.text for d in data.read_texts(tmp_path, most=10, key=jax.random.key(key), **more)
    ]
    assert draw(0) == draw(0) != draw(1) and draw(0) == sorted(draw(0))
    assert len({text for key in range(60) for text in draw(key)}) == 100
    short = draw(0, chars=8)
    assert all(len(t) <= 8 and t in whole for t, whole in zip(short, draw(0), strict=True))
    assert any(not t[0].isdigit() for t in short)
    assert [d.text for d in data.read_texts(tmp_path, chars=3, most=2)] == ["000", "001"]


def test_reading_stops_when_enough_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_texts, "_CHUNK", 64)
    path = tmp_path / "x.txt"
    path.write_bytes(b"a line of text\n" * 1000 + b"\xff\xfe")
    assert len(list(data.read_texts(path, most=3))) == 3
    with pytest.raises(ValueError, match="no UTF-8 text"):
        list(data.read_texts(path))


def test_what_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        data.read_texts(folder / "none")
    with pytest.raises(ValueError, match="no text that can be read"):
        data.read_texts(folder / "notes.md")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="one file per class is wanted"):
        data.read_texts(folder / "empty")
    with pytest.raises(ValueError, match="Name a folder"):
        data.read_texts()
    with pytest.raises(ValueError, match="most counts from 1"):
        data.read_texts(folder, most=0)
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"words": 1}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2: a line is"):
        list(data.read_texts(folder / "bad.jsonl"))
    (folder / "bad.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        list(data.read_texts(folder / "bad.jsonl"))
    (folder / "cut.txt.xz").write_bytes((folder / "en.txt.xz").read_bytes()[:-20])
    with pytest.raises(ValueError, match="its compression is damaged"):
        list(data.read_texts(folder / "cut.txt.xz"))


def test_capitals_and_byte_order_marks(tmp_path: Path) -> None:
    """A file's name in capitals, and the mark that Windows puts first, change nothing."""
    (tmp_path / "DE.TXT").write_bytes("\ufeffEin Satz.\r\n\r\nZwei.".encode())
    (tmp_path / "en.Txt.XZ").write_bytes(lzma.compress("\ufeffone".encode()))
    (tmp_path / "fr.JSONL").write_bytes('\ufeff{"text": "un"}\n'.encode())
    (tmp_path / "it.CSV.gz").write_bytes(gzip.compress("\ufefftext\r\nuno\r\n".encode()))
    found = [(d.text, d.label) for d in data.read_texts(tmp_path)]
    assert found == [("Ein Satz.", "DE"), ("Zwei.", "DE"), ("one", "en"), ("un", "fr"), ("uno", "it")]


TABLE = [
    {"text": 'a "quoted", long\nline', "label": "x", "group": "1"},
    {"text": "b", "label": None, "group": None},
    {"text": None, "label": "x", "group": "1"},
    {"text": "c" * 200_000, "label": "x", "group": "1"},
]


def written(path: Path, monkeypatch: Any) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    elif path.suffix == ".parquet":
        with_pyarrow(path, monkeypatch)
    else:
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, TABLE[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            out.writeheader()
            out.writerows(TABLE)


def with_pyarrow(path: Path, monkeypatch: Any) -> None:
    """A file of pyarrow; where it is not installed, of a stand-in with the four names that are used."""
    if importlib.util.find_spec("pyarrow"):
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(TABLE), path)
        return
    path.write_text("")
    batches = [types.SimpleNamespace(to_pylist=lambda part=part: part) for part in (TABLE[:2], TABLE[2:])]
    file = types.SimpleNamespace(iter_batches=lambda batch_size: iter(batches))
    opens = lambda path: contextlib.nullcontext(file)
    stand_in = types.SimpleNamespace(
        ArrowInvalid=ArithmeticError, parquet=types.SimpleNamespace(ParquetFile=opens)
    )
    monkeypatch.setitem(sys.modules, "pyarrow", stand_in)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_tables_are_read_alike(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    """An empty label is the file's, an empty text is none, and a long text is whole."""
    path, limit = tmp_path / f"part.{kind}", csv.field_size_limit()
    written(path, monkeypatch)
    found = [(d.text, d.label, d.group) for d in data.read_texts(path)]
    assert found == [
        (TABLE[0]["text"], "x", "1"),
        ("b", "part", f"part.{kind}:1"),
        ("c" * 200_000, "x", "1"),
    ]
    assert csv.field_size_limit() == limit
    with pytest.raises(ValueError, match=r"has no|\['group', 'label', 'text'\].*text='text'"):
        list(data.read_texts(path, text="content"))


def test_tables_that_cannot_be_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"pip install datasets.*ji.data.documents\(rows"):
        list(data.read_texts(tmp_path))
    (tmp_path / "b.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"\.csv, \.tsv.*ji.data.documents\(rows, text='text'"):
        data.read_texts(tmp_path / "b.xlsx")
    for text, words in (
        ("text,label\na,b,c\n", "line 2: a row has a cell for each of the 2 columns"),
        ("text,label\na\n", "line 2: a row has a cell"),
        ("text, text\na,b\n", "several .'text'"),
        ('text\n"a', "no CSV.*csv.DictReader"),
    ):
        (tmp_path / "c.csv").write_text(text)
        with pytest.raises(ValueError, match=words):
            list(data.read_texts(tmp_path / "c.csv"))


def test_blanks_beside_names_and_labels_make_no_other_class(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("text, label,,\n a, x,,\nb,  ,,\n")
    found = [(d.text, d.label) for d in data.read_texts(tmp_path / "c.csv")]
    assert found == [(" a", "x"), ("b", "c")]


def test_some_contexts_of_a_corpus(tokenizer: Any, folder: Path) -> None:
    (folder / "notes.md").unlink()
    corpus = data.pack(tokenizer, data.read_texts(folder), ctx=4)
    first = np.unique(corpus.groups, return_index=True)[1]
    one_each = data.take(corpus, first)
    assert len(one_each) == len(corpus.documents) < len(corpus)
    np.testing.assert_array_equal(one_each.tokens, corpus.tokens[first])
    assert one_each.labels.tolist() == corpus.labels[first].tolist()
    mask = corpus.labels == "de"
    assert set(data.take(corpus, mask).labels) == {"de"}
    with pytest.raises(IndexError, match="There are contexts 0"):
        data.take(corpus, [len(corpus)])
    with pytest.raises(ValueError, match="rows are numbers of contexts"):
        data.take(corpus, mask[1:])
