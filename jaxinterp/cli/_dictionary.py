"""A dictionary that a command reads, with its model and its tokenizer."""

from pathlib import Path
from typing import Any

from .._text import line
from ._command import say
from ._texts import reader, waiting


def opened(dictionary: str, model: str | None, data: tuple[Path, ...] = ()) -> tuple[Any, Any, Any]:
    """A dictionary, its model and the tokenizer; the model is by default that of the dictionary's record."""
    from .. import sae as dictionaries

    if data and not data[0].exists():
        raise ValueError(
            f"There is no file or folder {line(data[0])} with texts. Texts stand after the dictionary. Its model is "
            f"known from its record; another one is named by an option: --model {line(data[0])}."
        )
    with waiting(f"Reading {line(dictionary)}"):
        found, about = dictionaries.load(dictionary, about=True)
    name = model_of(about) if model is None else model
    if name is None:
        raise ValueError(
            f"The dictionary {line(dictionary)} does not record its model. Name it: --model MODEL, such as --model gpt2."
        )
    try:
        loaded, tokenizer = reader(name)
    except (ValueError, OSError) as error:
        if model is not None:
            raise
        raise ValueError(
            f"The dictionary {line(dictionary)} records the model {line(name)!r}, which cannot be read here: {error}\n"
            "Name the model, or where it is now: --model MODEL."
        ) from error
    if reads_centred(about):
        from ..weights import center_writing

        loaded = center_writing(loaded)
        say(
            "The dictionary reads a model whose writing weights are centred: they are centred here too.",
            err=True,
        )
    return found, loaded, tokenizer


def reads_centred(about: Any) -> bool:
    """Whether the record of a dictionary says that the model had centred writing weights, as SAELens writes it."""
    more = about.get("metadata")
    records = [each.get("model_from_pretrained_kwargs") for each in (about, more) if isinstance(each, dict)]
    return any(isinstance(each, dict) and each.get("center_writing_weights") is True for each in records)


def model_of(about: Any) -> str | None:
    """The name of the model in the record of a dictionary: ours, or in the configuration of SAELens."""
    more = about.get("metadata")
    for record in (about, more if isinstance(more, dict) else {}):
        for key in ("model", "model_name"):
            if isinstance(name := record.get(key), str) and name:
                return name
    return None
