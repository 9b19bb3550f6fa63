"""How good a probe is, from its scores; every measure of the literature, and its interval."""

from typing import Any

import jax
import numpy as np

from ._input import as_labels, as_real


def metrics(
    y: Any, score: Any, *, bootstrap: int = 0, key: Any = None, level: float = 0.95
) -> dict[str, Any]:
    r"""Measures of a binary probe, $F_\beta = \frac{(1+\beta^2) P R}{\beta^2 P + R}$ and the rest, from scores.

    Hard predictions are `score > 0`; a score of exactly 0 is negative. 0/0 counts as 0. Gurnee et
    al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:** `y (n,)` in {0, 1}; `score (n,)` decisions of a probe (log odds). `bootstrap`: how
    many resamples of the examples, which needs a `key`; classes keep their sizes.

    **Returns:** a dict of floats: `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1`,
    `f0_5`, `f2`, `mcc`, `kappa`, `fowlkes_mallows`, `roc_auc` (ties count half), `pr_auc` (trapezoid),
    `average_precision` (steps), `log_loss` (nats, of the sigmoid of the score), the counts `tp`,
    `fp`, `fn`, `tn` and `positive_share`. With `bootstrap` also `intervals`: a dict from measure to
    (low, high) at the `level`.

    **Raises:** ValueError for one class only, lengths that differ, scores that are not finite.

    ```python
    found = ji.probes.metrics(y, probe.decision(x), bootstrap=200, key=jax.random.key(0))
    found["f1"], found["intervals"]["f1"]
    ```

    Law: equal to scikit-learn's functions of the same names.
    """
    score = np.asarray(score)
    if score.ndim != 1 or not score.size:
        raise ValueError(f"score is one number per example, (n,); got the shape {score.shape}.")
    signs = as_labels(y, len(score))
    score = as_real(score, len(score))
    found = _binary(signs > 0, score)
    if bootstrap:
        if key is None:
            raise ValueError("Resampling needs a key: metrics(..., key=jax.random.key(0)).")
        if not 0 < level < 1:
            raise ValueError(f"level is a share between 0 and 1, as 0.95; got {level}.")
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
        up, down = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
        drawn = []
        for _ in range(bootstrap):
            rows = np.r_[rng.choice(up, len(up)), rng.choice(down, len(down))]
            drawn.append(_binary(signs[rows] > 0, score[rows]))
        ends = [(1 - level) / 2, (1 + level) / 2]
        found["intervals"] = {
            name: tuple(float(v) for v in np.quantile([each[name] for each in drawn], ends))
            for name in found
        }
    return found


def _over(a: float, b: float) -> float:
    return float(a / b) if b else 0.0


def _binary(up: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    n = len(up)
    said = score > 0
    tp, fp = float((said & up).sum()), float((said & ~up).sum())
    fn, tn = float((~said & up).sum()), float((~said & ~up).sum())
    precision, recall = _over(tp, tp + fp), _over(tp, tp + fn)
    beta = lambda b: _over((1 + b * b) * precision * recall, b * b * precision + recall)
    chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / n**2
    accuracy = (tp + tn) / n
    # One sort serves all curves: at every distinct score, how many of each class lie at or above.
    order = np.argsort(-score, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(score[order])), n - 1]
    hits = np.cumsum(up[order])[last].astype(float)
    false = 1.0 + last - hits
    p_curve, r_curve = hits / (hits + false), hits / hits[-1]
    tpr, fpr = np.r_[0, r_curve], np.r_[0, false / false[-1]]
    # The curve begins at recall 0 with precision 1.
    p_from, r_from = np.r_[1.0, p_curve], np.r_[0.0, r_curve]
    return {
        "accuracy": accuracy,
        "balanced_accuracy": (recall + _over(tn, tn + fp)) / 2,
        "precision": precision,
        "recall": recall,
        "f1": beta(1.0),
        "f0_5": beta(0.5),
        "f2": beta(2.0),
        "mcc": _over(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "kappa": _over(accuracy - chance, 1 - chance),
        "fowlkes_mallows": float(np.sqrt(precision * recall)),
        "roc_auc": float(np.trapezoid(tpr, fpr)),
        "pr_auc": float(np.trapezoid(p_from, r_from)),
        "average_precision": float(np.sum(np.diff(r_from) * p_curve)),
        "log_loss": float(np.mean(np.logaddexp(0, np.where(up, -score, score)))),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "positive_share": float(up.mean()),
    }


def regression_metrics(y: Any, predicted: Any) -> dict[str, float]:
    r"""Measures of a probe of real targets, $R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$ and the rest.

    **Arguments:** `y (n,)` targets, `predicted (n,)`.

    **Returns:** a dict of floats: `r2`, `explained_variance`, `mse`, `mae`, `median_ae`, `pearson`,
    `spearman` (ranks, ties their mean). 0 where a variance is 0.

    **Raises:** ValueError for lengths that differ or values that are not finite.

    ```python
    ji.probes.regression_metrics([1.0, 2.0, 3.0], [1.1, 1.9, 3.2])["r2"]
    ```

    Law: equal to scikit-learn and SciPy.
    """
    from scipy.stats import rankdata

    y = np.asarray(y)
    if y.ndim != 1 or not y.size:
        raise ValueError(f"y is one target per example, (n,); got the shape {y.shape}.")
    y, predicted = as_real(y, len(y)), as_real(predicted, len(y))
    error = y - predicted
    spread = float(((y - y.mean()) ** 2).sum())

    def along(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        return _over(float(a @ b), float(np.sqrt((a @ a) * (b @ b))))

    return {
        "r2": 1 - float(error @ error) / spread if spread else 0.0,
        "explained_variance": 1 - float(((error - error.mean()) ** 2).sum()) / spread
        if spread
        else 0.0,
        "mse": float((error**2).mean()),
        "mae": float(np.abs(error).mean()),
        "median_ae": float(np.median(np.abs(error))),
        "pearson": along(y, predicted),
        "spearman": along(rankdata(y), rankdata(predicted)),
    }
