"""Whether a unit responds to one variable, to two, or to their conjunction."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._arguments import as_number
from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..typing import ArrayLike, FloatLike
from ._matrices import as_matrix
from ._tuning import as_labels

KINDS = ("none", "first", "second", "linear", "nonlinear")


class MixedSelectivity(Result, eqx.Module):
    """An analysis of variance of each unit by two variables; made by `mixed_selectivity`.

    - `f (effect, unit)`, `p (effect, unit)`, `share (effect, unit)`: F ratio, p-value and share of the variance. The
      effects are the first variable, the second, and their interaction.
    - `kind (unit,)`: 0 neither, 1 the first variable alone, 2 the second alone, 3 both without interaction (linear
      mixed), 4 with interaction (nonlinear mixed).

    ```python
    found = ji.geometry.mixed_selectivity(x, day, month)
    found.share[:, 0], found.kind[0]                    # unit 0
    ```
    """

    f: Float[Array, "effect unit"]
    p: Float[Array, "effect unit"]
    share: Float[Array, "effect unit"]
    kind: Int[Array, " unit"]

    def records(self) -> list[Record]:
        """One dict for each unit."""
        names = ("first", "second", "interaction")
        p, share, kind = (np.asarray(z) for z in (self.p, self.share, self.kind))
        return [
            {"unit": u, "kind": KINDS[int(kind[u])]}
            | {f"p_{name}": float(p[i, u]) for i, name in enumerate(names)}
            | {f"share_{name}": float(share[i, u]) for i, name in enumerate(names)}
            for u in range(len(kind))
        ]


def mixed_selectivity(
    x: ArrayLike, first: ArrayLike, second: ArrayLike, *, alpha: FloatLike = 0.01
) -> MixedSelectivity:
    r"""$F = \frac{(R_0 - R_1) / \Delta}{R / (n - ab)}$ of each unit for two variables and their interaction.

    A two-way analysis of variance (sums of squares of type II). It sorts units by whether they respond to one variable,
    to both, or to their conjunction, as Rigotti et al. 2013 (https://doi.org/10.1038/nature12160) sort neurons.

    **Arguments:**

    - `x (n, unit)`: responses to n examples, where n is larger than the number of pairs of conditions.
    - `first`, `second (n,)`: the conditions of each example, 0, 1, 2, ...; each pair occurs.
    - `alpha`: the p-value below which an effect counts for `kind`; 0.01 by default. It is the level of one test. With
      many units some pass by chance; correct for this by `ji.stats.discoveries(found.p)`.

    **Returns:** `MixedSelectivity`. A unit that never varies has p-values of 1.

    **Raises:** ValueError for pairs of conditions without an example; the errors of `tuning_curves`.

    ```python
    ji.geometry.mixed_selectivity(x, day, month).kind
    ```

    Law: for units that respond to neither variable p is uniform.
    """
    x = as_matrix(x, "x")
    a, many_a = as_labels(first, "first", len(x))
    b, many_b = as_labels(second, "second", len(x))
    cells = np.bincount(np.asarray(a) * many_b + np.asarray(b), minlength=many_a * many_b)
    if (cells == 0).any() or len(x) <= many_a * many_b:
        raise ValueError(
            f"Each of the {many_a} by {many_b} pairs of conditions has an example, and one of them two or more; "
            f"{int((cells == 0).sum())} pairs have none, of {len(x)} examples."
        )
    return _anova(x, a, b, many_a, many_b, jnp.asarray(as_number(alpha, "alpha", 0, 1), x.dtype))


@eqx.filter_jit
def _anova(
    x: Float[Array, "n u"], a: Array, b: Array, many_a: int, many_b: int, alpha: Array
) -> MixedSelectivity:
    x = x - x.mean(0, keepdims=True)
    hot = lambda labels, count: jax.nn.one_hot(labels, count, dtype=x.dtype)
    only_a, only_b = hot(a, many_a), hot(b, many_b)
    additive = jnp.concatenate([only_a, only_b[:, 1:]], 1)
    every = hot(a * many_b + b, many_a * many_b)

    def left(design: Array) -> Array:
        basis, _ = jnp.linalg.qr(design)
        return jnp.square(x - einsum("nk,ku->nu", basis, einsum("nk,nu->ku", basis, x))).sum(0)

    left_a, left_b, left_add, within = (left(design) for design in (only_a, only_b, additive, every))
    gain = jnp.maximum(jnp.stack([left_b - left_add, left_a - left_add, left_add - within]), 0)
    free = jnp.array([many_a - 1, many_b - 1, (many_a - 1) * (many_b - 1)], x.dtype)[:, None]
    rest = len(x) - many_a * many_b
    total = jnp.square(x).sum(0)
    # What is left of a unit without noise is rounding.
    noise = jnp.maximum(within, total * jnp.finfo(x.dtype).eps) / rest
    varies = total > 0
    f = jnp.where(varies[None], gain / free / jnp.where(varies, noise, 1)[None], 0)
    p = jax.scipy.special.betainc(
        jnp.full(f.shape, rest / 2, x.dtype), jnp.broadcast_to(free / 2, f.shape), rest / (rest + free * f)
    )
    share = jnp.where(varies[None], gain / jnp.where(varies, total, 1)[None], 0)
    real = p < alpha
    mains = real[0].astype(jnp.int32) + 2 * real[1].astype(jnp.int32)
    return MixedSelectivity(f, p, share, jnp.where(real[2], 4, mains))
