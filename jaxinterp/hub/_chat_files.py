"""Where a model's files keep its chat template, and how it is written back."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .._disk import put
from .._read import TEXT, Rule, read_text
from ._errors import BadCheckpoint

FILE = "chat_template.jinja"
FOLDER = "additional_chat_templates"
"""The folder of named templates, one a file."""
NAME = re.compile(r"[\w-]{1,80}")
TEMPLATES = Rule(
    "a text, a table of texts by name, or a list of tables with a `name` and a `template`",
    lambda v: v is None or TEXT.holds(v) or _by_name(v) is not None,
)


class ChatFormat(NamedTuple):
    """A chat template (or several by name), and the texts of special tokens that it may write."""

    template: str | Mapping[str, str] | None = None
    special: Mapping[str, str] | None = None


def as_template(value: Any) -> str | dict[str, str] | None:
    """What `chat_template` of a JSON file says: a text, or texts by name."""
    if value is None or isinstance(value, str):
        return value
    return _by_name(value) or None


def _by_name(value: Any) -> dict[str, str] | None:
    if isinstance(value, Mapping):
        entries = list(value.items())
    elif isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        entries = [(one.get("name"), one.get("template")) for one in value]
    else:
        return None
    texts = all(isinstance(name, str) and isinstance(text, str) for name, text in entries)
    return {str(name): str(text) for name, text in entries} if texts else None


def read_template(folder: Path, from_config: Any) -> str | Mapping[str, str] | None:
    """The template of a folder: of its Jinja files, or else what `tokenizer_config.json` says."""
    named = {}
    if (folder / FILE).is_file():
        named["default"] = _text(folder / FILE)
    if (folder / FOLDER).is_dir():
        for path in sorted((folder / FOLDER).glob("*.jinja"))[:100]:
            named[path.stem] = _text(path)
    if list(named) == ["default"]:
        return named["default"]
    return named or as_template(from_config)


def _text(path: Path) -> str:
    return read_text(path, max_bytes=2**22, error=BadCheckpoint)


def write_template(folder: Path, template: str | Mapping[str, str] | None) -> None:
    """The Jinja files of a template, as transformers writes them."""
    named = {"default": template} if isinstance(template, str) else dict(template or {})
    for name, text in named.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"The name of a chat template becomes that of a file: letters, digits, - and _; got {name!r}."
            )
        path = folder / FILE if name == "default" else folder / FOLDER / f"{name}.jinja"
        path.parent.mkdir(exist_ok=True)
        put(path, text.encode())


def of_files(names: Iterable[str]) -> list[str]:
    """The files of a repository that hold chat templates."""
    return sorted(name for name in names if name == FILE or re.fullmatch(rf"{FOLDER}/[^/]+\.jinja", name))
