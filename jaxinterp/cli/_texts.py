"""What commands read: a model with its tokenizer, a prompt, and texts as contexts of a model's tokens."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import line
from ._command import given, say

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


def texts(command: Any, *, required: bool = True) -> Any:
    """Adds the argument DATA and the options `--ctx --most --chars` to a command."""
    for each in reversed(_OPTIONS):
        command = each(command)
    return click.argument("data", nargs=-1, required=required, type=click.Path(path_type=Path))(command)


def texts_or_none(command: Any) -> Any:
    """As `texts`, for a command that has something to do without them too."""
    return texts(command, required=False)


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


def prompt(model: Any, tokenizer: Any, text: str, bos: bool | None) -> Any:
    """The token ids of a prompt: one at least, and no more than the model reads. A command without `--bos` has None."""
    if not text and not bos:
        more = "." if bos is None else ", or add --bos."
        raise ValueError(f'A prompt has at least one token; got "". Write a text in quotes{more}')
    ids = tokenizer(text, bos=bool(bos))
    check_length(model, len(ids), "the text")
    return ids


def check_length(model: Any, count: int, what: str) -> None:
    """Raises ValueError for a prompt that is too long, before anything runs."""
    most = int(model.config.ctx)
    if count > most:
        raise ValueError(
            f"This model reads at most {most} positions; {what} has {count} tokens. Give a shorter one."
        )


def context_length(model: Any, ctx: int) -> int:
    """How many tokens a context has: as many as wanted, or as the model reads, which is said."""
    most = int(model.config.ctx)
    if ctx > most and given("ctx"):
        say(
            f"Warning: This model reads {most} tokens at once, and so many has a context; got --ctx {ctx}.",
            err=True,
        )
    return min(ctx, most)


def unused(reason: str, *names: str) -> None:
    """Says which of some options were typed and change nothing."""
    running = click.get_current_context()
    for option in running.command.params:
        if option.name in names and given(option.name):
            say(f"Warning: {option.opts[0]} changes nothing here: {reason}", err=True)


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
        return texts.pack(tokenizer, documents, ctx=context_length(model, ctx), bos=bos)


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
        unused("each row of token ids is one context.", "ctx", "most", "field")
        return tokens, np.arange(tokens.shape[1]) > 0
    if tokenizer is None:
        raise ValueError(
            "This model has no tokenizer, so it cannot read text. Give token ids: a .npy (seq, pos)."
        )
    with waiting("Reading texts"):
        documents = reading.read_texts(*data, most=most, text=field)
        bos = tokenizer.bos_id is not None
        corpus = reading.pack(tokenizer, documents, ctx=context_length(model, ctx), join=True, bos=bos)
    return corpus.tokens, corpus.positions
