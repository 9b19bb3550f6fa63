"""Reads tokenizers: `tokenizer.json`, GPT-2's two files, or a value of `Tokenizer.to_json`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from .._disk import reading
from .._read import TEXT, check, or_null, read_text, table_of
from ._chat_files import TEMPLATES, ChatFormat, as_template
from ._errors import BadCheckpoint
from ._fetch import SMALL
from ._tensors import read_json
from ._tokenizer_files import ID, read_beside

END = "<|endoftext|>"
MAX_BYTES = 2**26
"""The most bytes of a tokenizer.json or a merges.txt; that of a vocabulary of 256,000 tokens has 33 MB."""
REQUIRED = {"tokenizer": TEXT, "bos": or_null(ID), "eos": or_null(ID)}
SAVED = {**REQUIRED, "chat_template": TEMPLATES, "special_tokens": or_null(table_of(TEXT))}


class SavedTokenizer(TypedDict):
    """A tokenizer as JSON: the text of its `tokenizer.json`, the ids of BOS and EOS or None, its chat format."""

    tokenizer: str
    bos: int | None
    eos: int | None
    chat_template: NotRequired[str | Mapping[str, str]]
    special_tokens: NotRequired[Mapping[str, str]]


class ReadTokenizer(NamedTuple):
    """A `tokenizers.Tokenizer`, what files say of `bos_id` and `eos_id`, and how conversations are written."""

    tokenizer: Any
    ids: Mapping[str, int | None]
    chat: ChatFormat = ChatFormat()


def read_tokenizer_folder(path: Path) -> ReadTokenizer | None:
    """The tokenizer in a model's folder, or None where it has none."""
    with (
        reading(path, "tokenizer", wrong=BadCheckpoint),
        reading(path, "model", only=SMALL, wrong=BadCheckpoint),
    ):
        if (path / "tokenizer.json").is_file():
            return read_tokenizer_json(path / "tokenizer.json")
        for vocab, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
            if (path / vocab).is_file() and (path / merges).is_file():
                return read_bpe(path / vocab, path / merges)
        return None


def read_tokenizer_json(path: Path) -> ReadTokenizer:
    """A `tokenizer.json`, with what the files beside it say."""
    import tokenizers

    read_json(path, max_bytes=MAX_BYTES)
    inner = made(lambda: tokenizers.Tokenizer.from_file(str(path)), f"{path} is not a tokenizer.json")
    beside = read_beside(path.parent)
    beside.add_to(inner)
    prefix = beside.prefix_space
    if prefix is not None and type(inner.pre_tokenizer).__name__ == "ByteLevel":
        inner.pre_tokenizer.add_prefix_space = prefix  # pyright: ignore
    return ReadTokenizer(inner, beside.ids(path.parent, inner), beside.chat(path.parent))


def read_bpe(vocab: Path, merges: Path) -> ReadTokenizer:
    """GPT-2's two files, with what the files beside `vocab` say."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    ids = dict(read_json(vocab))
    check(vocab, {"vocab": ids}, {"vocab": table_of(ID)}, error=BadCheckpoint)
    default = {role: END for role in ("bos_token", "eos_token", "unk_token") if END in ids}
    beside = read_beside(vocab.parent, default)
    taken = set(ids.values())
    # In the vocabulary an added token has the id that the file says, wherever that is.
    for i, token in beside.added.items():
        if i not in taken:
            ids.setdefault(token.content, i)
    lines = read_text(merges, max_bytes=MAX_BYTES, error=BadCheckpoint).split("\n")
    splits = [line.partition(" ") for line in lines if line and line[:8] != "#version"]
    pairs = [(left, right) for left, _, right in splits]
    model = made(
        lambda: models.BPE(vocab=ids, merges=pairs, fuse_unk=False),
        f"{vocab} and {merges.name} do not belong together",
    )
    inner = tokenizers.Tokenizer(model)
    prefix = beside.config.get("add_prefix_space") is True
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.decoder = decoders.ByteLevel()
    beside.add_to(inner)
    return ReadTokenizer(inner, beside.ids(vocab.parent, inner), beside.chat(vocab.parent))


def tokenizer_of_json(value: Mapping[str, Any]) -> ReadTokenizer:
    """The tokenizer of a `SavedTokenizer`."""
    import tokenizers

    check("The tokenizer", value, SAVED, required=REQUIRED, error=BadCheckpoint)
    inner = made(lambda: tokenizers.Tokenizer.from_str(value["tokenizer"]), "The tokenizer cannot be made")
    chat = ChatFormat(as_template(value.get("chat_template")), value.get("special_tokens"))
    return ReadTokenizer(inner, {"bos_id": value["bos"], "eos_id": value["eos"]}, chat)


def made(make: Callable[[], Any], wrong: str) -> Any:
    """What the tokenizers library makes; it raises bare Exceptions, and its panics are not even these."""
    try:
        return make()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise BadCheckpoint(f"{wrong} ({str(error)[:300]}).") from error
        raise
