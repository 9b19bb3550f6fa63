"""Factual attributes: a table of names, and the places of a corpus that end in one of them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..._random import host_generator
from ...typing import KeyLike
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


def completions(
    table: Mapping[str, str], templates: Iterable[str], *, key: KeyLike, false: int = 1
) -> list[Document]:
    r"""$\{(t(s, a_s), \text{True})\} \cup \{(t(s, a'), \text{False}) : a' \ne a_s\}$: true and false completions of facts.

    After CounterFact (Meng et al. 2022, https://arxiv.org/abs/2202.05262), for probes of what is true.

    **Arguments:**

    - `table`: subject to answer, such as those of `ji.tasks.facts`.
    - `templates`: texts with {SUBJECT} in them; the answer is written behind, after a space.
    - `key`: draws the false answers, which are answers to other subjects.
    - `false`: how many false completions stand beside each true one, 1 by default.

    **Returns:** a `Document` for each: its label is True or False, its group the subject (no subject is in train and in
    test), and its spans are `"subject"` and `"answer"`.

    **Raises:** `ValueError` for a template without {SUBJECT}, and a table with fewer than two different answers.

    ```python
    documents = ji.data.features.completions(
        {"France": "Paris", "Italy": "Rome"}, ["The capital of {SUBJECT} is"], key=jax.random.key(0)
    )
    ```

    Law: a false completion is the true one of another subject with the same template.
    """
    rng, several = host_generator(key, "ji.data.features.completions(..., key={})"), list(templates)
    answers = sorted(set(table.values()))
    bad = [one for one in several if one.count("{SUBJECT}") != 1]
    if bad or not several or len(answers) < 2 or not 1 <= false < len(answers):
        raise ValueError(
            "Templates have {SUBJECT} in them once, and a table more different answers than false ones are wanted; got "
            f"{bad[0] if bad else several!r}, {len(answers)} answers and false={false}."
        )
    out = []
    for subject, right in table.items():
        for template in several:
            before = template.partition("{SUBJECT}")[0]
            text = template.replace("{SUBJECT}", subject)
            others = rng.choice([answer for answer in answers if answer != right], false, replace=False)
            for answer in (right, *others.tolist()):
                end = len(text) + 1 + len(answer)
                spans = (
                    (len(before), len(before) + len(subject), "subject"),
                    (len(text) + 1, end, "answer"),
                )
                out.append(Document(f"{text} {answer}", answer == right, subject, spans))
    return out
