"""What the keys of a file may hold: a table of rules for each kind of file, and one function that checks.

LENS = {"num_hidden_layers": SIZE, "d_model": SIZE, "bias": or_null(FLAG)}
check(path, config, LENS, required=("num_hidden_layers", "d_model"))
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._text import shown

MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule in words, and whether a value keeps it."""

    words: str
    holds: Callable[[Any], bool]
    each: "Rule | None" = None
    "What every entry of a list or a table keeps."


def check(
    where: Any,
    content: Any,
    schema: Mapping[str, Rule],
    *,
    required: Iterable[str] = (),
    error: type[ValueError] = ValueError,
) -> Any:
    """`content`, a table whose keys keep their rules; keys without a rule are not looked at.

    **Raises:** `error`, which names the file, the key, the rule and what is there.
    """
    if not isinstance(content, Mapping):
        raise error(f"{where} must hold a table of names and values; got {shown(content)}.")
    required = list(required)
    for key in required:
        if key not in content:
            raise error(f"{where} lacks {key!r}, {schema[key].words}; it has {shown(list(content))}.")
    for key, rule in schema.items():
        if key in content and not rule.holds(content[key]):
            raise error(f"{where}: {key!r} must be {rule.words}; got {_broken(rule, content[key])}.")
    return content


def _broken(rule: Rule, value: Any) -> str:
    """What breaks the rule: of a long list or table the first entry that does."""
    if rule.each is not None and isinstance(value, Mapping | list | tuple):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, entry in entries:
            if not rule.each.holds(entry):
                return f"{shown(entry)} at {shown(name)}"
    return shown(value)


def integer(low: int = 0, high: int = MOST) -> Rule:
    """An int in a range, both ends included; True and 2.0 are none."""
    reach = f"of {low} or more" if high == MOST else f"from {low} to {high}"
    return Rule(f"an int {reach}", lambda v: _is_int(v) and low <= v <= high)


def number(low: float | int = -math.inf, high: float | int = math.inf, *, above: bool = False) -> Rule:
    """A finite int or float in a range; `above`: without its lower end."""

    def holds(value: Any) -> bool:
        if not (_is_int(value) or isinstance(value, float)) or not -1e300 < value < 1e300:
            return False
        return (low < value if above else low <= value) and value <= high

    ends = [f"{'above' if above else 'of at least'} {low:g}"] if low > -math.inf else []
    ends += [f"of at most {high:g}"] if high < math.inf else []
    return Rule(" ".join(["a finite number", " and ".join(ends)]).strip(), holds)


def one_of(*values: Any) -> Rule:
    """One of some texts, ints or flags, of the same type."""
    choices = ", ".join(map(repr, values))
    same = lambda a, b: type(a) is type(b) and a == b
    return Rule(f"one of {choices}", lambda v: any(same(v, each) for each in values))


def list_of(rule: Rule, *, least: int = 0, most: int = MOST) -> Rule:
    """A list whose entries all keep a rule."""
    words = f"a list of {'at least ' + str(least) + ' of ' if least else ''}{rule.words}"
    return Rule(
        words,
        lambda v: isinstance(v, list | tuple) and least <= len(v) <= most and all(map(rule.holds, v)),
        rule,
    )


def table_of(rule: Rule) -> Rule:
    """A table with texts for keys whose values all keep a rule."""
    return Rule(
        f"a table of names to {rule.words}",
        lambda v: (
            isinstance(v, Mapping)
            and all(isinstance(k, str) and _is_unicode(k) and rule.holds(each) for k, each in v.items())
        ),
        rule,
    )


def or_null(rule: Rule) -> Rule:
    """What keeps a rule, or null."""
    return Rule(f"{rule.words}, or null", lambda v: v is None or rule.holds(v), rule.each)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written; JSON spells halves of characters, which cannot."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


SIZE = integer(1)
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("a text", lambda v: isinstance(v, str) and _is_unicode(v))
TABLE = Rule("a table of names and values", lambda v: isinstance(v, Mapping))
