"""Probes, rankings and metrics are those of scikit-learn, with convergence measured."""

from typing import Any

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC

from jaxinterp import probes


def data(seed: int = 0, n: int = 80, d: int = 6, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, d)) + y[:, None] * rng.normal(size=d), y


@pytest.mark.quick
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_is_that_of_scikit_learn(wide: bool, balanced: bool) -> None:
    x, y = data(n=40 if wide else 80, d=120 if wide else 6)
    probe = probes.fit(x, y, gamma=0.7, balanced=balanced, tol=1e-11)
    weight: Any = "balanced" if balanced else None
    other = LogisticRegression(C=0.7, class_weight=weight, tol=1e-10, solver="newton-cholesky").fit(x, y)
    assert probe.converged and -1e-9 <= probe.gap <= 1e-11
    np.testing.assert_allclose(probe.weights, other.coef_[0], atol=2e-5)
    np.testing.assert_allclose(probe.bias, other.intercept_[0], atol=2e-5)
    np.testing.assert_array_equal(probe.predict(x), other.predict(x))


@pytest.mark.parametrize("wide", [False, True])
def test_hinge_is_that_of_scikit_learn(wide: bool) -> None:
    x, y = data(n=40 if wide else 80, d=60 if wide else 6)
    probe = probes.fit(x, y, loss="hinge", gamma=0.7)
    other = SVC(C=0.7, kernel="linear", class_weight="balanced", tol=1e-9).fit(x, y)
    assert probe.converged
    np.testing.assert_allclose(probe.weights, other.coef_[0], atol=1e-4)
    np.testing.assert_allclose(probe.decision(x), other.decision_function(x), atol=1e-3)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_ridge_is_that_of_scikit_learn(wide: bool, intercept: bool) -> None:
    x, _ = data(n=30, d=50 if wide else 4)
    y = np.random.default_rng(1).normal(size=30) + 3
    probe = probes.fit(x, y, loss="squared", gamma=0.5, intercept=intercept)
    other = Ridge(alpha=2.0, fit_intercept=intercept).fit(x, y)
    assert probe.converged
    np.testing.assert_allclose(probe.predict(x), other.predict(x), atol=1e-7)


def test_a_support_and_an_unfinished_solve() -> None:
    x, y = data()
    probe = probes.fit(x, y, support=[4, 1])
    assert probe.support.tolist() == [1, 4] and probe.weights.shape == (2,)
    np.testing.assert_allclose(probe.value, probes.fit(x[:, [1, 4]], y).value)
    early = probes.fit(x, y, max_iter=1)
    assert not early.converged and early.gap > 1e-8 and early.bound < probes.fit(x, y).value
    with pytest.raises(IndexError, match=r"distinct columns 0\.\.5"):
        probes.fit(x, y, support=[6])
    with pytest.raises(ValueError, match="list of columns"):
        probes.fit(x, y, support=[])


def test_every_single_neuron_is_its_own_fit() -> None:
    x, y = data(n=90, d=7)
    x = np.stack([x * 0.1 + 5, x * 40])
    x[0, :, 2] = 3.0
    x[1, :, 3] = np.where(y > 0, 9.0, -9.0)
    singles = probes.single_neuron(x, y)
    assert singles.weights.shape == (2, 7) and singles.converged.all()
    assert singles.weights[0, 2] == 0
    for layer in range(2):
        for j in range(7):
            probe = probes.fit(x[layer], y, [j])
            np.testing.assert_allclose(singles.value[layer, j], probe.value, rtol=2e-5)
            if (layer, j) not in ((0, 2), (1, 3)):
                np.testing.assert_allclose(singles.weights[layer, j], probe.weights[0], rtol=5e-3)
                np.testing.assert_allclose(
                    singles.f1[layer, j],
                    probes.metrics(y, probe.decision(x[layer]))["f1"],
                    atol=0.03,
                )
    found = singles.evaluate(x, y)
    np.testing.assert_allclose(found["mcc"], singles.mcc, atol=0.03)
    assert singles.f1[1, 3] == 1
    with pytest.raises(ValueError, match="beside n"):
        singles.decision(x[0])


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("ratio", [0.1, 0.9, 1.0])
def test_elastic_net_is_saga_of_scikit_learn(wide: bool, ratio: float) -> None:
    x, y = data(n=40 if wide else 80, d=60 if wide else 6)
    probe = probes.elastic_net(x, y, gamma=0.5, l1_ratio=ratio, tol=1e-10)
    other = LogisticRegression(
        C=0.5, l1_ratio=ratio, solver="saga", class_weight="balanced", tol=1e-9, max_iter=100000
    ).fit(x, y)
    assert probe.converged and -1e-12 <= probe.gap <= 1e-10 and probe.iterations < 20
    np.testing.assert_allclose(probe.weights, other.coef_[0], atol=1e-5)
    np.testing.assert_allclose(probe.bias, other.intercept_[0], atol=1e-5)
    assert ((probe.weights == 0) == (np.abs(other.coef_[0]) < 1e-7)).all()


def test_elastic_net_has_the_ridge_at_one_end_and_says_what_it_reached() -> None:
    x, y = data(n=200, d=12)
    ridge = probes.elastic_net(x, y, [3, 1], gamma=0.7, l1_ratio=0, tol=1e-12)
    fitted = probes.fit(x, y, [3, 1], gamma=0.7, tol=1e-12)
    assert ridge.support.tolist() == [1, 3]
    np.testing.assert_allclose(ridge.weights, fitted.weights, atol=1e-6)
    # What the L1 norm is worth, by hand; a bound never exceeds the value.
    probe = probes.elastic_net(x, y, gamma=0.05, l1_ratio=0.8)
    omega = np.where(y == 1, len(y) / (2 * y.sum()), len(y) / (2 * (1 - y).sum()))
    loss = omega @ np.logaddexp(0, np.where(y == 1, -1, 1) * probe.decision(x))
    w = probe.weights
    np.testing.assert_allclose(probe.value, 0.1 * w @ w + 0.8 * np.abs(w).sum() + 0.05 * loss)
    early = probes.elastic_net(x, y, gamma=0.05, l1_ratio=0.8, max_iter=1)
    assert not early.converged and early.gap > 1e-8
    assert early.bound <= probe.value * (1 + 1e-12) <= early.value * (1 + 1e-12)
    # So strong a penalty that nothing is left but the bias.
    none = probes.elastic_net(x, y, gamma=1e-4, l1_ratio=0.9)
    assert (none.weights == 0).all() and none.converged
    with pytest.raises(ValueError, match=r"l1_ratio is in 0\.\.1"):
        probes.elastic_net(x, y, l1_ratio=1.5)


@pytest.mark.quick
def test_rankings() -> None:
    x, y = data(n=60, d=9)
    x[:, 4] = 2.0
    both = np.stack([x, x[:, ::-1]])
    scores = probes.rank(both, y)
    np.testing.assert_allclose(scores[0], np.abs(x[y == 1].mean(0) - x[y == 0].mean(0)), atol=1e-5)
    np.testing.assert_allclose(scores[1], scores[0, ::-1], atol=1e-5)
    moving = np.delete(x, 4, 1)
    f = probes.rank(both, y, "f_stat")
    np.testing.assert_allclose(np.delete(f[0], 4), f_classif(moving, y)[0], rtol=1e-3)
    assert f[0, 4] == 0
    mi = probes.rank(both, y, "mi")
    np.testing.assert_allclose(np.delete(mi[0], 4), mutual_info_classif(moving, y), atol=1e-4)
    assert mi[0, 4] == 0
    lr = probes.rank(both, y, "lr")
    other = LogisticRegression(
        C=0.1, l1_ratio=1.0, solver="saga", class_weight="balanced", tol=1e-8, max_iter=20000
    ).fit(x, y)
    np.testing.assert_allclose(lr[0], np.abs(other.coef_[0]), atol=2e-3)
    svm = probes.rank(both, y, "svm")
    np.testing.assert_allclose(svm[0], np.abs(probes.fit(x, y, loss="hinge").weights))
    # A constant is 0 also where its mean is rounded: 0.1 is no float.
    for value in (0.1, 3.3, 1e4 + 0.1):
        x[:, 4] = value
        assert probes.rank(x, y, "f_stat")[4] == probes.rank(x, y)[4] == 0
    # One that separates perfectly, with no variance within but that of rounding, beats any other.
    x[:, 4] = y
    f = probes.rank(x, y, "f_stat")
    assert f.argmax() == 4 and f[4] > 1e6
    random = probes.rank(both, y, "random", key=jax.random.key(0))
    assert random.shape == (2, 9)
    with pytest.raises(ValueError, match="needs a key"):
        probes.rank(x, y, "random")
    with pytest.raises(ValueError, match="method is one of"):
        probes.rank(x, y, "best")
    with pytest.raises(ValueError, match="the smaller class has 2"):
        probes.rank(x[:10], np.arange(10) < 2, "mi")


@pytest.mark.parametrize("method", ["mean_diff", "f_stat", "mi", "lr", "svm", "random"])
def test_several_labellings_rank_as_each_alone(method: str) -> None:
    x, y = data(n=60, d=5)
    layers = np.stack([x, 2 - x])
    labels = np.stack([y, x[:, 0] > 0, 1 - y])
    key = jax.random.key(0)
    scores = probes.rank(layers, labels, method, key=key)
    assert scores.shape == (3, 2, 5)
    keys = jax.random.split(key, 3) if method == "random" else [key] * 3
    for each, one, mine in zip(labels, keys, scores, strict=True):
        np.testing.assert_allclose(mine, probes.rank(layers, each, method, key=one), rtol=1e-5)
    assert probes.rank(x, labels, method, key=key).shape == (3, 5)


@pytest.mark.slow
def test_sums_are_one_program_for_all_labellings_and_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second call with other values of the same shapes traces nothing, however many labellings."""
    from jaxinterp.probes.linear import _rank

    traces: list[Any] = []
    centred = _rank._centred
    monkeypatch.setattr(_rank, "_centred", lambda x: (traces.append(x.shape), centred(x))[1])
    rng = np.random.default_rng(0)
    for method in ("mean_diff", "f_stat"):
        traces.clear()
        for _ in range(2):
            x = rng.normal(size=(2, 40, 7)).astype(np.float32)
            probes.rank(x, rng.random((9, 40)) < 0.4, method)
        assert len(traces) == 1, traces


@pytest.mark.parametrize("levels", [3, 30])
def test_mutual_information_of_repeated_activations(levels: int) -> None:
    """Ties are broken by a jitter of 1e-10, as in scikit-learn: equal in the mean over draws.

    A draw of 400 rows on three levels deviates by 0.022, the difference of two means of 40 by 0.005.
    """
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.4).astype(int)
    x = np.round((rng.normal(size=(400, 2)) + y[:, None]) * levels / 6)
    mine = [probes.rank(x, y, "mi", key=jax.random.key(i)) for i in range(40)]
    other = [mutual_info_classif(x, y, random_state=i) for i in range(40)]
    np.testing.assert_allclose(np.mean(mine, 0), np.mean(other, 0), atol=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_are_those_of_scikit_learn(ties: bool) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(70) < 0.3).astype(int)
    score = y * 1.5 - 0.7 + rng.normal(size=70)
    score = np.round(score) if ties else score
    said = (score > 0).astype(int)
    found = probes.metrics(y, score)
    p, r, _ = sk.precision_recall_curve(y, score)
    expected = {
        "accuracy": sk.accuracy_score(y, said),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said),
        "precision": sk.precision_score(y, said),
        "recall": sk.recall_score(y, said),
        "f1": sk.f1_score(y, said),
        "f0_5": sk.fbeta_score(y, said, beta=0.5),
        "f2": sk.fbeta_score(y, said, beta=2),
        "mcc": sk.matthews_corrcoef(y, said),
        "kappa": sk.cohen_kappa_score(y, said),
        "fowlkes_mallows": sk.fowlkes_mallows_score(y, said),
        "roc_auc": sk.roc_auc_score(y, score),
        "pr_auc": sk.auc(r, p),
        "average_precision": sk.average_precision_score(y, score),
        "log_loss": sk.log_loss(y, 1 / (1 + np.exp(-score))),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)


def test_degenerate_predictions_and_intervals() -> None:
    y = np.array([0, 0, 1, 1])
    none = probes.metrics(y, np.zeros(4))
    assert none["precision"] == none["recall"] == none["f1"] == none["mcc"] == none["kappa"] == 0
    assert none["roc_auc"] == 0.5 and none["accuracy"] == 0.5
    every = probes.metrics(y, np.ones(4))
    assert every["recall"] == 1 and every["precision"] == 0.5 and every["mcc"] == 0
    found = probes.metrics(y, [-1.0, 1.0, -1.0, 1.0], resamples=50, key=jax.random.key(0))
    low, high = found["intervals"]["f1"]
    assert low <= found["f1"] <= high and low < high
    with pytest.raises(ValueError, match="needs a key"):
        probes.metrics(y, np.ones(4), resamples=10)
    with pytest.raises(ValueError, match="one label per example"):
        probes.metrics(y, np.ones(3))
    with pytest.raises(ValueError, match="each of the 4"):
        probes.metrics(np.ones(4), np.ones(4))


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=30).round(1)
    predicted = y + rng.normal(size=30).round(1)
    found = probes.regression_metrics(y, predicted)
    expected = {
        "r2": sk.r2_score(y, predicted),
        "explained_variance": sk.explained_variance_score(y, predicted),
        "mse": sk.mean_squared_error(y, predicted),
        "mae": sk.mean_absolute_error(y, predicted),
        "median_ae": sk.median_absolute_error(y, predicted),
        "pearson": np.corrcoef(y, predicted)[0, 1],
        "spearman": spearmanr(y, predicted).statistic,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)
    assert probes.regression_metrics([1.0, 1.0], [1.0, 2.0])["r2"] == 0
