"""What commands read: a model with its tokenizer, a prompt, and texts as contexts of a model's tokens."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import line

CTX = click.option(
    "--ctx",
    type=click.IntRange(min=4),
    default=128,
    show_default=True,
    help="How many tokens the model reads at once: texts are cut into contexts of so many.",
)
MOST = click.option(
    "--most", type=click.IntRange(min=1), help="How many documents of each file to read. [default: all]"
)
FIELD = click.option(
    "--field",
    default="text",
    show_default=True,
    help="The field of a line, or the column of a table, that holds the text.",
)
_OPTIONS = (
    click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path)),
    CTX,
    click.option(
        "--most",
        type=click.IntRange(min=1),
        default=500,
        show_default=True,
        help="How many documents of each file to read at most.",
    ),
    click.option(
        "--chars",
        type=click.IntRange(min=1),
        default=2000,
        show_default=True,
        help="How many characters of each document to read at most.",
    ),
)


def texts(command: Any) -> Any:
    """Adds the argument DATA and the options `--ctx --most --chars` to a command."""
    for each in reversed(_OPTIONS):
        command = each(command)
    return command


@contextlib.contextmanager
def waiting(name: str) -> Iterator[None]:
    """Says on stderr, after two seconds, what is waited for and since when."""
    from ..corpus._progress import waiting

    with waiting(name):
        yield


def reader(model: str, *, tokens: bool = True) -> tuple[Any, Any]:
    """A model and its tokenizer, which must be there where `tokens`."""
    from .. import load

    with waiting(f"Reading {line(model)}"):
        loaded, tokenizer = load(model)
    if tokens and tokenizer is None:
        raise ValueError(
            f"{model} has no tokenizer, so it cannot read text. Give a folder with a tokenizer.json, or use the library with token ids."
        )
    return loaded, tokenizer


def prompt(tokenizer: Any, text: str, bos: bool) -> Any:
    """The token ids of a prompt, one at least."""
    ids = tokenizer(text, bos=bos)
    if not len(ids):
        raise ValueError('A prompt has at least one token; got "". Write a text in quotes, or add --bos.')
    return ids


def checked_plot(path: Path | None) -> None:
    """The name of a figure is one that can be written, which is said before the work that makes it."""
    if path is not None:
        from ..viz import check_figure

        check_figure(path)


def packed(tokenizer: Any, model: Any, data: Any, ctx: int, most: int, chars: int) -> Any:
    """The corpus of the files: documents labelled by their file, behind BOS where the tokenizer has one."""
    from .. import data as texts

    with waiting("Reading texts"):
        documents = texts.read_texts(*data, most=most, chars=chars)
        bos = tokenizer.bos_id is not None
        return texts.pack(tokenizer, documents, ctx=min(ctx, model.config.ctx), bos=bos)


def contexts(
    model: Any, tokenizer: Any, data: Sequence[Path], *, ctx: int, most: int | None, field: str
) -> tuple[Any, Any]:
    """Full contexts of token ids (seq, pos), and the positions that count, from texts or from one .npy.

    Token ids of a file stay on disk, and are read as they are needed.
    """
    from .. import data as reading
    from .._read import named, npy_header, open_regular

    if data[0].suffix.lower() == ".npy":
        if len(data) > 1:
            raise ValueError("Give one .npy of token ids, or texts; not several.")
        with open_regular(data[0]) as file, named(data[0]):
            npy_header(file, data[0].stat().st_size)
        tokens = np.load(data[0], mmap_mode="r")
        if tokens.ndim != 2:
            raise ValueError(
                f"{data[0]} holds {tokens.shape}; token ids are (seq, pos), one context to a row."
            )
        return tokens, np.arange(tokens.shape[1]) > 0
    if tokenizer is None:
        raise ValueError(
            "This model has no tokenizer, so it cannot read text. Give token ids: a .npy (seq, pos)."
        )
    with waiting("Reading texts"):
        documents = reading.read_texts(*data, most=most, text=field)
        bos = tokenizer.bos_id is not None
        corpus = reading.pack(tokenizer, documents, ctx=min(ctx, model.config.ctx), join=True, bos=bos)
    return corpus.tokens, corpus.positions
