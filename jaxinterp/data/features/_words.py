"""Words: their spans, their endings, their capitals; the ends of sentences."""

import re

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_END = re.compile(r"[.!?]+(?=[\"'\u201d\u2019)\]]*(?:\s+[\"'\u201c\u2018(\[]*[^\Wa-z_]|\s*$))")
_SHORT = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "jr", "sr", "e.g", "i.e", "no", "fig"}

SUFFIXES = {
    "past_ed": "ed",
    "gerund_ing": "ing",
    "adverb_ly": "ly",
    "noun_tion": "tion",
    "noun_ness": "ness",
    "noun_ment": "ment",
    "agent_er": "er",
    "superlative_est": "est",
    "adjective_ful": "ful",
    "adjective_less": "less",
    "adjective_able": "able",
    "plural_s": "s",
}
"""Endings of English words that stand for a part of their morphology."""


def words(text: str) -> list[tuple[int, int]]:
    """The spans `(start, end)` of the words of a text: letters of any script, with apostrophes inside.

    ```python
    ji.data.features.words("Don't panic, 42!")          # [(0, 5), (6, 11)]
    ```

    Law: no span holds white space or a digit.
    """
    return [m.span() for m in _WORD.finditer(text)]


def suffix(text: str, ending: str, *, least: int = 3) -> list[tuple[int, int]]:
    r"""$\{w : w \text{ ends with } s,\ |w| \ge |s| + l\}$: words by their ending, in any case.

    This approximates morphology without a treebank. "red" does not count as a past tense, because fewer
    than `least` letters stand before the ending, but "hundred" does. `read_conllu` reads true labels.

    **Arguments:**

    - `text`: a string.
    - `ending`: letters, or a name of `SUFFIXES`.
    - `least`: smallest number of letters before the ending; 3 by default.

    ```python
    adverbs = corpus.spans(lambda t: ji.data.features.suffix(t, "ly"), at="last")
    ```

    Law: every word found has the ending.
    """
    ending = SUFFIXES.get(ending, ending).lower()
    if not ending.isalpha():
        raise ValueError(f"An ending is made of letters, or is one of {list(SUFFIXES)}; got {ending!r}.")
    shortest = len(ending) + least
    return [(a, b) for a, b in words(text) if b - a >= shortest and text[a:b].lower().endswith(ending)]


def capitalised(text: str, *, inside: bool = True) -> list[tuple[int, int]]:
    """The spans of words with a capital first letter, without those that begin a sentence or a line.

    In English most of these words are names, and in German nouns.

    **Arguments:**

    - `text`: a string.
    - `inside`: whether words that begin a sentence or a line are left out; True by default.

    ```python
    ji.data.features.capitalised("The city of Paris.")  # [(12, 17)]
    capitals = corpus.spans(ji.data.features.capitalised)
    ```
    """
    ends = [end for _, end in sentence_ends(text)]
    starts = {0, *(m.end() for m in re.finditer(r"\n\s*", text))}
    firsts = set()
    found = words(text)
    for place in [*starts, *ends]:
        after = next((a for a, _ in _from(found, place)), None)
        if after is not None:
            firsts.add(after)
    return [(a, b) for a, b in found if text[a].isupper() and not (inside and a in firsts)]


def _from(found: list[tuple[int, int]], place: int) -> list[tuple[int, int]]:
    """The word at or after a place, if any."""
    import bisect

    i = bisect.bisect_left(found, (place, 0))
    return found[i : i + 1]


def sentence_ends(text: str) -> list[tuple[int, int]]:
    """The spans of the marks that end sentences: `.!?` before a capital, or at the end of the text.

    A period after a common abbreviation or a single capital ("Mr. X", "J. Smith") does not count.

    ```python
    ji.data.features.sentence_ends("Mr. X left. He did!")   # [(10, 11), (18, 19)]
    ```
    """
    found = []
    for match in _END.finditer(text):
        before = re.search(r"[\w.]+$", text[: match.start()][-12:])
        word = before[0].lower() if before else ""
        initial = len(word) == 1 and word.isalpha() and before and before[0].isupper()
        if match[0] == "." and (word in _SHORT or initial) and match.end() < len(text.rstrip()):
            continue
        found.append(match.span())
    return found
