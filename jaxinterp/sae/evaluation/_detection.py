"""Detection: in which of these texts does the feature fire?"""

from typing import Any

import numpy as np

from ..._deprecations import respelled
from ...stats import Record, metrics
from ...typing import ArrayLike, KeyLike
from ._window_places import feature_generator
from ._windows import Sheet

TOP, IMPORTANT, RANDOM = 2, 2, 10
FIRES = 0.01  # of the maximum: less counts as silence


def detection(sheet: Sheet, key: KeyLike) -> tuple[list[list[str]], list[bool]]:
    """14 texts of a sheet, and in which of them the feature fires.

    2 of the top, 2 drawn by the activation that their interval holds, and 10 random ones, in
    a random order. A random text counts by what it is: the feature may fire in it. SAEBench
    (https://github.com/adamkarvonen/SAEBench).
    """
    rng = feature_generator(key, sheet.feature, 2)
    of = lambda *kinds: [w for w in sheet.tests if w.kind in kinds]
    top, others = of("top")[:TOP], [*of("top")[TOP:], *of("interval")]
    # Each window stands for its share of what its interval holds.
    intervals = np.asarray([w.interval for w in others], int)
    weight = sheet.sums[intervals] / np.maximum(np.bincount(intervals, minlength=1)[intervals], 1)
    weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(others), 1 / max(len(others), 1))
    count = min(IMPORTANT, int((weight > 0).sum()))
    drawn = rng.choice(len(others), count, replace=False, p=weight) if count else []
    texts = [*top, *(others[int(j)] for j in drawn), *of("random")[:RANDOM]]
    texts = [texts[j] for j in rng.permutation(len(texts))]
    fires = [bool(np.nanmax(w.activations, initial=0) > FIRES * sheet.maximum) for w in texts]
    return [list(w.tokens) for w in texts], fires


def text_scores(answer: ArrayLike | None, fires: list[bool]) -> Record:
    """What the answer of a `detect` is worth: `detection`, and of scores `detection_auc`, ties a half."""
    given = np.asarray([] if answer is None else answer)
    if given.shape != (len(fires),) or not np.issubdtype(given.dtype, np.floating):
        return {"detection": detection_score(answer, fires)}
    if not np.isfinite(given).all():
        raise ValueError(
            f"detect gives indices of texts, or a finite score for each of {len(fires)} texts; got "
            f"{given.tolist()}."
        )
    found: Record = {"detection": detection_score(np.flatnonzero(given > 0), fires)}
    truth = np.asarray(fires, bool)
    if truth.any() and not truth.all():
        found["detection_auc"] = float(metrics(truth, given).roc_auc)
    return found


@respelled(said="named=")
def detection_score(named: ArrayLike | None, fires: ArrayLike) -> float:
    r"""$\frac1n \sum_j [\hat y_j = y_j]$: the share of n texts for which the answer of a judge is right.

    **Arguments:**

    - `named`: indices, from 0, of the texts in which the feature fires according to the judge.
    - `fires (n,)`: True for the texts in which it fires.

    **Returns:** the share of right answers.

    **Raises:** ValueError for indices that are not there.

    ```python
    ji.sae.detection_score([0, 2], [True, False, False, True])  # 0.5
    ```

    Law: the true indices have the score 1, and exactly the wrong ones 0.
    """
    truth = np.asarray(fires, bool)
    answers: Any = [] if named is None else named
    chosen, n = np.asarray(list(answers)).ravel(), len(truth)
    whole = not len(chosen) or np.issubdtype(chosen.dtype, np.integer)
    if not whole or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < n):
        raise ValueError(
            f"detect names the texts in which the feature fires, by indices 0..{n - 1} in a list; got {chosen.tolist()[:8]}."
        )
    return float((np.isin(np.arange(n), chosen) == truth).mean())
