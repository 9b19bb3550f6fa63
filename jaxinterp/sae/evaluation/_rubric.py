"""The questions of a blind study, and what their answers come to."""

from pathlib import Path
from typing import Any

import numpy as np

from ...data._lines import BadRecords
from ._study_files import check_answers, read_key, read_said

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


def ratings(folder: Any, *, key: Any = None) -> dict[str, Any]:
    r"""$\operatorname{median}_{u \in G} \sum_q a_{uq}$ for each group of a blind study, and its pairs.

    **Arguments:** `folder` of `rating_study`, rated with `rate`; `key`, by default
    `<folder>.key.json`. Of an item rated twice the last counts.

    **Returns:** a dict: `items` and `rated`, numbers; `groups`, by name a dict of `rated`, `units`, `median` and
    `mean` of the total (at most 14), and the mean of each question; of two groups also `paired`: `pairs` of
    which both are rated, `difference`, the median of first minus second, and in how many the
    first is `higher`, `equal`, `lower`.

    ```python
    ji.sae.ratings("study")["groups"]["neurons"]["median"]
    ```

    Law: records in any order, and of any number of runs, give the same.
    """
    folder = Path(folder)
    key = Path(key) if key is not None else folder.with_name(f"{folder.name}.key.json")
    about = read_key(key)
    told = {item["id"]: item for item in about["items"]}
    path = folder / "ratings.jsonl"
    said = read_said(folder)
    if not set(said) <= set(told):
        raise BadRecords(f"{path} rates items that {key.name} does not know: is it of another study?")
    check_answers(path, said, QUESTIONS)
    groups: dict[str, Any] = {}
    pairs: dict[int, dict[str, int]] = {}
    for name in about["groups"]:
        own = {i: r for i, r in said.items() if told[i]["group"] == name}
        totals = [r["total"] for r in own.values()]
        groups[name] = {
            "rated": len(own),
            "units": len({told[i]["unit"] for i in own}),
            "median": float(np.median(totals)) if own else None,
            "mean": float(np.mean(totals)) if own else None,
            **{q: _mean(r.get(q) for r in own.values()) for q in QUESTIONS},
        }
        for i, record in own.items():
            pairs.setdefault(told[i]["pair"], {})[name] = record["total"]
    found = {"items": len(told), "rated": len(said), "groups": groups}
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
