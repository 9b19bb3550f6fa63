"""Texts from files, one document after another, each with its label and its own group."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._random import host_generator
from ._corpus import TextCorpus
from ._document import Document
from ._sources import DAMAGED, MAX_BYTES, PLAIN, damaged, files, kind, opened, too_long
from ._tables import table

_CHUNK = 1 << 20


def read_texts(
    *paths: Any,
    most: int | None = None,
    chars: int | None = None,
    least: int = 1,
    key: Any = None,
    separator: str | None = None,
    text: str = "text",
    max_bytes: int = MAX_BYTES,
) -> Iterator[Document]:
    r"""$(f_1, f_2, \dots) \mapsto (d_1, d_2, \dots)$: the documents of files, labelled by the names of the files.

    Files are read a megabyte at a time; the rest of a file is never in memory.

    **Arguments:**

    - `paths`: files, or folders of which every file with texts is read in the order of names (a
      warning names the others). `de.txt`, `de.txt.xz`, `de.jsonl.gz`: the label is what stands before
      the first dot. A line of `.jsonl`, `.csv`, `.tsv` and a row of `.parquet` (with pyarrow, which
      `pip install datasets` brings) has a `"text"`, and a `"label"` and a `"group"` if they
      are not empty; the first line of `.csv` names its columns.
    - `most`: documents of each file; without a `key` the first ones, with a `key` (a `jax.random.key`)
      drawn from the whole file, in its order.
    - `chars`: an excerpt of so many characters of each document: from its beginning, with a `key`
      from a place drawn at random, where a line or else a word begins.
    - `least`: documents of fewer characters are left out.
    - `separator`: between the documents of a `.txt`. None: a line with one NUL character if the
      file's first megabyte has one, else blank lines, else every line is a document.
    - `text`: the field of a line, or the column of a table, that holds the text.
    - `max_bytes` of one document, by default 32 MiB: a small packed file can contain an endless line.

    **Returns:** an iterator of `Document`s. `group` is the file and the number of the document, so
    that `split` never parts what came from one.

    **Raises:** `FileNotFoundError` for a path that is not there; `ValueError` for a folder without
    texts, other kinds of files, text that is not UTF-8, lines that are no JSON; `ImportError` for
    `.parquet` without pyarrow.

    ```python
    documents = ji.data.read_texts("languages", most=300, chars=2000, key=jax.random.key(0))
    corpus = ji.data.pack(tokenizer, documents, ctx=128)
    ```

    Law: with the separator between them, the documents are the file; equal keys draw equal texts.
    """
    if not paths:
        raise ValueError("Name a folder with one text file per class, or files: read_texts('texts').")
    for name, value in (
        ("most", most),
        ("chars", chars),
        ("least", least),
        ("max_bytes", max_bytes),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} counts from 1; got {name}={value}.")
    return _documents(files(paths), most, chars, least, key, separator, text, max_bytes)


def take(corpus: TextCorpus, rows: Any) -> TextCorpus:
    r"""$t_{R}$: contexts of a corpus, selected by number or by a mask.

    **Arguments:**

    - `corpus`: a `Corpus` of `pack`.
    - `rows`: numbers of contexts `(n,)`, or a mask `(seq,)`.

    ```python
    one_each = np.unique(corpus.groups, return_index=True)[1]     # a context of each document
    corpus = ji.data.take(corpus, one_each)
    ```

    Law: all arrays are those of the corpus at `rows`.
    """
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (len(corpus),):
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"rows are numbers of contexts (n,), or a mask ({len(corpus)},); got {rows.shape} of "
            f"{rows.dtype}."
        )
    if rows.min() < 0 or rows.max() >= len(corpus):
        raise IndexError(f"There are contexts 0..{len(corpus) - 1}; got {rows.min()}..{rows.max()}.")
    arrays = ("tokens", "mask", "positions", "document", "offsets")
    return dataclasses.replace(corpus, **{name: getattr(corpus, name)[rows] for name in arrays})


def _documents(
    paths: list[Path],
    most: int | None,
    chars: int | None,
    least: int,
    key: Any,
    separator: Any,
    field: str,
    max_bytes: int,
) -> Iterator[Document]:
    seeds = (
        None
        if key is None
        else [int(i) for i in host_generator(key, "ji.data.read_texts(..., key={})").integers(2**32, size=4)]
    )
    for path in paths:
        rng = None if seeds is None else np.random.default_rng([*seeds, *path.name.encode()])
        long = (d for d in _read(path, separator, field, max_bytes) if len(d.text) >= least)
        for document in _drawn(long, most, rng):
            text = document.text if chars is None else _excerpt(document.text, chars, rng)
            yield dataclasses.replace(document, text=text)


def _read(path: Path, separator: str | None, field: str, max_bytes: int) -> Iterator[Document]:
    if kind(path) != PLAIN:
        yield from table(path, field, max_bytes)
        return
    label, number = path.name.split(".")[0], 0
    try:
        with opened(path) as file:
            for text in _parted(path, file, separator, max_bytes):
                if text.strip():
                    yield Document(text, label, f"{path.name}:{number}")
                    number += 1
    except DAMAGED as error:
        raise damaged(path, error) from error


def _parted(path: Path, file: Any, separator: str | None, max_bytes: int) -> Iterator[str]:
    """The texts between separators; one chunk and the beginning of the next text are held."""
    buffer = file.read(_CHUNK)
    if separator is None:
        if "\n\0\n" in buffer:
            pattern = re.compile("\n\0\n")
        else:
            pattern = re.compile(r"\n(?:[ \t]*\n)+" if re.search(r"\n[ \t]*\n", buffer) else "\n")
    else:
        pattern = re.compile(re.escape(separator))
    while True:
        # A long text is not searched for every megabyte, and little is read behind its limit.
        more = file.read(max(_CHUNK, min(len(buffer), max_bytes + 1 - len(buffer))))
        start = 0
        for match in pattern.finditer(buffer):
            if more and match.end() == len(buffer):
                break  # a separator may continue in the next chunk
            if match.start() - start > max_bytes:
                raise too_long(path, "a document", max_bytes)
            yield buffer[start : match.start()]
            start = match.end()
        buffer = buffer[start:] + more
        if len(buffer) - len(more) > max_bytes or (not more and len(buffer) > max_bytes):
            raise too_long(path, "a document", max_bytes)
        if not more:
            yield buffer
            return


def _drawn(documents: Iterator[Document], most: int | None, rng: Any) -> Iterator[Document]:
    """The first `most`, or so many of all at equal chances (a reservoir), in their order."""
    if most is None:
        yield from documents
        return
    if rng is None:
        for number, document in enumerate(documents):
            yield document
            if number + 1 == most:
                return
        return
    reservoir: list[tuple[int, Document]] = []
    for number, document in enumerate(documents):
        if number < most:
            reservoir.append((number, document))
        elif (place := int(rng.integers(number + 1))) < most:
            reservoir[place] = number, document
    for _, document in sorted(reservoir, key=lambda pair: pair[0]):
        yield document


def _excerpt(text: str, chars: int, rng: Any) -> str:
    if len(text) <= chars:
        return text
    start = 0 if rng is None else int(rng.integers(len(text) - chars + 1))
    if start:
        # On to where a line begins, or else a word, if one does in the first half of the excerpt.
        for mark in ("\n", " "):
            found = text.find(mark, start, start + chars // 2)
            if found >= 0 and text[found + 1 : found + 1 + chars].strip():
                start = found + 1
                break
    return text[start : start + chars]
