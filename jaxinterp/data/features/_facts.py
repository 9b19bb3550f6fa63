"""Factual attributes: a table of names, and the places of a corpus that end in one of them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .._document import Document


def mentions(
    texts: Iterable[Any],
    table: Mapping[str, Any],
    *,
    before: int = 500,
    least: int = 8,
    most: int | None = None,
) -> list[Document]:
    r"""$\{(\ldots\text{name},\ a_{\text{name}})\}$: snippets that end in a name, labelled by a table.

    **Arguments:**

    - `texts`: texts (or `Document`s) to look through.
    - `table`: name to attribute (an occupation, a country, True for alive). Names need a space in
      them and `least` characters, so that they are names of one person.
    - `before`: characters before the name in an excerpt, cut at a space; 500 by default.
    - `least`: smallest number of characters of a name; 8 by default.
    - `most`: largest number of mentions of a name; all by default.

    **Returns:** a `Document` for each mention: its text ends with the name, its label is the
    attribute, its group the name (no name is in train and in test), and its spans are `"name"` and
    `"surname"` (the last word), for `corpus.spans("surname")` and a maximum over them.

    **Raises:** `ValueError` where no name of the table can be used.

    The facts of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    ```python
    documents = ji.data.features.mentions(texts, {"Marie Curie": "chemist"})
    ```

    Law: every text ends with a name of the table.
    """
    names = [name for name in table if len(name) >= least and " " in name.strip()]
    if not names:
        raise ValueError(
            f"No name of the table has {least} characters and a space in it; there are "
            f"{len(table)} names. Lower least=, or give full names."
        )
    names.sort(key=len, reverse=True)  # "Anna Maria Smith" before "Maria Smith"
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)")
    seen: dict[str, int] = {}
    out = []
    for item in texts:
        text = item.text if isinstance(item, Document) else item
        for match in pattern.finditer(text):
            name = match[0]
            seen[name] = seen.get(name, 0) + 1
            if most is not None and seen[name] > most:
                continue
            start = max(match.start() - before, 0)
            if start:
                space = text.find(" ", start, match.start())
                start = match.start() if space < 0 else space + 1
            snippet = text[start : match.end()]
            at = len(snippet) - len(name)
            surname = len(snippet) - len(name.split()[-1])
            spans = ((at, len(snippet), "name"), (surname, len(snippet), "surname"))
            out.append(Document(snippet, table[name], name, spans))
    return out
