"""Errors of the library as a shell spells them: `layers=[7]` is `--layers 7` where the command has that option."""

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import click

KEYWORDS = {"batch_size": "--batch", "text": "--field"}
"Keywords of the library whose option has another name."

_VALUE = r"""\[[^\[\]]*\]|\([^()]*\)|'[^']*'|"[^"]*"|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w*])|True|False|None|\.\.\."""
_SAVE = re.compile(r"\b(?:figure\.)?save\(('[^']*')\)")
_CALL = re.compile(r"(?:settings=)?(?<![\w.])[A-Za-z_][\w.]*\(")
_KEYWORD = re.compile(rf"(?<![\w.])(?:settings\.)?([a-z_]+)=(?:({_VALUE})|(?=[\s.,;:)]|$))")


def in_shell(message: str, command: click.Command | None) -> str:
    """The same message, where keywords that are options of the command are written as such.

    `site='z[0]'` becomes `--site "z[0]"`, and `f(x, site='z[0]')` too: a call of which every keyword is an
    option. `save('x.html')` becomes the name alone. Any other call, and a value that a shell cannot write,
    stays as it is.
    """
    message = _SAVE.sub(r"\1", message)
    options = _options(() if command is None else command.params)
    done, at = "", 0
    while (found := _CALL.search(message, at)) is not None:
        stop = _end(message, found.end())
        done += _renamed(message[at : found.start()], options)
        done += _of_call(message[found.start() : stop], options)
        at = stop
    return done + _renamed(message[at:], options)


def _options(params: Iterable[click.Parameter]) -> dict[str, click.Option]:
    """The options of a command by the names that the library may use for them."""
    found: dict[str, click.Option] = {}
    for each in params:
        if isinstance(each, click.Option) and each.name not in (
            "debug",
            "seed",
        ):  # a seed is a key there, and other numbers
            found |= dict.fromkeys((str(each.name), each.opts[0].lstrip("-").replace("-", "_")), each)
            found |= {name: each for name, option in KEYWORDS.items() if option in each.opts}
    return found


def _end(text: str, at: int) -> int:
    """Where the parenthesis closes that was opened before `at`; the text may hold quoted ones."""
    depth, quote = 1, ""
    for i in range(at, len(text)):
        char = text[i]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
        if not depth:
            return i + 1
    return at


def _of_call(text: str, options: Mapping[str, click.Option]) -> str:
    try:
        call = ast.parse(text.removeprefix("settings="), mode="eval").body
        words = [_written(options[name], value) for name, value in _keywords(call)]
    except (KeyError, SyntaxError, ValueError):
        return text
    return " ".join(words) or text


def _keywords(call: Any) -> list[tuple[str, Any]]:
    """The keywords of a call, and those of a call that is a value of it."""
    found: list[tuple[str, Any]] = []
    for each in getattr(call, "keywords", ()):
        if isinstance(each.value, ast.Call):
            found += _keywords(each.value)
        else:
            found.append((str(each.arg), ast.literal_eval(each.value)))
    return found


def _renamed(text: str, options: Mapping[str, click.Option]) -> str:
    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        try:
            return (
                options[name].opts[0] if value is None else _written(options[name], ast.literal_eval(value))
            )
        except (SyntaxError, ValueError):
            return found[0]

    return _KEYWORD.sub(option, text)


def _written(option: click.Option, value: Any) -> str:
    """An option with its value, as it is typed."""
    name = option.opts[0]
    if isinstance(value, bool) and option.is_flag:
        if not value and not option.secondary_opts:
            return f"no {name}"
        return name if value else option.secondary_opts[0]
    if value is None:
        return f"no {name}"
    if isinstance(value, bool | dict | set):
        raise ValueError("A shell does not write this value.")
    if not isinstance(value, list | tuple):
        return f"{name} {_quoted(value)}"
    if option.multiple:
        return " ".join(f"{name} {_quoted(each)}" for each in value if each is not ...) or name
    return f"{name} {_quoted(','.join('...' if each is ... else str(each) for each in value))}"


def _quoted(value: Any) -> str:
    """A value for the shell, in double quotes where it needs some."""
    if value is ...:
        return "..."
    text = str(value)
    if re.fullmatch(r"[\w.,:/+-]+", text):
        return text
    return '"' + re.sub(r'(["\\$`])', r"\\\1", text) + '"'
