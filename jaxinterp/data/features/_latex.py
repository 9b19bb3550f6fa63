"""LaTeX: spans of what a source is made of, by patterns and a small machine for `$`."""

import re

LATEX_MIRRORS = {
    "numerator": "denominator",
    "denominator": "numerator",
    "subscript": "superscript",
    "superscript": "subscript",
    "inline_math": "display_math",
    "display_math": "inline_math",
    "start_math": "end_math",
    "end_math": "start_math",
}
"""Features whose negatives come half from each other (`sample(..., mirror=)`)."""

_NAMES = (
    "frac",
    "numerator",
    "denominator",
    "title",
    "abstract",
    "author",
    "subscript",
    "superscript",
    "reference",
    "math",
    "inline_math",
    "display_math",
    "start_math",
    "end_math",
)
_DISPLAY = "equation|align|displaymath|eqnarray|gather|multline|flalign|math"
_BEGIN = re.compile(r"\\begin\{(" + _DISPLAY + r")(\*?)\}")
_DELIMITER = re.compile(
    r"\\\\|\\\$|(?<!\\)%[^\n]*|\$\$|\$|\\\(|\\\)|\\\[|\\\]|\\(?:begin|end)\{(?:" + _DISPLAY + r")\*?\}"
)

Spans = list[tuple[int, int]]


def latex(text: str) -> dict[str, Spans]:
    r"""Spans of 14 features of a LaTeX source: `frac`, `numerator`, ..., `start_math`, `end_math`.

    `frac` is the command itself. `numerator`, `denominator`, `title`, `author`, `subscript` and
    `superscript` are the text in the braces (one character without braces). `abstract` is the
    inside of the environment, and `reference` the inside of `\ref`, `\cite` and similar commands.
    `start_math` and `end_math` are the delimiters, `math` is everything between them, and `inline_math`
    and `display_math` are its two kinds. Comments and `\$` open no formula; a formula without an end
    ends with its paragraph.

    **Returns:** a mapping with the names of all 14 features, each to its spans `(start, end)`, ascending.

    The LaTeX features of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    ```python
    corpus.spans(lambda text: ji.data.features.latex(text)["numerator"])
    ```

    Laws: `math` is `inline_math` and `display_math`; braces inside braces are balanced.
    """
    out: dict[str, Spans] = {name: [] for name in _NAMES}
    _formulas(text, out)
    for match in re.finditer(r"\\[dtc]?frac(?![a-zA-Z])", text):
        out["frac"].append(match.span())
        place = match.end()
        for name in ("numerator", "denominator"):
            found = _argument(text, place)
            if found is None:
                break
            _add(out[name], found[0], found[1])
            place = found[2]
    for name in ("title", "author"):
        for match in re.finditer(r"\\" + name + r"(?![a-zA-Z])\s*(?:\[[^\]]*\])?\s*(?=\{)", text):
            found = _argument(text, match.end())
            if found is not None:
                _add(out[name], found[0], found[1])
    for match in re.finditer(r"\\begin\{abstract\}(.*?)\\end\{abstract\}", text, re.S):
        _add(out["abstract"], *match.span(1))
    for match in re.finditer(r"\\(?:[a-zA-Z]*ref|cite[a-zA-Z]*)\*?\s*(?:\[[^\]]*\]\s*)*\{([^{}]*)\}", text):
        _add(out["reference"], *match.span(1))
    for start, end in out["math"]:
        for match in re.finditer(r"(?<!\\)[_^]", text[start:end]):
            found = _argument(text, start + match.end(), end)
            if found is not None:
                _add(out["subscript" if match[0] == "_" else "superscript"], found[0], found[1])
    return out


def _add(spans: Spans, start: int, end: int) -> None:
    if start < end:
        spans.append((start, end))


def _argument(text: str, place: int, stop: int | None = None) -> tuple[int, int, int] | None:
    """The argument of a command: `(start, end, what comes after)`, braces balanced."""
    stop = len(text) if stop is None else stop
    while place < stop and text[place] in " \t\n":
        place += 1
    if place >= stop or text[place] in "}$":
        return None
    if text[place] != "{":
        command = re.compile(r"\\[a-zA-Z]+|\\.|.", re.S).match(text, place)
        assert command is not None
        return place, command.end(), command.end()
    depth, i = 0, place
    while i < stop:
        if text[i] == "\\":
            i += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return place + 1, i, i + 1
        i += 1
    return None


def _formulas(text: str, out: dict[str, Spans]) -> None:
    """The delimiters in order, one state: outside, or inside after a known opener."""
    closers = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
    opener: re.Match[str] | None = None
    place = 0
    while match := _DELIMITER.search(text, place):
        sign, place = match[0], match.end()
        if (
            opener is not None
            and "\n\n" in text[opener.end() : match.start()]
            and not opener[0].startswith("\\begin")
        ):
            # TeX ends a formula at an empty line, with an error; so a stray $ costs one paragraph.
            end = text.index("\n\n", opener.end())
            _close(out, opener, end, None)
            opener, place = None, end
            continue
        if sign.startswith(("\\\\", "\\$", "%")):
            continue
        if opener is None:
            if sign in closers or _BEGIN.fullmatch(sign):
                opener = match
            continue
        begin = _BEGIN.fullmatch(opener[0])
        closer = f"\\end{{{begin[1]}{begin[2]}}}" if begin else closers[opener[0]]
        if sign == closer:
            _close(out, opener, match.start(), match)
            opener = None
        elif opener[0] == "$" and sign == "$$":  # "$a$$b$" are two formulas
            _close(out, opener, match.start(), match, 1)
            opener, place = None, match.start() + 1
    if opener is not None:
        end = text.find("\n\n", opener.end())
        _close(out, opener, len(text) if end < 0 else end, None)


def _close(
    out: dict[str, Spans],
    opener: re.Match[str],
    end: int,
    closer: re.Match[str] | None,
    width: int | None = None,
) -> None:
    kind = "inline_math" if opener[0] in ("$", "\\(") else "display_math"
    out["start_math"].append(opener.span())
    _add(out["math"], opener.end(), end)
    _add(out[kind], opener.end(), end)
    if closer is not None:
        stop = closer.end() if width is None else closer.start() + width
        out["end_math"].append((closer.start(), stop))
