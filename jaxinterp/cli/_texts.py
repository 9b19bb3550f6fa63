"""Texts as an argument of commands: which files, how much of each, and as contexts of a model's tokens."""

from pathlib import Path
from typing import Any

import click

_OPTIONS = (
    click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path)),
    click.option(
        "--ctx", type=click.IntRange(min=4), default=128, show_default=True, help="Tokens of a context."
    ),
    click.option(
        "--most", type=click.IntRange(min=1), default=500, show_default=True, help="Documents of each file."
    ),
    click.option(
        "--chars",
        type=click.IntRange(min=1),
        default=2000,
        show_default=True,
        help="Characters of each document.",
    ),
)


def texts(command: Any) -> Any:
    """Adds the argument DATA and the options `--ctx --most --chars` to a command."""
    for each in reversed(_OPTIONS):
        command = each(command)
    return command


def reader(model: str) -> tuple[Any, Any]:
    """A model and its tokenizer, which must be there."""
    from .. import load

    loaded, tokenizer = load(model)
    if tokenizer is None:
        raise ValueError(
            f"{model} has no tokenizer, so it cannot read text. Give a folder with a tokenizer.json, or use the library with token ids."
        )
    return loaded, tokenizer


def packed(tokenizer: Any, model: Any, data: Any, ctx: int, most: int, chars: int) -> Any:
    """The corpus of the files: documents labelled by their file, behind BOS where the tokenizer has one."""
    from .. import data as texts

    documents = texts.read_texts(*data, most=most, chars=chars)
    bos = tokenizer.bos_id is not None
    return texts.pack(tokenizer, documents, ctx=min(ctx, model.config.ctx), bos=bos)
