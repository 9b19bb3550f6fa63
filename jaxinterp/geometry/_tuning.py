"""Single units: what each responds to, how selectively and how sparsely."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import viz
from .._arguments import as_array, check_choice, concrete
from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..typing import ArrayLike, StrLike
from ._matrices import as_matrix


class Tuning(Result, eqx.Module):
    """Mean responses by condition; made by `tuning_curves`.

    - `mean (condition, unit)`, `error (condition, unit)`: means and their standard errors; NaN for one example.
    - `count (condition,)`: the number of examples of each condition.
    - `selectivity (unit,)`: $(m - \\bar m) / (m + \\bar m)$ of the largest mean m and the mean of the others.
    - `preferred (unit,)`: the condition with the largest mean.

    ```python
    found = ji.geometry.tuning_curves(jax.nn.relu(x), day)
    found.mean.shape, found.preferred[0]                # (condition, unit)
    ```
    """

    mean: Float[Array, "condition unit"]
    error: Float[Array, "condition unit"]
    count: Int[Array, " condition"]
    selectivity: Float[Array, " unit"]
    preferred: Int[Array, " unit"]

    def records(self) -> list[Record]:
        """One dict for each unit."""
        pairs = zip(np.asarray(self.preferred), np.asarray(self.selectivity), np.asarray(self.mean.T))
        return [
            {"unit": i, "preferred": int(best), "selectivity": float(value), "mean": curve.tolist()}
            for i, (best, value, curve) in enumerate(pairs)
        ]

    def figure(self, *, title: str = "Tuning curves") -> viz.Figure:
        """The responses of the five most selective units by condition, with a band of one standard error."""
        best = np.argsort(-np.nan_to_num(np.asarray(self.selectivity)), kind="stable")[:5]
        mean, error = np.asarray(self.mean), np.asarray(self.error)
        curves = {f"unit {i}": mean[:, i] for i in best}
        bands = {f"unit {i}": (mean[:, i] - error[:, i], mean[:, i] + error[:, i]) for i in best}
        return viz.lines(curves, bands=bands, x_axis="condition", y_axis="response", title=title)


def tuning_curves(x: ArrayLike, condition: ArrayLike) -> Tuning:
    r"""$m_{cu} = \langle x_{iu} \rangle_{i: c_i = c}$: the mean response of each unit to each condition.

    The selectivity index is that of Morcos et al. 2018 (https://arxiv.org/abs/1803.06959): 1 for a unit that
    responds to one condition alone, 0 for equal responses. It is meant for responses that are not negative. With negative
    responses it is NaN where the sum of both means is not positive.

    **Arguments:**

    - `x (n, unit)`: responses to n examples.
    - `condition (n,)`: the condition of each example, 0, 1, 2, ...; each condition has an example.

    **Returns:** `Tuning`.

    **Raises:** ValueError for another length, fewer than two conditions, conditions without an example or below
    0, and values that are not finite.

    ```python
    ji.geometry.tuning_curves(x, day).selectivity       # (unit,)
    ```

    Law: the order of the examples changes nothing.
    """
    x = as_matrix(x, "x")
    labels, count = as_labels(condition, "condition", len(x))
    return _tuning(x, labels, count)


@eqx.filter_jit
def _tuning(x: Float[Array, "n u"], labels: Array, conditions: int) -> Tuning:
    hot = jax.nn.one_hot(labels, conditions, dtype=x.dtype)
    count = hot.sum(0)[:, None]
    mean = einsum("nc,nu->cu", hot, x) / count
    square = einsum("nc,nu->cu", hot, jnp.square(x - mean[labels]))
    error = jnp.where(count > 1, jnp.sqrt(square / jnp.maximum(count - 1, 1) / count), jnp.nan)
    most = mean.max(0)
    others = (mean.sum(0) - most) / (conditions - 1)
    total = most + others
    index = jnp.where(total > 0, (most - others) / jnp.where(total > 0, total, 1), jnp.nan)
    return Tuning(mean, error, count[:, 0].astype(jnp.int32), index, mean.argmax(0).astype(jnp.int32))


def sparsity(responses: ArrayLike, *, over: StrLike = "examples") -> Float[Array, " k"]:
    r"""$\Big(1 - \frac{(\sum_i r_i / n)^2}{\sum_i r_i^2 / n}\Big) \Big/ \Big(1 - \frac{1}{n}\Big)$: the sparsity of responses, from 0 to 1.

    Treves and Rolls 1991 (https://doi.org/10.1088/0954-898X/2/4/004), in the scale of Vinje and Gallant 2000
    (https://doi.org/10.1126/science.287.5456.1273). It is 0 where all responses are equal, and 1 where only one of them
    is not 0.

    **Arguments:**

    - `responses (n, unit)`: responses that are not negative, two or more along the axis.
    - `over`: "examples", the lifetime sparsity of each unit (the default), or "units", the population sparsity
      of each example.

    **Returns:** `(unit,)` or `(n,)`; NaN where all responses are 0.

    **Raises:** ValueError for negative responses; the errors of `tuning_curves`.

    ```python
    ji.geometry.sparsity(jax.nn.relu(x))
    ```

    Law: one scale for all responses changes nothing.
    """
    check_choice(over, "over", ("examples", "units"))
    r = as_matrix(responses, "responses", 1)
    if concrete(r) and (np.asarray(r) < 0).any():
        raise ValueError(
            "Treves-Rolls sparsity is of responses that are not negative, such as firing rates or "
            "jax.nn.relu(x); some of these are."
        )
    axis = 0 if over == "examples" else 1
    n = r.shape[axis]
    if n < 2:
        raise ValueError(f"Sparsity is over two {over} or more; got {n}.")
    square = jnp.square(r).mean(axis)
    ratio = jnp.square(r.mean(axis)) / jnp.where(square > 0, square, 1)
    return jnp.where(square > 0, (1 - ratio) / (1 - 1 / n), jnp.nan)


def as_labels(value: ArrayLike, name: str, count: int) -> tuple[Int[Array, " n"], int]:
    """Conditions 0, 1, 2, ... of `count` examples, and how many there are."""
    found = as_array(value, name)
    if not concrete(found):
        raise ValueError(f"{name} decides the shapes, so it is known before anything is traced.")
    labels = np.asarray(found)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} is ({count},) ints, one for each row of x; got {labels.dtype} of the shape {labels.shape}. "
            f"From names: np.unique({name}, return_inverse=True)[1]."
        )
    many = int(labels.max()) + 1
    if labels.min() < 0 or many < 2 or len(np.unique(labels)) < many:
        raise ValueError(
            f"{name} counts two conditions or more from 0, each with an example; got {np.unique(labels)[:8].tolist()}. "
            f"Number them anew: np.unique({name}, return_inverse=True)[1]."
        )
    return jnp.asarray(labels, jnp.int32), many
