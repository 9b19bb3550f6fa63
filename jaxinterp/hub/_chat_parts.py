"""Which characters of a rendered conversation are the content of which message.

A template may trim a content, move it or leave it out, and what it writes around it may hold the same words.
So the conversation is rendered once more with marks around each content, and the marks say where it went.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from .._text import shown

_FIRST, _LAST = 0x10600, 0x10730
"""Linear A: what no text holds, and what Python writes as it is."""

Span = tuple[int, int, int]
"""The number of a message, and the first and the end character of its content."""


def content_spans(messages: list[dict[str, Any]], text: str, render: Callable[[Any], str]) -> list[Span]:
    """Where the contents of messages stand in their rendered text.

    **Arguments:** `render`: the text of messages, as `text` was made of these.
    """
    written = text + repr(messages)
    marks = _unused(written)
    # A template may look at how a content begins or ends; then the mark on the other side tells.
    for sides in ((True, True), (False, True), (True, False)):
        number = iter(range(10**9))
        marked = [
            {**message, "content": _wrapped(message.get("content"), i, marks, sides, number)}
            if "content" in message
            else message
            for i, message in enumerate(messages)
        ]
        try:
            found = _read(render(marked), marks, _cores(messages))
        except ValueError:
            continue
        if found[0] == text:
            return found[1]
    raise ValueError(
        "The template changes what the messages say, so that their positions in its text are not known: its text is "
        f"{shown(text)}. Take positions of the tokens by number, as pos=-1."
    )


def _unused(text: str) -> str:
    """Four characters that are not in a text."""
    fours = ("".join(map(chr, range(first, first + 4))) for first in range(_FIRST, _LAST, 4))
    return next(four for four in fours if not set(four) & set(text))


def _texts(content: Any) -> list[str]:
    """The texts of a content: itself, or those of its blocks."""
    if isinstance(content, list):
        return [
            block["text"]
            for block in content
            if isinstance(block, dict) and isinstance(block.get("text"), str)
        ]
    return [content] if isinstance(content, str) else []


def _cores(messages: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Each text that has more than space, trimmed, with the number of its message."""
    found = [
        (i, text.strip()) for i, message in enumerate(messages) for text in _texts(message.get("content"))
    ]
    return [one for one in found if one[1]]


def _wrapped(content: Any, message: int, marks: str, sides: tuple[bool, bool], number: Iterator[int]) -> Any:
    if isinstance(content, list):
        return [
            {**block, "text": _wrapped(block["text"], message, marks, sides, number)}
            if isinstance(block, dict) and isinstance(block.get("text"), str)
            else block
            for block in content
        ]
    if not isinstance(content, str) or not (core := content.strip()):
        return content
    i, at = next(number), content.index(core)
    before = f"{marks[0]}{i}{marks[1]}" if sides[0] else ""
    after = f"{marks[2]}{i}{marks[3]}" if sides[1] else ""
    return content[:at] + before + core + after + content[at + len(core) :]


def _read(marked: str, marks: str, cores: list[tuple[int, str]]) -> tuple[str, list[Span]]:
    """The text without its marks, and the spans between them."""
    pieces = re.split(f"{marks[0]}(\\d+){marks[1]}|{marks[2]}(\\d+){marks[3]}", marked)
    text, spans, open_at = pieces[0], [], dict[int, int]()
    for begins, ends, piece in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        if begins is not None:
            open_at[int(begins)] = len(text)
            ahead = re.split(f"[{marks}]", piece)[0]
            if f"{marks[2]}{begins}{marks[3]}" not in marked:  # its end is not marked
                message, core = cores[int(begins)]
                spans.append((message, len(text), len(text) + _shared(core, ahead)))
        else:
            message, core = cores[int(ends)]
            start = open_at.pop(int(ends), None)
            spans.append(
                (message, len(text) - _shared(core[::-1], text[::-1]) if start is None else start, len(text))
            )
        text += piece
    return text, sorted(spans)


def _shared(one: str, other: str) -> int:
    """With how many characters both begin."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def contents_of(spans: list[Span], offsets: Int[np.ndarray, "pos 2"]) -> list[int]:
    """For each token the message whose content it holds a character of, or -1.

    Byte-level tokenizers leave a leading space out of `offsets`; it belongs to the token that follows.
    """
    ends = offsets[:, 1]
    starts = np.minimum(offsets[:, 0], np.concatenate([[0], ends[:-1]]))
    out = np.full(len(offsets), -1)
    for message, start, end in spans:
        out[(starts < end) & (ends > start)] = message
    return out.tolist()
