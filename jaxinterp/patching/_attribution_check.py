r"""How far an estimate may be trusted: its ranking beside the exact sweep's."""

import dataclasses

import numpy as np

from .._arguments import as_int, as_numbers
from .._tabular import Tabular
from ..typing import ArrayLike, IntLike


@dataclasses.dataclass(frozen=True)
class Agreement(Tabular):
    """How well an estimate ranks cells, from `ji.patching.agreement`. It prints as a line.

    ```python
    found = ji.patching.agreement(estimate, exact, top=5)
    found.spearman, found.needed
    ```
    """

    spearman: float
    pearson: float
    overlap: float
    "The share of the exact top k that is in the top k of the estimate."
    needed: int
    "How many patches find the whole exact top k, if they are made in the order of the estimate."
    top: int
    cells: int

    def __repr__(self) -> str:
        return (
            f"rank correlation {self.spearman:.3f}, correlation {self.pearson:.3f}, "
            f"{self.overlap:.0%} of the top {self.top} shared, "
            f"all of it found after {self.needed} of {self.cells} patches"
        )


def agreement(
    estimate: ArrayLike, exact: ArrayLike, *, baseline: ArrayLike | None = None, top: IntLike = 10
) -> Agreement:
    r"""$\rho\big(\mathrm{rank}(\hat H), \mathrm{rank}(H)\big)$: how well an estimate ranks the cells of an exact sweep.

    Use it once on a few prompts before you trust estimates on many prompts.

    **Arguments:**

    - `estimate`: the result of `ji.patching.attribution` or `ji.patching.atp_star`.
    - `exact`: the result of `ji.patching.sweep` for the same cells.
    - `baseline`: the metric of the run that is patched. With a baseline, cells are ordered by their distance
      from it, in either direction; without one, from the largest value down. Compare a ranking of
      magnitudes (`atp_star`) with `abs(exact - baseline)`, and give no baseline.
    - `top`: how many of the first cells of the exact sweep have to be found.

    **Returns:** an `Agreement`: `spearman`, the correlation of ranks (values that are equal up to rounding share a
    rank); `pearson`; `overlap` of both tops; `needed`, how many patches in the order of the estimate find the
    whole top of the exact sweep.

    ```python
    print(ji.patching.agreement(estimate, exact, top=5))
    ```

    Law: an array agrees with itself: all numbers are 1, and `needed` is `top`.
    """
    pair = [
        np.asarray(as_numbers(values, name), np.float64)
        for values, name in ((estimate, "estimate"), (exact, "exact"))
    ]
    top = as_int(top, "top", 1)
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            "agreement compares the same cells, so both arrays have one shape; got "
            f"{pair[0].shape} and {pair[1].shape}. Give sweep and attribution the same `over`."
        )
    there = np.isfinite(pair[0]) & np.isfinite(pair[1])
    guess, truth = (values[there] for values in pair)
    if guess.size < 2:
        raise ValueError(f"agreement ranks at least two cells; got {guess.size}.")
    top = min(top, guess.size)
    if baseline is None:
        order = [np.argsort(-values, kind="stable") for values in (guess, truth)]
    else:
        centre = np.broadcast_to(np.asarray(baseline, np.float64), pair[0].shape)[there]
        order = [np.argsort(-np.abs(values - centre), kind="stable") for values in (guess, truth)]
    place = np.empty(guess.size, int)
    place[order[0]] = np.arange(guess.size)
    places = place[order[1][:top]]
    return Agreement(
        spearman=_correlation(_ranks(guess), _ranks(truth)),
        pearson=_correlation(guess, truth),
        overlap=float((places < top).mean()),
        needed=int(places.max()) + 1,
        top=top,
        cells=guess.size,
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the mean of theirs.

    Equal to a millionth of their range: cells that a patch cannot change differ by rounding alone.
    """
    span = values.max() - values.min()
    if span > 0:
        values = np.round((values - values.min()) / (1e-6 * span))
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[inverse]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")
