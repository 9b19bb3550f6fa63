"""The questions of a blind study, and what their answers come to."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from ..._deprecations import respelled
from ...data._lines import BadRecords
from ...typing import PathLike
from ._study_files import check_answers, key_path, read_answers, read_key

QUESTIONS: dict[str, tuple[int, str, str]] = {
    "confidence": (3, "How sure are you of an interpretation?", "0: there is none; leave the rest empty"),
    "activations": (5, "How well do the strongest activations agree with it?", "0: not at all, 5: every one"),
    "logits": (3, "How well do the tokens whose logits it raises agree with it?", "0: not at all"),
    "separation": (1, "Have these tokens a common meaning, though another one?", "0: no, 1: yes"),
    "specificity": (3, "How specific is it?", "0: fires on much else too, 3: on this alone"),
}
MOST = 14  # separation counts only where logits do not agree


def checked(form: dict[str, str]) -> dict[str, Any]:
    """Answers of a form as numbers, with their total; ValueError says what is missing."""
    found: dict[str, Any] = {"interpretation": form.get("interpretation", "")[:2000]}
    for name, (most, question, _) in QUESTIONS.items():
        text = form.get(name, "")
        if not text and found.get("confidence") == 0:
            text = "0"
        if name == "separation" and found["logits"] > 0:
            found[name] = None
            continue
        if name == "separation" and not text:
            text = "0"
        if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= most:
            raise ValueError(f"{question} Choose one of 0 to {most}.")
        found[name] = int(text)
    found["total"] = sum(found[name] or 0 for name in QUESTIONS)
    return found


class GroupRatings(TypedDict):
    """The ratings of one group, in `Ratings`: the number of rated items and of units, the median and the mean of the
    total (at most 14), and the mean of each question.

    ```python
    group = ji.sae.ratings(folder)["groups"]["neurons"]
    group["rated"], group["median"]
    ```"""

    rated: int
    units: int
    median: float | None
    mean: float | None
    confidence: float | None
    activations: float | None
    logits: float | None
    separation: float | None
    specificity: float | None


class PairedRatings(TypedDict):
    """The comparison of two groups, in `Ratings`: the number of pairs with two ratings, the median difference of first
    minus second, and the number of pairs in which the first is higher, equal and lower.

    ```python
    paired = ji.sae.ratings(folder)["paired"]
    paired["pairs"], paired["higher"]
    ```"""

    pairs: int
    difference: float | None
    higher: int
    equal: int
    lower: int


class Ratings(TypedDict):
    """The result of a blind study; made by `ratings`. `items` and `rated` are numbers of items.

    ```python
    found = ji.sae.ratings(folder)
    found["rated"], found["items"], list(found["groups"])
    ```
    """

    items: int
    rated: int
    groups: dict[str, GroupRatings]
    paired: NotRequired[PairedRatings]


@respelled(key="key_file=")
def ratings(folder: PathLike, *, key_file: PathLike | None = None) -> Ratings:
    r"""$\operatorname{median}_{u \in G} \sum_q a_{uq}$ for each group of a blind study, and its pairs.

    **Arguments:**

    - `folder`: the folder of `rating_study`, rated with `rate`. Where an item is rated twice, the last rating counts.
    - `key_file`: the file that says which unit each item belongs to. Default `<folder>.key.json`.

    **Returns:** `Ratings`: `items`, `rated`; `groups`, by name; for two groups also `paired`.

    ```python
    ji.sae.ratings(folder)["groups"]["neurons"]["median"]       # folder is the result of `rating_study`
    ```

    Law: the order of records and the number of runs change nothing.
    """
    folder = Path(folder)
    key = key_path(folder, key_file)
    about = read_key(key)
    about_item = {item["id"]: item for item in about["items"]}
    path = folder / "ratings.jsonl"
    answers = read_answers(folder)
    if not set(answers) <= set(about_item):
        raise BadRecords(f"{path} rates items that {key.name} does not know: is it of another study?")
    check_answers(path, answers, QUESTIONS)
    groups: dict[str, GroupRatings] = {}
    pairs: dict[int, dict[str, int]] = {}
    for name in about["groups"]:
        own = {i: r for i, r in answers.items() if about_item[i]["group"] == name}
        totals = [r["total"] for r in own.values()]
        summary: Any = {
            "rated": len(own),
            "units": len({about_item[i]["unit"] for i in own}),
            "median": float(np.median(totals)) if own else None,
            "mean": float(np.mean(totals)) if own else None,
            **{q: _mean(r.get(q) for r in own.values()) for q in QUESTIONS},
        }
        groups[name] = summary
        for i, record in own.items():
            pairs.setdefault(about_item[i]["pair"], {})[name] = record["total"]
    found: Ratings = {"items": len(about_item), "rated": len(answers), "groups": groups}
    if len(groups) == 2:
        one, two = groups
        gaps = np.asarray([p[one] - p[two] for p in pairs.values() if len(p) == 2], float)
        found["paired"] = {
            "pairs": len(gaps),
            "difference": float(np.median(gaps)) if len(gaps) else None,
            "higher": int((gaps > 0).sum()),
            "equal": int((gaps == 0).sum()),
            "lower": int((gaps < 0).sum()),
        }
    return found


def _mean(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
