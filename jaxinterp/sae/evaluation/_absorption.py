"""Absorption: a general feature that stays silent where a special one has taken over its direction."""

from typing import Any

import numpy as np

from ._inputs import Fit, as_classes, as_matrix, logistic, rows_of
from ._sparse_probing import ranked

SILENT = 1e-8
ALIGNED, SHARE = 0.025, 0.4  # of full absorption: cosine, and share of the projection
ABSORBERS, NEAR = 3, 0.1  # of the fraction: how many others, and their least cosine


def absorption(
    train: Any,
    test: Any,
    decoder: Any,
    *,
    most: int = 10,
    gain: float = 0.03,
    least: float = 0.6,
    fit: Fit | None = None,
) -> dict[str, Any]:
    r"""Mean over classes of the part of a probe's direction that other than the class's own features carry.

    For every class ("starts with s") a logistic probe on activations is the truth; classes whose
    probe has F1 of `least` or less on the test rows are left out. Main features are those of largest
    mean difference, their number k raised while F1 of a regression on them grows by more than
    `gain`. Test rows of the class that the probe gets right are then judged one by one (`absorbed`).

    **Arguments:** `train` and `test`: (x, f, y), activations `(rows, d)`, features `(rows, features)`, class of
    each row `(rows,)` (or bools `(rows, classes)`); `decoder`: the dictionary, or its rows in the units of x; `most`
    main features; `gain`, `least`; `fit(x, y)` that returns weights and a bias.

    **Returns:** a dict: `score`, the mean fraction over classes (0 is best); `full`, the mean share of
    rows fully absorbed; `classes`: by name `fraction`, `full`, `f1` of the probe, `main` features, `rows`.

    **Raises:** ValueError for other shapes, NaN, or where no class has a probe that is good enough.

    Chanin et al. 2024 (https://arxiv.org/abs/2409.14507), with the fractions of Karvonen et al. 2025
    (https://arxiv.org/abs/2503.09532).

    ```python
    found = ji.sae.absorption((x, f, letters), (x_test, f_test, letters_test), sae)
    found["score"], found["classes"]["s"]["main"]
    ```

    Law: 0 for a dictionary whose feature fires on every row of its class; 1 where another does.
    """
    rows, fit = rows_of(decoder), logistic if fit is None else fit
    x, f, names, y = _examples("train", train, rows)
    x_test, f_test, others, y_test = _examples("test", test, rows)
    found: dict[Any, dict[str, Any]] = {}
    for c, name in enumerate(names):
        if name not in others:
            continue
        truth = y_test[:, others.index(name)]
        w, b = fit(x, y[:, c])
        said = x_test @ np.asarray(w, np.float32) + float(b) > 0
        if (quality := f1(said, truth)) <= least:
            continue
        main = _main(f, y[:, c], most, gain, fit)
        here = said & truth
        judged = absorbed(x_test[here], f_test[here], rows, w, main)
        found[name] = {
            "fraction": float(judged["fraction"].mean()),
            "full": float(judged["full"].mean()),
            "f1": quality,
            "main": main,
            "rows": int(here.sum()),
        }
    if not found:
        raise ValueError(
            f"No probe of the {len(names)} classes has an F1 above {least} on the test rows: the "
            "activations do not say the class, and no dictionary of them can be judged by it."
        )
    mean = lambda which: float(np.mean([part[which] for part in found.values()]))
    return {"score": mean("fraction"), "full": mean("full"), "classes": found}


def absorbed(x: Any, f: Any, decoder: Any, probe: Any, main: Any) -> dict[str, np.ndarray]:
    r"""$q / (q + P_{main})$, $q = \min(P_{abs}, P - P_{main})$: of each row, how much others carry for the main features.

    With the unit probe u, feature i carries $f_i\, d_i \cdot u$; P is $x \cdot u$. $P_{abs}$ is the sum of up to 3
    other features with cosine 0.1 or more. The fraction is 0 where $P_{main} \ge P$ or $P_{abs} < 0.4 P$,
    and 1 where $P_{main} \le 0$. A row is fully absorbed if all main features are below 1e-8, and the
    feature that carries most has cosine 0.025 or more and carries 0.4 P or more.

    **Arguments:** rows of one class: `x (rows, d)`, `f (rows, features)`; `decoder`; weights of the `probe
    (d,)`; `main` features, their numbers.

    **Returns:** `fraction (rows,)` and `full (rows,)`.
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
    return {"fraction": fraction, "full": full & (most >= SHARE * whole)}


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


def f1(said: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    total = int(said.sum()) + int(truth.sum())
    return 2 * int((said & truth).sum()) / total if total else 0.0


def _examples(name: str, given: Any, rows: np.ndarray) -> tuple[Any, Any, list[Any], Any]:
    if len(given) != 3:
        raise ValueError(f"{name} is (x, f, y): activations, features, classes; got {len(given)}.")
    x = as_matrix(f"x of {name}", given[0], columns=rows.shape[1])
    f = as_matrix(f"f of {name}", given[1], rows=len(x), columns=len(rows))
    return x, f, *as_classes(f"y of {name}", given[2], len(x))
