"""Metrics where they are hard to define, of many scores at once, and their intervals."""

import re
import time
import warnings

import jax
import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from jaxinterp import probes, stats

pytestmark = [pytest.mark.wide, pytest.mark.finite]

Y = np.array([0, 0, 0, 1, 1, 0, 1, 0, 1, 0])
HARD = {
    "nobody": -np.ones(10),
    "everybody": np.ones(10),
    "a score of zero is negative": np.zeros(10),
    "one, rightly": np.where(np.arange(10) == 3, 1.0, -1.0),
    "one, wrongly": np.where(np.arange(10) == 0, 1.0, -1.0),
    "all right": np.where(Y > 0, 2.0, -2.0),
    "all wrong": np.where(Y > 0, -2.0, 2.0),
    "ties across classes": np.array([1.0, 1, -1, 1, 1, -1, -1, 0, 0, 0]),
    "huge": np.where(Y > 0, 1e4, -1e4) * np.where(np.arange(10) == 1, -1, 1),
}


@pytest.mark.parametrize("case", HARD)
def test_degenerate_cases_are_those_of_scikit_learn(case: str) -> None:
    score = HARD[case]
    said = (score > 0).astype(int)
    found = probes.metrics(Y, score)
    curve = sk.precision_recall_curve(Y, score)
    p, r = (scorer(Y, said, zero_division=0) for scorer in (sk.precision_score, sk.recall_score))
    chance = sk.cohen_kappa_score(Y, said)
    expected = {
        "accuracy": sk.accuracy_score(Y, said),
        "balanced_accuracy": sk.balanced_accuracy_score(Y, said),
        "precision": p,
        "recall": r,
        "f1": sk.f1_score(Y, said, zero_division=0),
        "f0_5": sk.fbeta_score(Y, said, beta=0.5, zero_division=0),
        "f2": sk.fbeta_score(Y, said, beta=2, zero_division=0),
        "mcc": sk.matthews_corrcoef(Y, said),
        "kappa": chance,
        "fowlkes_mallows": sk.fowlkes_mallows_score(Y, said),
        "roc_auc": sk.roc_auc_score(Y, score),
        "pr_auc": sk.auc(curve[1], curve[0]),
        "average_precision": sk.average_precision_score(Y, score),
        "positive_share": 0.4,
    }
    counts = sk.confusion_matrix(Y, said)
    for name, value in zip(("tn", "fp", "fn", "tp"), counts.ravel(), strict=True):
        expected[name] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        chances = 1 / (1 + np.exp(-score))
    if case != "huge":
        expected["log_loss"] = sk.log_loss(Y, chances)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert np.isfinite(list(dict(found).values())).all()
    assert all(isinstance(v, float) for v in dict(found).values())


@pytest.mark.quick
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_random_tables_are_those_of_scikit_learn() -> None:
    """Small ones, so that empty cells, ties and pairs of examples are among them."""
    rng = np.random.default_rng(0)
    drop = {"zero_division": 0}
    for n in np.repeat([2, 3, 5, 30], 15):
        y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
        score = rng.integers(-2, 3, n) + rng.choice([0.0, 0.5])
        said = (score > 0).astype(int)
        curve = sk.precision_recall_curve(y, score)
        expected = {
            "accuracy": sk.accuracy_score(y, said),
            "balanced_accuracy": sk.balanced_accuracy_score(y, said),
            "precision": sk.precision_score(y, said, **drop),
            "recall": sk.recall_score(y, said, **drop),
            "f1": sk.f1_score(y, said, **drop),
            "f0_5": sk.fbeta_score(y, said, beta=0.5, **drop),
            "f2": sk.fbeta_score(y, said, beta=2, **drop),
            "mcc": sk.matthews_corrcoef(y, said),
            "kappa": sk.cohen_kappa_score(y, said),
            "fowlkes_mallows": sk.fowlkes_mallows_score(y, said),
            "roc_auc": sk.roc_auc_score(y, score),
            "pr_auc": sk.auc(curve[1], curve[0]),
            "average_precision": sk.average_precision_score(y, score),
            "log_loss": sk.log_loss(y, 1 / (1 + np.exp(-score))),
        }
        found = probes.metrics(y, score)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_regression_where_a_side_is_constant() -> None:
    """Scores are those of scikit-learn, correlations SciPy's with 0 where it has none."""
    pairs = [
        ([2, 2, 2], [2, 2, 2]),
        ([2, 2, 2], [1, 2, 3]),
        ([2, 2, 2], [3, 3, 3]),
        ([1, 2, 4], [2, 2, 2]),
        ([1, 2, 4], [1, 2, 4]),
    ]
    for y, predicted in pairs:
        found = probes.regression_metrics(y, predicted)
        expected = {
            "r2": sk.r2_score(y, predicted),
            "explained_variance": sk.explained_variance_score(y, predicted),
            "pearson": np.nan_to_num(pearsonr(y, predicted).statistic),
            "spearman": np.nan_to_num(spearmanr(y, predicted).statistic),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=f"{name} {y} {predicted}")


def test_many_scores_are_one_by_one() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    scores = rng.normal(size=(2, 3, 60)).round(1) + y
    key = jax.random.key(1)
    found = probes.metrics(y, scores, resamples=120, key=key)
    for i in range(2):
        for j in range(3):
            alone = dict(probes.metrics(y, scores[i, j], resamples=120, key=key))
            ends = alone.pop("intervals")
            for name, value in alone.items():
                np.testing.assert_allclose(found[name][i, j], value, rtol=1e-12, err_msg=name)
                low, high = found["intervals"][name]
                np.testing.assert_allclose((low[i, j], high[i, j]), ends[name], rtol=1e-12)
    with pytest.raises(ValueError, match="finite"):
        probes.metrics(y, np.where(scores > 2, np.nan, scores))


def test_intervals_are_those_of_resampling_one_by_one() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.25).astype(int)
    score = y + rng.normal(size=400)
    found = probes.metrics(y, score, resamples=1500, key=jax.random.key(0), level=0.9)["intervals"]
    up, down = np.flatnonzero(y), np.flatnonzero(1 - y)
    drawn = []
    for _ in range(1500):
        rows = np.r_[rng.choice(up, len(up)), rng.choice(down, len(down))]
        tp, said = score[rows][y[rows] > 0] > 0.0, score[rows] > 0
        fpr = (score[rows][y[rows] == 0] > 0).mean()
        drawn.append((2 * tp.sum() / (said.sum() + len(up)), (tp.mean() + 1 - fpr) / 2))
    f1, balanced = np.quantile(drawn, [0.05, 0.95], axis=0).T
    np.testing.assert_allclose(found["f1"], f1, atol=0.01)
    np.testing.assert_allclose(found["balanced_accuracy"], balanced, atol=0.01)
    for name in ("roc_auc", "pr_auc", "average_precision", "log_loss"):
        low, high = found[name]
        assert low < probes.metrics(y, score)[name] < high
    assert found["positive_share"] == (y.mean(), y.mean())


def test_a_thousand_resamples_are_quick() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(5000) < 0.2).astype(int)
    began = time.process_time()
    probes.metrics(y, y + rng.normal(size=5000), resamples=1000, key=jax.random.key(0))
    assert time.process_time() - began < 5  # 0.7 s; one by one it was far more


@pytest.mark.slow
@pytest.mark.exhaustive  # thousands of intervals, for the figures of a docstring
def test_intervals_cover_what_the_docstring_says() -> None:
    """The table for F1, of classes whose examples are told right at given rates."""
    rows = re.findall(r"\| (\d+), (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", probes.metrics.__doc__)
    assert len(rows) == 4
    rng = np.random.default_rng(0)
    for up, down, *told in ([int(a), int(b), *map(float, rest)] for a, b, *rest in rows):
        for (recall, false), share in zip(((0.6, 0.1), (0.9, 0.05), (0.98, 0.005)), told, strict=True):
            true = 2 * up * recall / (up * recall + down * false + up)
            held = 0
            for _ in range(400):
                tp, fp = rng.binomial(up, recall), rng.binomial(down, false)
                counts = {"tp": tp, "fp": fp, "fn": up - tp, "tn": down - fp}
                key = jax.random.key(int(rng.integers(2**31)))
                low, high = stats.table_intervals(counts, key=key, resamples=300)["f1"]
                held += low <= true <= high
            assert abs(held / 400 - share) < 0.05, (up, down, recall, held / 400, share)
