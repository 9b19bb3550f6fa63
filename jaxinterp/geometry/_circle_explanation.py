"""What a circle explains of states, and what it leaves: regressions on names, counts and angles."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from .._arguments import as_int
from ..stats._results import Record, Result
from ..typing import ArrayLike, IntLike
from ._circle import CircularProbe
from ._matrices import as_matrix, check_varies

SMALLEST = 1e-2  # of the largest singular value of the coefficients, below which one is dropped


@dataclasses.dataclass(frozen=True, eq=False)
class CircleExplanation(Result):
    """The share of the variance of states that the circle of the answer explains; made by `circle_explanation`.

    - `r2_without`: the share explained by one-hots of start and count and by the circle of their difference.
    - `r2`: the share with the circle of the answer too.
    - `r2_names`: the share with a one-hot of the answer in place of its circle. No two columns of the answer can
      explain more.
    - `columns (component,)`: `r2` of each principal component.
    - `probe`: a circular probe of the answer, from the coefficients of its circle.

    ```python
    start, count = np.divmod(np.arange(49), 7)
    found = ji.geometry.circle_explanation(x[:49], start, count, (start + count) % 7, period=7)
    found.r2_without, found.r2, found.r2_names
    ```
    """

    r2_without: float
    r2: float
    r2_names: float
    columns: np.ndarray
    probe: CircularProbe

    @property
    def share(self) -> float:
        """`(r2 - r2_without) / (r2_names - r2_without)`: the circle's part of all that the answer explains."""
        most = self.r2_names - self.r2_without
        return (self.r2 - self.r2_without) / most if most > 0 else float("nan")

    def records(self) -> list[Record]:
        """One dict."""
        names = ("r2_without", "r2", "r2_names", "share")
        found = {name: getattr(self, name) for name in names}
        return [found | {"probe_r2_cos": float(self.probe.r2[0]), "probe_r2_sin": float(self.probe.r2[1])}]


def circle_explanation(
    x: ArrayLike,
    start: ArrayLike,
    count: ArrayLike,
    answer: ArrayLike,
    *,
    period: IntLike,
    components: IntLike = 20,
) -> CircleExplanation:
    r"""$V^T (x - \bar x) \approx B\,[1, e_a, e_k, \cos, \sin \tfrac{2 \pi (a - k)}{p}, \cos, \sin \tfrac{2 \pi c}{p}]$: the variance that the circle of the answer explains.

    Explanation by regression, Engels et al. 2024 (https://arxiv.org/abs/2405.14860). The answer is not a linear function
    of the one-hots of start and count. So if its columns explain more variance, the states represent the sum. The
    one-hots have all p entries; the released code has eight, too few for months.

    **Arguments:**

    - `x (n, d)`: states of all prompts, at one token after one layer.
    - `start`, `count`, `answer (n,)`: ints, such as those in `pairs.about`. A count of p is the same as the count 0.
    - `period`: p, the number of values on the circle.
    - `components`: how many principal components are explained; 20 by default, and at most as many as vary.

    **Returns:** `CircleExplanation`. Its `probe` comes from the pseudo-inverse of the coefficients, without singular
    values below 1%. Give it to `circle_edit` as any other probe.

    **Raises:** ValueError where the numbers of rows differ, for values that are not ints, and where there are not more
    rows than columns.

    ```python
    start, count = np.divmod(np.arange(49), 7)
    answer = (start + count) % 7
    states = rng.normal(size=(7, 32))[answer]           # (49, 32): here the answer alone decides the state
    found = ji.geometry.circle_explanation(states, start, count, answer, period=7)
    found.r2 - found.r2_without, found.share
    ```

    Answers in a random order have a `share` of about 2 / (p - 1), because a circle has two of p - 1 dimensions.

    Law: states that are a sum of a part of start and a part of count have `r2_without` 1; a planted circle of the
    answer has `r2` 1 and a probe of $R^2$ 1.
    """
    rows = np.asarray(as_matrix(x, "x", 4), np.float64)
    check_varies(jnp.asarray(rows), "x")
    p, n = as_int(period, "period", 3), len(rows)
    given = {"start": start, "count": count, "answer": answer}
    numbers = {name: np.asarray(value) for name, value in given.items()}
    for name, value in numbers.items():
        if value.shape != (n,) or not np.issubdtype(value.dtype, np.integer):
            raise ValueError(
                f"{name} is ({n},) ints, one for each row of x; got dtype {value.dtype} and the shape {value.shape}."
            )
    a, k, c = (value % p for value in numbers.values())
    hot, turn = np.eye(p), lambda v: np.stack([f(2 * np.pi * v / p) for f in (np.cos, np.sin)], 1)
    plain = np.concatenate([np.ones((n, 1)), hot[a], hot[k], turn(a - k)], 1)
    if n <= plain.shape[1] + 2:
        raise ValueError(f"The regression has {plain.shape[1] + 2} columns, and needs more rows; got {n}.")
    mean = rows.mean(0)
    u, s, vt = np.linalg.svd(rows - mean, full_matrices=False)
    varies = int((s > s[0] * max(rows.shape) * np.finfo(np.float32).eps).sum())
    size = min(as_int(components, "components", 2), varies)
    scores, basis = u[:, :size] * s[:size], vt[:size].T
    whole, names = np.concatenate([plain, turn(c)], 1), np.concatenate([plain, hot[c]], 1)
    fits = [np.linalg.lstsq(columns, scores, rcond=None)[0] for columns in (plain, whole, names)]
    left = [np.square(scores - z @ b).sum(0) for z, b in zip((plain, whole, names), fits, strict=True)]
    total = np.square(scores).sum(0)
    weights = basis @ np.linalg.pinv(fits[1], rcond=SMALLEST)[:, -2:]
    target = turn(c)
    bias = target.mean(0)
    read = (rows - mean) @ weights + bias
    r2 = 1 - np.square(target - read).sum(0) / np.square(target - bias).sum(0)
    plane, r = np.linalg.qr(weights)
    arrays = (r2, mean, weights, bias, plane, np.linalg.pinv(r), basis)
    probe = CircularProbe(*(jnp.asarray(z, jnp.float32) for z in arrays))
    without, share, most = (float(1 - z.sum() / total.sum()) for z in left)
    return CircleExplanation(without, share, most, 1 - left[1] / total, probe)
