"""A text with what is known of it: label, group, spans of characters."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from .._arguments import is_int
from .._text import shown


@dataclasses.dataclass(frozen=True)
class Document:
    """A text with its label, its group and labelled spans.

    - `label`: a label of the whole text, such as its language or its source, or None.
    - `group`: documents of one group, such as the chapters of a book, are on one side of every split. By default
      each document is a group of its own.
    - `spans`: `(start, end, label)` in characters.

    ```python
    document = ji.data.Document("The old men walked.", label="en", spans=((4, 7, "adjective"),))
    made = ji.data.pack(tokenizer, [document], ctx=16)
    made.spans("adjective")                             # True at the tokens of "old"
    ```
    """

    text: str
    label: Any = None
    group: Any = None
    spans: tuple[tuple[int, int, Any], ...] = ()


def as_document(item: Any, number: int) -> Document:
    """A text, a pair (text, label) or a `Document`, checked; `number` is named in errors."""
    if isinstance(item, str):
        item = Document(item)
    elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        item = Document(*item)
    if not isinstance(item, Document):
        raise ValueError(
            f"Document {number} is a {type(item).__name__}; give a text, a (text, label), or a "
            "ji.data.Document."
        )
    if not item.text:
        raise ValueError(f"Document {number} is empty; leave it out.")
    as_spans(item.spans, item.text, number, "(start, end, label)")
    return item


def as_spans(found: Any, text: str, number: int, parts: str = "(start, end)") -> list[tuple[Any, ...]]:
    """Spans of characters of the text of a document, checked. `parts` says what each is made of."""
    whole = found if isinstance(found, Iterable) and not isinstance(found, str | bytes) else [found]
    spans: list[tuple[Any, ...]] = [
        tuple(each) if isinstance(each, Iterable) and not isinstance(each, str) else (each,) for each in whole
    ]
    for span in spans:
        if len(span) != parts.count(",") + 1 or not all(is_int(end) for end in span[:2]):
            raise ValueError(
                f"Spans are a list of {parts}, the first two ints that count characters of the text, such as "
                f"[(m.start(), m.end()) for m in re.finditer('the', text)]; document {number} has {shown(found)}."
            )
        start, end = span[0], span[1]
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"A span is (start, end) in characters of its text, not empty; document {number} has "
                f"{len(text)} characters and the span ({start}, {end})."
            )
    return spans
