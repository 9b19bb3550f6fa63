"""The tokenizer in a GGUF file: byte-level BPE ("gpt2") or SentencePiece's BPE ("llama").

What splits a text before BPE is a name in the file (`tokenizer.ggml.pre`); the rules that belong
to the names are those of the tokenizers that the models were trained with.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._read import FLAG, TEXT, check, integer, list_of, number
from ._errors import BadCheckpoint
from ._scored_bpe import scored_bpe
from ._tokenizer import Tokenizer
from ._tokenizer_read import made

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
"""`tokenizer.ggml.token_type`."""

ABOUT = {
    f"tokenizer.ggml.{name}": rule
    for name, rule in {
        "model": TEXT,
        "pre": TEXT,
        "tokens": list_of(TEXT),
        "merges": list_of(TEXT),
        "token_type": list_of(integer()),
        "scores": list_of(number()),
        "bos_token_id": integer(),
        "eos_token_id": integer(),
        "add_space_prefix": FLAG,
        "remove_extra_whitespaces": FLAG,
    }.items()
}
TEMPLATE = "tokenizer.chat_template"
"""The key of the template; of a named one, this with `.NAME`."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE = {
    "gpt-2": "gpt2",
    "gpt2": "gpt2",
    "mpt": "gpt2",
    "olmo": "gpt2",
    "smollm": "digits",
    "starcoder": "digits",
    "refact": "digits",
    "command-r": "digits",
    "codeshell": "digits",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
}
"""Name of a pre-tokenizer to its rule: GPT-2's, the same after every digit stands alone, Llama 3's."""


def gguf_tokenizer(path: Path, about: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer in a file's metadata, or None with a warning where its kind is not known here."""
    check(path, about, ABOUT, error=BadCheckpoint)

    def get(name: str, default: Any = None) -> Any:
        return about.get(f"tokenizer.ggml.{name}", default)

    kind, pre = get("model"), get("pre")
    if kind == "gpt2" and pre in PRE:
        return _with_template(_byte_level(path, get, PRE[pre]), about)
    plain = not get("remove_extra_whitespaces", False) and get("precompiled_charsmap") is None
    if kind == "llama" and plain:
        return _with_template(_sentencepiece(path, get), about)
    warnings.warn(
        f"{path.name}: no tokenizer, because it is of the kind {kind!r} with the pre-tokenizer "
        f"{pre!r}; read are 'gpt2' with {', '.join(PRE)}, and 'llama'. The model is loaded; give it "
        "token ids, or a tokenizer by ji.hub.Tokenizer.from_file.",
        stacklevel=2,
    )
    return None


def _with_template(tokenizer: Tokenizer, about: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer with the chat template of the metadata, or with its several named ones."""
    own = {key: text for key, text in about.items() if key.startswith(TEMPLATE) and isinstance(text, str)}
    named = {key.removeprefix(f"{TEMPLATE}."): text for key, text in own.items() if key != TEMPLATE}
    if TEMPLATE in own and named:
        named["default"] = own[TEMPLATE]
    tokenizer.chat_template = named or own.get(TEMPLATE)
    return tokenizer


def _tokens(path: Path, get: Callable[..., Any]) -> tuple[list[str], list[int]]:
    tokens = get("tokens")
    types = get("token_type", [NORMAL] * len(tokens or ()))
    if not tokens or len(types) != len(tokens):
        raise BadCheckpoint(
            f"{path}: a tokenizer has tokens and as many types; it has {len(tokens or ())} and {len(types)}."
        )
    for name in ("bos_token_id", "eos_token_id"):
        if (i := get(name)) is not None and i >= len(tokens):
            raise BadCheckpoint(f"{path}: {name} is {i}, and there are {len(tokens)} tokens.")
    return tokens, types


def _byte_level(path: Path, get: Callable[..., Any], pre: str) -> Tokenizer:
    import tokenizers
    from tokenizers import Regex, decoders, models, pre_tokenizers

    tokens, types = _tokens(path, get)
    merges = [(left, right) for left, _, right in (m.partition(" ") for m in get("merges", []))]
    model = made(
        lambda: models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=merges,
            fuse_unk=False,
            ignore_merges=pre == "llama3",
        ),
        f"{path}: tokens and merges do not belong together",
    )
    inner = tokenizers.Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "llama3")
    first: dict[str, Any] = {
        "gpt2": [],
        "digits": [pre_tokenizers.Digits(individual_digits=True)],
        "llama3": [pre_tokenizers.Split(Regex(_LLAMA3), "isolated")],
    }
    steps = [*first[pre], byte_level]
    inner.pre_tokenizer = pre_tokenizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
    inner.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return _finish(inner, tokens, types, get)


def _sentencepiece(path: Path, get: Callable[..., Any]) -> Tokenizer:
    tokens, types = _tokens(path, get)
    scores = get("scores", [])
    if len(scores) != len(tokens):
        raise BadCheckpoint(
            f"{path}: a SentencePiece vocabulary has a score for each of its {len(tokens)} pieces; "
            f"it has {len(scores)}."
        )
    apart = [i for i, kind in enumerate(types) if kind not in (NORMAL, USER)]
    unknown = next((i for i, kind in enumerate(types) if kind == UNKNOWN), None)
    prefix = bool(get("add_space_prefix", True))
    inner = scored_bpe(tokens, scores, apart=apart, prefix=prefix, unknown=unknown)
    return _finish(inner, tokens, types, get)


def _finish(inner: Any, tokens: list[str], types: list[int], get: Callable[..., Any]) -> Tokenizer:
    """Control tokens and those added by hand are found in a text before anything else."""
    from tokenizers import AddedToken

    def of(kind: int, special: bool) -> list[Any]:
        return [
            AddedToken(token, special=special, normalized=False)
            for token, its in zip(tokens, types, strict=True)
            if its == kind
        ]

    inner.add_special_tokens(of(CONTROL, True))
    inner.add_tokens(of(USER, False))
    return Tokenizer(inner, bos_id=get("bos_token_id"), eos_id=get("eos_token_id"))
