"""Absorption: a general feature that stays silent where a special one has taken over its direction."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...stats import Record, Result
from ...typing import ArrayLike, DictionaryLike
from ._inputs import Fit, as_classes, as_matrix, logistic, rows_of
from ._sparse_probing import ranked

SILENT = 1e-8
ALIGNED, SHARE = 0.025, 0.4  # of full absorption: cosine, and share of the projection
ABSORBERS, NEAR = 3, 0.1  # of the fraction: how many others, and their least cosine


@dataclasses.dataclass(frozen=True, eq=False)
class AbsorbedRows(Result):
    """The absorption of each row by other features than the main ones; made by `absorbed`.

    - `fraction (rows,)`: the absorbed share, from 0 to 1.
    - `full (rows,)`: whether the row is fully absorbed.

    ```python
    rows = ji.sae.absorbed(x, f, sae, x[0], main=[7, 8])
    rows.fraction.mean(), rows.full.mean()
    ```
    """

    fraction: np.ndarray
    full: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class AbsorbedClass(Result):
    """The absorption of one class, in `Absorption.classes`.

    - `fraction`, `full`: means over the rows of the class.
    - `f1`: the F1 of the probe on the test rows.
    - `main`: the main features of the class.
    - `rows`: how many test rows the probe gets right.

    ```python
    found = ji.sae.absorption((x, f, letters), (x, f, letters), sae, least=0.0)
    found.classes["a"].fraction, found.classes["a"].main
    ```
    """

    fraction: float
    full: float
    f1: float
    main: np.ndarray
    rows: int

    def records(self) -> list[Record]:
        """One row."""
        return [{**self, "main": self.main.tolist()}]


@dataclasses.dataclass(frozen=True, eq=False)
class Absorption(Result):
    """How far special features stand in for the features of a class; made by `absorption`.

    - `score`: the mean fraction over classes; 0 is best.
    - `full`: the mean share of rows that are fully absorbed.
    - `classes`: an `AbsorbedClass` for each class, by name.

    ```python
    found = ji.sae.absorption((x, f, letters), (x, f, letters), sae, least=0.0)
    found.score, found.records()[0]
    ```
    """

    score: float
    full: float
    classes: dict[Any, AbsorbedClass]

    def records(self) -> list[Record]:
        """One row for each class."""
        return [{"class": name, **part.records()[0]} for name, part in self.classes.items()]


def absorption(
    train: Sequence[ArrayLike],
    test: Sequence[ArrayLike],
    decoder: DictionaryLike | ArrayLike,
    *,
    most: int = 10,
    gain: float = 0.03,
    least: float = 0.6,
    fit: Fit | None = None,
) -> Absorption:
    r"""$\frac1C \sum_c \overline{q / (q + P_{main})}$: the share of a probe's direction that other features than those of the class carry.

    For every class ("starts with s") a logistic probe on activations is the ground truth. Classes whose
    probe has an F1 of `least` or less on the test rows are left out. The main features of a class are those with the
    largest difference of means. Their number k is raised while the F1 of a regression on them grows by more than
    `gain`. Then `absorbed` scores each test row of the class that the probe gets right.

    **Arguments:**

    - `train`, `test`: triples (x, f, y) of activations `(rows, d)`, latent values `(rows, features)` and the class of
      each row `(rows,)` (or bools `(rows, classes)`).
    - `decoder`: the dictionary, or its rows in the units of x.
    - `most`: the largest number of main features. Default 10.
    - `gain`: the least gain in F1 of one more feature. Default 0.03.
    - `least`: classes whose probe has no larger F1 are left out. Default 0.6.
    - `fit(x, y)`: returns weights and a bias. Default: logistic regression with C = 1.

    **Returns:** `Absorption`; `found["score"]` is `found.score`.

    **Raises:** ValueError for other shapes, NaN, or where no class has a probe that is good enough.

    Chanin et al. 2024 (https://arxiv.org/abs/2409.14507), with the fractions of Karvonen et al. 2025
    (https://arxiv.org/abs/2503.09532).

    ```python
    train, test = slice(len(x) // 2), slice(len(x) // 2, None)
    rows = [(x[part], f[part], letters[part]) for part in (train, test)]
    found = ji.sae.absorption(*rows, sae, least=0.0)    # 0.6, the default, leaves out classes with a bad probe
    found.score, found.classes["a"].main
    ```

    Law: 0 for a dictionary whose feature fires on every row of its class; 1 where another does.
    """
    rows, fit = rows_of(decoder), logistic if fit is None else fit
    x, f, names, y = _examples("train", train, rows)
    x_test, f_test, others, y_test = _examples("test", test, rows)
    found: dict[Any, AbsorbedClass] = {}
    for c, name in enumerate(names):
        if name not in others:
            continue
        truth = y_test[:, others.index(name)]
        w, b = fit(x, y[:, c])
        predicted = x_test @ np.asarray(w, np.float32) + float(b) > 0
        if (quality := f1(predicted, truth)) <= least:
            continue
        main = _main(f, y[:, c], most, gain, fit)
        here = predicted & truth
        part = absorbed(x_test[here], f_test[here], rows, w, main)
        found[name] = AbsorbedClass(
            float(part.fraction.mean()), float(part.full.mean()), quality, main, int(here.sum())
        )
    if not found:
        raise ValueError(
            f"No probe of the {len(names)} classes has an F1 above {least} on the test rows: the "
            "activations do not hold the class, and say nothing about a dictionary of them."
        )
    parts = list(found.values())
    score, full = (float(np.mean([part[name] for part in parts])) for name in ("fraction", "full"))
    return Absorption(score, full, found)


def absorbed(
    x: ArrayLike, f: ArrayLike, decoder: DictionaryLike | ArrayLike, probe: ArrayLike, main: ArrayLike
) -> AbsorbedRows:
    r"""$q / (q + P_{main})$, $q = \min(P_{abs}, P - P_{main})$: the share of each row that other features carry.

    With the unit probe u, the projection of feature i is $f_i\, d_i \cdot u$; P is $x \cdot u$. $P_{main}$ is the sum of
    the projections of the main features. $P_{abs}$ is that of up to 3 other features with cosine 0.1 or more. The
    fraction is 0 where $P_{main} \ge P$ or $P_{abs} < 0.4 P$, and 1 where $P_{main} \le 0$. A row is fully absorbed if
    all main features are below 1e-8, and the feature with the largest projection has cosine 0.025 or more and a
    projection of 0.4 P or more.

    **Arguments:**

    - `x (rows, d)`, `f (rows, features)`: activations and latent values of rows of one class.
    - `decoder`: the dictionary, or its rows in the units of x.
    - `probe (d,)`: the weights of a probe for the class.
    - `main`: numbers of the main features.

    **Returns:** `AbsorbedRows`, with `fraction (rows,)` and `full (rows,)`.

    ```python
    probe = ji.probes.fit(x, letters == "a").weights
    ji.sae.absorbed(x, f, sae, probe, main=[7, 8]).fraction
    ```
    """
    rows = rows_of(decoder)
    x = as_matrix("x", x, columns=rows.shape[1])
    f = as_matrix("f", f, rows=len(x), columns=len(rows))
    main = np.atleast_1d(np.asarray(main, int))
    u = np.asarray(probe, np.float64)
    u = u / np.linalg.norm(u)
    norm = np.linalg.norm(rows, axis=1)
    cosine = rows @ u / np.maximum(norm, 1e-12)
    carried = f * (rows @ u)
    whole, own = x @ u, carried[:, main].sum(-1)
    rest = np.where(cosine >= NEAR, np.maximum(carried, 0), 0)
    rest[:, main] = 0
    others = -np.sort(-rest, -1)[:, :ABSORBERS].sum(-1)
    q = np.minimum(others, whole - own)
    none = (own >= whole) | (others < SHARE * whole) | (whole <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = np.where(none, 0.0, np.where(own <= 0, 1.0, q / (q + own)))
    first = np.argmax(carried, -1)
    most = carried[np.arange(len(x)), first]
    full = (np.abs(f[:, main]) < SILENT).all(-1) & (cosine[first] >= ALIGNED) & (whole > 0)
    return AbsorbedRows(fraction, full & (most >= SHARE * whole))


def _main(f: np.ndarray, y: np.ndarray, most: int, gain: float, fit: Fit) -> np.ndarray:
    """The features that stand for a class; test rows have no part in the choice."""
    order = ranked(f, y, signed=True)[:most]
    best, count = -np.inf, 0
    for k in range(1, len(order) + 1):
        w, b = fit(f[:, order[:k]], y)
        quality = f1(f[:, order[:k]] @ np.asarray(w, np.float32) + float(b) > 0, y)
        if count and quality - best <= gain:
            break
        best, count = quality, k
    return order[:count]


def f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 0.0


def _examples(name: str, given: Any, rows: np.ndarray) -> tuple[Any, Any, list[Any], Any]:
    if len(given) != 3:
        raise ValueError(f"{name} is (x, f, y): activations, features, classes; got {len(given)}.")
    x = as_matrix(f"x of {name}", given[0], columns=rows.shape[1])
    f = as_matrix(f"f of {name}", given[1], rows=len(x), columns=len(rows))
    return x, f, *as_classes(f"y of {name}", given[2], len(x))
