"""The small files beside a vocabulary: tokens added to it, and which token is BOS or EOS.

They come in three vintages. `added_tokens.json` (text to id) and `special_tokens_map.json` (role to
token) are the older ones; `added_tokens_decoder` in `tokenizer_config.json` (id to token, with how
it is matched) is the newer one, and replaces both where it is there.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._read import FLAG, TEXT, Rule, check, integer, or_null, shown, table_of
from ._chat_files import TEMPLATES, ChatFormat, read_template
from ._errors import BadCheckpoint
from ._tensors import read_json

CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
BYTE_LEVEL = ("GPT2Tokenizer", "GPTNeoXTokenizer")
"""Classes of the reference that build the pre-tokenizer themselves, by `add_prefix_space`."""
ID = integer()
"""Ids are counted from 0 and fit 31 bits."""
TOKEN = {"content": TEXT, **dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), FLAG)}
_IS_TOKEN = Rule("a text, or a table with the text as `content`", lambda v: TEXT.holds(v) or _is_token(v))
_TOKENS = Rule(
    "a list of tokens, or a table of them",
    lambda v: (
        all(map(_IS_TOKEN.holds, v.values() if isinstance(v, Mapping) else v))
        if isinstance(v, Mapping | list)
        else False
    ),
)
_BY_ID = Rule(
    "a table of ids, from 0 to 2147483647, to tables with the text as `content`",
    lambda v: (
        isinstance(v, Mapping)
        and all(
            k.isascii() and k.isdigit() and len(k) < 11 and ID.holds(int(k)) and _is_token(t)
            for k, t in v.items()
        )
    ),
)
SAID = {
    **{role: or_null(_IS_TOKEN) for role in ROLES},
    "added_tokens_decoder": _BY_ID,
    "extra_special_tokens": or_null(_TOKENS),
    "additional_special_tokens": or_null(_TOKENS),
    "add_prefix_space": or_null(FLAG),
    "tokenizer_class": or_null(TEXT),
    "chat_template": TEMPLATES,
}


def _is_token(value: Any) -> bool:
    """Whether an object of a token is one; what else it says does not matter."""
    return (
        isinstance(value, Mapping)
        and "content" in value
        and all(rule.holds(value[name]) for name, rule in TOKEN.items() if name in value)
    )


@dataclasses.dataclass(frozen=True)
class Beside:
    """What the files say: `roles` to tokens (None: there is none), `extra` ones, `added` by id."""

    roles: Mapping[str, Any]
    extra: tuple[Any, ...]
    added: Mapping[int, Any]
    config: Mapping[str, Any]

    @property
    def prefix_space(self) -> bool | None:
        """Whether every text gets a space in front, where the tokenizer's class decides that."""
        prefix = self.config.get("add_prefix_space")
        name = str(self.config.get("tokenizer_class")).removesuffix("Fast")
        return bool(prefix) if name in BYTE_LEVEL and prefix is not None else None

    def add_to(self, inner: Any) -> None:
        """Adds what the tokenizer lacks; a token of the vocabulary keeps its id."""
        known = {token.content for token in inner.get_added_tokens_decoder().values()}
        named = {token.content for token in self.roles.values() if token is not None}
        wanted = {token.content: token for _, token in sorted(self.added.items())}
        for token in (*self.roles.values(), *self.extra):
            if token is not None and token.content not in known:
                wanted.setdefault(token.content, token)
        for token in wanted.values():
            token.special = token.special or token.content in named
        inner.add_tokens(list(wanted.values()))
        for i, token in self.added.items():
            found = inner.token_to_id(token.content)
            if found != i:
                warnings.warn(
                    f"An added token has one id in all files; {token.content!r} has {i} in "
                    f"{CONFIG} or {ADDED}, and {found} in the vocabulary, which is used.",
                    stacklevel=2,
                )

    def ids(self, folder: Path, inner: Any) -> dict[str, int | None]:
        """`bos_id` and `eos_id`, as far as the files, `config.json` among them, say so."""
        found: dict[str, int | None] = {}
        about = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        for key in ("bos", "eos"):
            i = about.get(f"{key}_token_id")
            if isinstance(i, int) and ID.holds(i) and 0 <= i < inner.get_vocab_size():
                found[f"{key}_id"] = i
            if f"{key}_token" in self.roles:
                token = self.roles[f"{key}_token"]
                i = None if token is None else inner.token_to_id(token.content)
                if token is None or i is not None:
                    found[f"{key}_id"] = i
        return found

    def chat(self, folder: Path) -> ChatFormat:
        """The chat template, and the texts of the special tokens; None where no file names one."""
        special = {role: token.content for role, token in self.roles.items() if token is not None}
        return ChatFormat(
            read_template(folder, self.config.get("chat_template")), special if self.roles else None
        )


def read_beside(folder: Path, roles: Mapping[str, str] | None = None) -> Beside:
    """The files of a folder; `roles` are those of the tokenizer's class where no file says one."""
    config, special, listed = (
        dict(read_json(folder / name)) if (folder / name).is_file() else {}
        for name in (CONFIG, SPECIAL, ADDED)
    )
    for name, content in ((CONFIG, config), (SPECIAL, special)):
        check(folder / name, content, SAID, error=BadCheckpoint)
    if not table_of(ID).holds(listed):
        broken = {text: i for text, i in listed.items() if not table_of(ID).holds({text: i})}
        raise BadCheckpoint(
            f"{folder / ADDED} maps each added token to its id, an int from 0 to 2147483647; got "
            f"{shown(broken)}."
        )
    newer = "added_tokens_decoder" in config
    about = {**(roles or {}), **(special | config if newer else config | special)}
    extra = about.get("extra_special_tokens") or about.get("additional_special_tokens") or []
    if isinstance(extra, Mapping):
        about, extra = about | dict(extra), []
    if newer:
        added = {int(i): _token(token) for i, token in (config["added_tokens_decoder"]).items()}
    else:
        texts = {_text(about.get(role)) for role in ROLES} | {_text(token) for token in extra}
        added = {i: _token(text, special=text in texts) for text, i in listed.items()}
    by_text = {token.content: token for token in added.values()}

    def tokens(values: Any) -> list[Any]:
        texts = [(_text(value), value) for value in values]
        return [by_text.get(text) or _token(value, special=True) for text, value in texts if text]

    kept = {
        role: (tokens([about[role]]) or [None])[0]
        for role in dict.fromkeys([*ROLES, *about])
        if role in about and role.endswith("_token") and (about[role] is None or _text(about[role]))
    }
    return Beside(kept, tuple(tokens(extra)), added, config)


def _text(value: Any) -> str:
    """The text of a token: a string, or an object with `content`; "" for anything else."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else ""


def _token(value: Any, *, special: bool = False) -> Any:
    """A `tokenizers.AddedToken`; a special one is found in the text as it stands."""
    from tokenizers import AddedToken

    if not isinstance(value, Mapping):
        return AddedToken(_text(value), special=special, normalized=not special)
    flags = ("lstrip", "rstrip", "single_word", "normalized")
    options = {name: bool(value[name]) for name in flags if name in value}
    special = special or bool(value.get("special", False))
    return AddedToken(_text(value), special=special, **options)
