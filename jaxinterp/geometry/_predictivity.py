"""How much of one side a linear function of the other predicts, on rows that it has not seen."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._arguments import as_int, as_numbers, check_key, concrete
from ..nn._linear import einsum
from ..stats._results import Result
from ..typing import ArrayLike, IntLike, KeyLike
from ._matrices import as_matrices, check_varies, spread

PENALTIES = tuple(10.0**power for power in range(-6, 5))


class Predictivity(Result, eqx.Module):
    """How well one side predicts another; made by `predictivity`.

    - `r2`: the share of the variance of all columns of y that is predicted on held-out rows.
    - `columns (q,)`: the same for each column; NaN where a column does not vary.
    - `penalty (fold,)`: the ridge that each fold chose, in mean variances of x.

    ```python
    found = ji.geometry.predictivity(x, y)
    found.r2, found.columns.max(), found.penalty
    ```
    """

    r2: Float[Array, ""]
    columns: Float[Array, " q"]
    penalty: Float[Array, " fold"]

    def records(self) -> list[dict[str, float]]:
        """One dict for each column of y."""
        return [{"column": i, "r2": float(value)} for i, value in enumerate(np.asarray(self.columns))]

    def figure(self, *, title: str = "How well columns are predicted") -> viz.Figure:
        """R² of the columns, the best first."""
        values = np.sort(np.asarray(self.columns)[np.isfinite(np.asarray(self.columns))])[::-1]
        return viz.lines({"R²": values}, x_axis="columns, best first", y_axis="R²", title=title)


def predictivity(
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: IntLike = 5,
    penalties: ArrayLike = PENALTIES,
    key: KeyLike | None = None,
) -> Predictivity:
    r"""$R^2 = 1 - \lVert Y - \hat Y \rVert_F^2 / \lVert Y - \bar Y \rVert_F^2$ of ridge regressions from x, on rows held out.

    The score of encoding models (Yamins et al. 2014, https://doi.org/10.1073/pnas.1403112111). Each fold uses the
    ridge with the smallest leave-one-out error on its training rows. Held-out rows take no part in this choice.

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: activations of the same n examples.
    - `folds`: how many parts the rows are divided into, each held out once; 5 by default.
    - `penalties (k,)`: ridges to choose from, as multiples of the mean variance of the columns of x.
    - `key`: a `jax.random.key`, which puts rows into folds at random. By default each fold is a stretch of neighbouring
      rows. This is right for tokens of a text, where neighbours are similar.

    **Returns:** `Predictivity`. `r2` is below 0 where the training mean predicts better.

    **Raises:** the errors of `cka`, and ValueError for fewer than two folds, fewer than two rows in a fold, and
    penalties that are not positive.

    ```python
    ji.geometry.predictivity(x, y).r2
    ```

    Laws: orthogonal maps and translations of both sides, and one scale of each, change nothing; 1 where y is a
    linear function of x, with enough rows and a small penalty.
    """
    a, b = as_matrices(x, y)
    folds, n = as_int(folds, "folds", 2), len(a)
    if n < 2 * folds or n - -(-n // folds) < 3:
        raise ValueError(
            f"Each of {folds} folds holds two rows or more, and three are left to fit; got {n} rows. Read more "
            f"examples, or take folds={max(2, n // 2)}."
        )
    check_varies(a, "x")
    check_varies(b, "y")
    ridge = jnp.asarray(as_numbers(penalties, "penalties"), a.dtype)
    if ridge.ndim != 1 or not ridge.size or (concrete(ridge) and not (np.asarray(ridge) > 0).all()):
        raise ValueError(f"penalties is (k,), one positive number or more; got {penalties!r}.")
    fold = jnp.arange(n) * folds // n
    if key is not None:
        fold = jax.random.permutation(check_key(key, "ji.geometry.predictivity(x, y, key={})"), fold)
    return _predictivity(a, b, ridge, fold, folds)


@eqx.filter_jit
def _predictivity(
    x: Float[Array, "n p"], y: Float[Array, "n q"], penalties: Float[Array, " k"], fold: Array, folds: int
) -> Predictivity:
    p = x.shape[1]

    def one(number: Array) -> tuple[Array, Array, Array]:
        train = fold != number
        rows = train[:, None]
        count = train.sum().astype(x.dtype)
        means = [jnp.where(rows, z, 0).sum(0, keepdims=True) / count for z in (x, y)]
        all_x, all_y = x - means[0], y - means[1]
        u, s, (vt, varies) = spread(jnp.where(rows, all_x, 0))
        u = jnp.where(varies[None], u, 0)
        power = jnp.square(s)
        target = einsum("nr,nq->rq", u, jnp.where(rows, all_y, 0))

        def left_out(penalty: Array) -> Array:
            share = power / (power + penalty * power.sum() / p)
            # The mean is not penalised: it is 1/n of each leverage.
            leverage = 1 / count + einsum("nr,r->n", jnp.square(u), share)
            error = all_y - einsum("nr,rq->nq", u, share[:, None] * target)
            # A row that alone fixes a direction has the leverage 1, and no prediction without it.
            kept = jnp.maximum(1 - leverage, jnp.sqrt(jnp.finfo(x.dtype).eps))
            return jnp.where(rows, jnp.square(error / kept[:, None]), 0).sum()

        best = penalties[jnp.argmin(jax.lax.map(left_out, penalties))]
        weight = s / (power + best * power.sum() / p)
        scores = einsum("np,rp->nr", all_x, vt)
        error = all_y - einsum("nr,rq->nq", scores, jnp.where(varies, weight, 0)[:, None] * target)
        tested = ~rows
        return (
            jnp.where(tested, jnp.square(error), 0).sum(0),
            jnp.where(tested, jnp.square(all_y), 0).sum(0),
            best,
        )

    error, total, chosen = (z for z in jax.lax.map(one, jnp.arange(folds)))
    error, total = error.sum(0), total.sum(0)
    columns = jnp.where(total > 0, 1 - error / jnp.where(total > 0, total, 1), jnp.nan)
    return Predictivity(1 - error.sum() / total.sum(), columns, chosen)
