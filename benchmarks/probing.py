"""Probes beside scikit-learn: same data, same objective, same answers, one script.

    python benchmarks/probing.py              # 12 layers x 3072 neurons, 5,000 examples (Pythia-160m's shape)
    python benchmarks/probing.py --smoke      # seconds: a small shape, no claim

Activations are made up: normal numbers through a GELU, 20% of the examples positive, and a planted
signal in one neuron of fifty. Nothing here is downloaded, and scikit-learn is in the extra `test`.
A loop over scikit-learn is timed on a random sample of neurons (or supports), and extrapolated; each
comparison says how far the answers are apart on that sample, before anything is timed. Times are
medians; the first call (compiling) is apart. BLAS has one thread per core while scikit-learn runs,
or one alone if that is faster. liblinear also penalises the bias: another objective, for scale.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import sklearn
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits

import jaxinterp as ji

SOLVERS = ("lbfgs", "newton-cholesky", "liblinear")


def timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def median(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the first call, and the median of the others."""
    return timed(function), statistics.median(timed(function) for _ in range(repeats))


def gelu_data(layers: int, n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Activations `(layer, n, d)` and labels: skewed, and one neuron of fifty knows the label."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 5 == 0).astype(np.int64)
    rng.shuffle(y)
    x = np.empty((layers, n, d), np.float32)
    for layer in x:
        rng.standard_normal(out=layer, dtype=np.float32)
        layer -= 0.5
        known = rng.random(d) < 0.02
        layer[np.ix_(y > 0, known)] += rng.exponential(1.5, known.sum()).astype(np.float32)
        # The sigmoid form of GELU, in place.
        layer /= 1 + np.exp(np.float32(-1.702) * layer)
    return x, y


def planted(n: int, d: int, k: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations `(n, d)`, the score that k columns decide together with some noise, the columns."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d), np.float32)
    support = np.sort(rng.choice(d, k, replace=False))
    return x, x[:, support].sum(1) + 0.5 * rng.standard_normal(n), support


def theirs(x: np.ndarray, y: np.ndarray, solver: str = "lbfgs", **options: Any) -> Any:
    given: Any = dict(C=1.0, class_weight="balanced", solver=solver, max_iter=1000) | options
    return LogisticRegression(**given).fit(x, y)


def loop_ms(x: list[np.ndarray], y: np.ndarray, solver: str) -> float:
    """Milliseconds of scikit-learn per probe: the better of one BLAS thread and of all."""
    found = []
    for threads in (1, os.cpu_count()):
        with threadpool_limits(threads):
            theirs(x[0], y, solver)
            found.append(statistics.median(timed(lambda z=z: theirs(z, y, solver)) for z in x))
    return 1e3 * min(found)


def singles(x: np.ndarray, y: np.ndarray, sample: int, repeats: int) -> None:
    layers, _, d = x.shape
    first, seconds = median(lambda: ji.probes.single_neuron(x, y), repeats)
    found = ji.probes.single_neuron(x, y)
    rng = np.random.default_rng(2)
    strong = np.argsort(-found.f1.ravel())[: sample // 4]
    some = np.unique(np.r_[strong, rng.choice(layers * d, sample - len(strong), replace=False)])
    weights, f1 = 0.0, 0.0
    for layer, j in zip(*np.unravel_index(some, (layers, d)), strict=True):
        column = x[layer, :, j : j + 1].astype(np.float64)
        other = theirs(column, y, "newton-cholesky", tol=1e-10)
        weight = other.coef_[0, 0]
        weights = max(weights, abs(found.weights[layer, j] - weight) / abs(weight))
        f1 = max(f1, abs(found.f1[layer, j] - f1_score(y, other.predict(column))))
    print(
        f"\n(a) every single neuron: {layers} x {d} probes\n"
        f"converged {found.converged.mean():.2%}, passes over the examples {found.iterations.mean():.2f} on average; "
        f"on {len(some)} neurons weights within {weights:.1e} (relative), F1 within {f1:.1e} of scikit-learn's"
    )
    print(
        f"jaxinterp {seconds:8.2f} s   {1e6 * seconds / (layers * d):7.1f} us each   (first call {first:.1f} s)"
    )
    columns = [
        np.ascontiguousarray(x[i, :, j : j + 1])
        for i, j in zip(*np.unravel_index(some, (layers, d)), strict=True)
    ]
    for solver in SOLVERS:
        each = loop_ms(columns, y, solver)
        whole = each * layers * d / 1e3
        name = f"scikit-learn, {solver}"
        print(f"{name:30} {each:6.2f} ms each, {whole:6.0f} s for all: {whole / seconds:5.0f} times as long")


def several(x: np.ndarray, y: np.ndarray, ks: list[int], many: int, repeats: int, sample: int) -> None:
    layers, _, d = x.shape
    rng = np.random.default_rng(3)
    order = np.argsort(-ji.probes.rank(x, y), axis=-1)[:, : max(64, d // 16)]
    print(f"\n(b) k-sparse logistic probes, {layers} layers x {many} supports of each size")
    for k in ks:
        picked = np.stack([[rng.choice(row, k, replace=False) for _ in range(many)] for row in order])
        first, seconds = median(lambda p=picked: ji.probes.fit_many(x, y, p), repeats)
        found = ji.probes.fit_many(x, y, picked)
        jobs = [(int(rng.integers(layers)), int(rng.integers(many))) for _ in range(sample)]
        columns = [np.ascontiguousarray(x[i][:, picked[i, j]]) for i, j in jobs]
        apart = 0.0
        for (i, j), z in zip(jobs, columns, strict=True):
            other = theirs(z.astype(np.float64), y, "newton-cholesky", tol=1e-10)
            apart = max(
                apart, float(np.abs(found.weights[i, j] - other.coef_[0]).max() / np.abs(other.coef_).max())
            )
        each = 1e3 * seconds / (layers * many)
        loops = {solver: loop_ms(columns, y, solver) for solver in SOLVERS}
        line = ", ".join(f"{name} {ms:.2f} ms ({ms / each:.0f}x)" for name, ms in loops.items())
        print(
            f"k={k}: jaxinterp {each:.3f} ms each (first call {first:.1f} s), converged {found.converged.mean():.1%}, "
            f"weights within {apart:.1e}; scikit-learn {line}",
            flush=True,
        )


def exact(n: int, d: int, ks: list[int], limit: float) -> None:
    print(
        f"\n(c) exact selection, planted supports among {d} neurons, {n} examples, at most {limit:.0f} s each"
    )
    for loss in ("logistic", "hinge", "squared"):
        for k in ks:
            x, score, support = planted(n, d, k)
            y = score if loss == "squared" else (score > np.quantile(score, 0.8)).astype(int)
            found = ji.probes.best_subset(x, y, k, loss, time_limit=limit)
            same = "the planted one" if found.support.tolist() == support.tolist() else "another"
            print(
                f"{loss:9} k={k}: {found.status:10} gap {found.gap:.1e} in {found.seconds:6.1f} s, {found.screened} screened, {found.nodes} nodes; {same}",
                flush=True,
            )


def rankings(x: np.ndarray, y: np.ndarray, repeats: int) -> None:
    layers, _, d = x.shape
    print(f"\n(d) rankings of {layers} x {d} neurons")
    first, seconds = median(lambda: ji.probes.rank(x, y), repeats)
    print(f"mean_diff {seconds:.2f} s (first call {first:.1f} s)")
    first, seconds = median(lambda: ji.probes.rank(x, y, "f_stat"), repeats)
    wanted = f_classif(x[0].astype(np.float64), y)[0]
    apart = np.abs(ji.probes.rank(x[0], y, "f_stat") / wanted - 1).max()
    other = statistics.median(timed(lambda layer=layer: f_classif(layer, y)) for layer in x[:3])
    print(
        f"f_stat {seconds:.2f} s (first call {first:.1f} s), scikit-learn's f_classif {other * layers:.2f} s: {other * layers / seconds:.1f} times as long; within {apart:.1e} (relative)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a small shape, one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="abcd", help="parts to run, as 'ac'")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    if options.smoke:
        layers, n, d, sample, many, repeats, limit = 2, 1000, 256, 8, 16, 1, 2.0
        ks, sizes, rows = [1, 2], [1, 4], 400
    else:
        layers, n, d, sample, many, repeats, limit = 12, 5000, 3072, 60, 64, options.repeats, 60.0
        ks, sizes, rows = [1, 2, 3, 5], [1, 2, 3, 4, 5, 6, 7, 8], 2000
    print(
        f"jax {jax.__version__} on {jax.devices()[0]}, scikit-learn {sklearn.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {layers} layers, {n} examples"
    )
    x, y = gelu_data(layers, n, d)
    if "a" in options.only:
        singles(x, y, sample, repeats)
    if "b" in options.only:
        several(x, y, sizes, many, max(1, repeats // 2), sample // 4)
    if "d" in options.only:
        rankings(x, y, repeats)
    del x
    if "c" in options.only:
        exact(rows, d, ks, limit)


if __name__ == "__main__":
    main()
