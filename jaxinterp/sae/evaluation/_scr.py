"""Spurious correlation removal: does taking out features of a confound leave the wanted label?"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import viz
from ..._deprecations import respelled
from ...core._check import check_key
from ...stats import Record, Result
from ...typing import ArrayLike, DictionaryLike, KeyLike
from ._inputs import Fit, accuracy, as_flags, as_matrix, balanced, probe, rows_of
from ._tpp import TOPS, check_tops, largest, without


@dataclasses.dataclass(frozen=True, eq=False)
class ConfoundRemoval(Result):
    """The accuracy that is recovered when the features of a confound are removed; made by `scr`.

    - `score`: by the number of features N, the share of the gap between base and oracle that is recovered.
    - `ablated`: by N, the accuracy after the removal.
    - `base`, `oracle`: the accuracies of the base probe and of the oracle.
    - `features`: the features that matter most, in order, as many as the largest N.

    ```python
    rows = (x, f, profession, gender)
    found = ji.sae.scr(rows, rows, sae, key=key, tops=[2, 20])
    found.score, (found.base, found.oracle)
    ```
    """

    score: dict[int, float]
    ablated: dict[int, float]
    base: float
    oracle: float
    features: np.ndarray

    def records(self) -> list[Record]:
        """One row for each number of features."""
        return [
            {"top": n, "score": score, "ablated": self.ablated[n], "base": self.base, "oracle": self.oracle}
            for n, score in self.score.items()
        ]

    def figure(self, *, title: str = "Removal of a confound") -> viz.Figure:
        """Accuracy after the removal, by the number of features, beside the base and the oracle."""
        count = len(self.ablated)
        curves = {
            "removed": list(self.ablated.values()),
            "base": [self.base] * count,
            "oracle": [self.oracle] * count,
        }
        return viz.lines(
            curves, x=list(self.ablated), x_axis="features", y_axis="accuracy", log=True, title=title
        )


@respelled(seed="key=jax.random.key(0)")
def scr(
    train: Sequence[ArrayLike],
    test: Sequence[ArrayLike],
    decoder: DictionaryLike | ArrayLike,
    *,
    key: KeyLike,
    tops: Iterable[int] = TOPS,
    fit: Fit | None = None,
) -> ConfoundRemoval:
    r"""$(A_{ablated} - A_{base}) / (A_{oracle} - A_{base})$: the accuracy that the removal of a confound recovers.

    Spurious correlation removal. A base probe learns the wanted label from rows where it always comes with a spurious
    one. The oracle learns it from rows where the two are independent. The N features that matter most to the spurious
    label, by $|(\bar f_{i \mid z} - \bar f_{i \mid \neg z})\, (w_z \cdot d_i)|$ with its own probe $w_z$, are
    removed from the test rows; the dictionary's error is kept. Test rows are balanced over the confound. Where oracle
    and base differ by less than 0.001 there is nothing to remove, and the score is 0.

    **Arguments:**

    - `train`, `test`: (x, f, y, z): mean activations `(rows, d)`, mean latent values `(rows, features)` (see
      `pooled`), wanted and spurious labels `(rows,)` of bools, with rows of all four pairs of labels.
    - `decoder`: the dictionary, or its rows in the units of x.
    - `key`: a `jax.random.key`, which draws the same number of rows of each pair.
    - `tops`: the numbers of features that are removed. Default 2 to 500.
    - `fit(x, y)`: returns weights and a bias. Default, as published: batches of 16, 20 epochs, Adam at
      1e-3, L1 1e-3, which decide how strong the confound is.

    **Returns:** `ConfoundRemoval`; `found["score"]` is `found.score`.

    **Raises:** ValueError for other shapes, NaN, and pairs of labels without rows.

    Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532), after Marks et al. 2024
    (https://arxiv.org/abs/2403.19647).

    ```python
    rows = (x, f, profession, gender)                   # better: other rows for the test
    found = ji.sae.scr(rows, rows, sae, key=jax.random.key(0), tops=[2, 20])
    found.score[20]
    ```

    Law: where features hold the confound and nothing else, the score is 1.
    """
    rows, fit = rows_of(decoder), probe if fit is None else fit
    key = check_key(key, "ji.sae.scr(..., key={})")
    x, f, y, z = _examples("train", train, rows)
    x_test, f_test, y_test, z_test = _examples("test", test, rows)
    clean = balanced(key, y & z, y & ~z, ~y & z, ~y & ~z)
    tied = balanced(key, y & z, ~y & ~z)
    test_rows = balanced(key, y_test & z_test, y_test & ~z_test, ~y_test & z_test, ~y_test & ~z_test)
    base, oracle = fit(x[tied], y[tied]), fit(x[clean], y[clean])
    spurious = np.asarray(fit(x[clean], z[clean])[0], np.float32)
    gap = f[clean][z[clean]].mean(0) - f[clean][~z[clean]].mean(0)
    order = largest(np.abs(gap * (rows @ spurious)))
    x_test, f_test, y_test = x_test[test_rows], f_test[test_rows], y_test[test_rows]
    low, high = accuracy(base, x_test, y_test), accuracy(oracle, x_test, y_test)
    ablated, numbers = {}, check_tops(tops)
    for n in numbers:
        ablated[n] = accuracy(base, without(x_test, f_test, rows, order[:n]), y_test)
    room = high - low
    score = {n: (value - low) / room if room >= 0.001 else 0.0 for n, value in ablated.items()}
    return ConfoundRemoval(score, ablated, low, high, order[: numbers[-1]])


def _examples(name: str, given: Any, rows: np.ndarray) -> tuple[Any, Any, Any, Any]:
    if len(given) != 4:
        raise ValueError(
            f"{name} is (x, f, y, z): activations, features, wanted and spurious labels; got "
            f"{len(given)} parts."
        )
    x = as_matrix(f"x of {name}", given[0], columns=rows.shape[1])
    f = as_matrix(f"f of {name}", given[1], rows=len(x), columns=len(rows))
    return x, f, as_flags(f"y of {name}", given[2], len(x)), as_flags(f"z of {name}", given[3], len(x))
