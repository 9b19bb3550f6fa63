"""Rankings of features: which ones to look at first."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy

from ..._random import host_generator
from ...core._check import as_int, check_key
from ...stats._blocks import block_width, by_block
from ...stats._examples import as_examples, as_labels
from ...stats._examples import example_weights as _example_weights
from ...stats.solvers import lasso_weights
from ...typing import ArrayLike, KeyLike

METHODS = ("mean_diff", "f_stat", "mi", "lr", "svm", "random")


def rank(
    x: ArrayLike,
    y: ArrayLike,
    method: str = "mean_diff",
    *,
    key: KeyLike | None = None,
    neighbours: int = 3,
    prefilter: int | None = None,
) -> np.ndarray:
    r"""Scores of every feature, larger is better; by default $\lvert \bar x_{+} - \bar x_{-} \rvert$.

    Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    | method | score of feature j |
    |---|---|
    | "mean_diff" | distance of the two class means |
    | "f_stat" | variance between the classes over variance within (ANOVA); 0 for a constant |
    | "mi" | mutual information with the label in nats, by nearest neighbours (Ross 2014) |
    | "lr" | abs weight of L1 logistic regression, balanced, C = 0.1 |
    | "svm" | abs weight of a linear SVM, hinge loss, balanced, C = 1 |
    | "random" | a random order, the baseline; needs a `key` |

    **Arguments:**

    - `x (..., n, d)`: activations, with any leading axes (layers).
    - `y (n,)`: labels 0 and 1, or several labellings of the same examples `(labelling, n)`. "mean_diff" and
      "f_stat" are then one matrix product for all labellings and layers.
    - `method`: a name of the table. Default "mean_diff".
    - `key`: draws the random order, and breaks ties of "mi" where activations repeat.
    - `neighbours`: of "mi". Default 3.
    - `prefilter`: scores only so many features, those of the largest "mean_diff" in each layer; all others get
      minus infinity. The paper takes 512 before "mi", "lr" and "svm". None (the default) scores all.

    **Returns:** `(..., d)`, for several labellings `(labelling, ..., d)`. The best k:
    `np.argsort(-scores)[..., :k]`.

    **Raises:** ValueError as `best_subset`, and for a method that is not listed.

    ```python
    scores = ji.probes.rank(x, y)
    top = np.argsort(-scores)[:10]
    ```

    Law: "f_stat", "mi", "lr" and "svm" agree with scikit-learn; several labellings give the same scores as each
    by itself; a constant neuron scores 0.
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(map(repr, METHODS))}; got {method!r}.")
    x = as_examples(x, layers=True)
    n, d = x.shape[-2:]
    y = np.asarray(y)
    if y.ndim == 2 and len(y) and y.shape[1] == n:
        signs = np.stack([as_labels(each, n) for each in y])
        if method not in ("mean_diff", "f_stat") or prefilter is not None:
            # A random order is drawn anew for each; the others fit each labelling on its own.
            keys = [key] * len(y)
            if key is not None and method == "random":
                keys = list(jax.random.split(check_key(key, "rank(x, y, 'random', key={})"), len(y)))
            found = [
                rank(x, each, method, key=one, neighbours=neighbours, prefilter=prefilter)
                for each, one in zip(y, keys, strict=True)
            ]
            return np.stack(found)
    else:
        signs = as_labels(y, n)
    if prefilter is not None:
        return _prefiltered(x, y, method, key, neighbours, as_int(prefilter, "prefilter", 1))
    if method == "random":
        if key is None:
            raise ValueError("A random order needs a key: rank(x, y, 'random', key=jax.random.key(0)).")
        drawn = check_key(key, "rank(x, y, 'random', key={})")
        return np.asarray(jax.random.uniform(drawn, (*x.shape[:-2], d), jnp.float32))
    if method == "svm":
        from ._fit import fit

        flat = [np.abs(fit(layer, y, loss="hinge").weights) for layer in x.reshape(-1, n, d)]
        return np.stack(flat).reshape(*x.shape[:-2], d)
    if method == "mi":
        few = int(min((signs > 0).sum(), (signs < 0).sum()))
        if not 1 <= neighbours < few:
            raise ValueError(
                f"Mutual information needs more examples of each class than neighbours={neighbours}; "
                f"the smaller class has {few}. Use method='f_stat'."
            )
        rng = np.random.default_rng([0])
        if key is not None:
            rng = host_generator(key, "rank(x, y, 'mi', key={})")
        columns = np.moveaxis(x, -1, -2).reshape(-1, n).astype(np.float64)
        found = [_mi(each, signs > 0, rng.normal(size=n), neighbours) for each in columns]
        return np.array(found).reshape(*x.shape[:-2], d)
    if method == "lr":
        omega = jnp.asarray(_example_weights(signs, True), jnp.float32)
        return np.asarray(lasso_weights(jnp.asarray(x, jnp.float32), jnp.asarray(signs, jnp.float32), omega))
    score = {"mean_diff": _mean_diff, "f_stat": _f_stat}[method]
    up = jnp.asarray(np.atleast_2d(signs > 0), jnp.float32)
    found = by_block(x, lambda part, *_: {"score": score(part, up)}, block_width(x.shape))
    return found["score"].reshape(*signs.shape[:-1], *x.shape[:-2], d)


def _prefiltered(
    x: np.ndarray, y: np.ndarray, method: str, key: KeyLike | None, neighbours: int, size: int
) -> np.ndarray:
    """Scores of the features that differ most in the mean, `-inf` for all others."""
    first = rank(x, y, key=key)
    kept = np.sort(np.argsort(-first, axis=-1, kind="stable")[..., :size], axis=-1)
    few = np.take_along_axis(x, kept[..., None, :], -1)
    scores = np.full(first.shape, -np.inf, np.float64)
    np.put_along_axis(scores, kept, rank(few, y, method, key=key, neighbours=neighbours), -1)
    return scores


# The labellings `up` are `(*labelling, n)`: each sum over the examples is one product with x `(..., n, d)`.


def _sums(x: Any, weight: Any) -> Any:
    product = jnp.einsum("...nd,fn->f...d", x, weight.reshape(-1, x.shape[-2]), precision="highest")
    return product.reshape(*weight.shape[:-1], *x.shape[:-2], x.shape[-1])


def _count(up: Any, x: Any) -> Any:
    return up.sum(-1).reshape(*up.shape[:-1], *(1 for _ in x.shape[:-2]), 1)


def _centred(x: Any) -> Any:
    """About the first example, then the mean: a constant is 0 exactly, whatever rounding does."""
    x = x - jnp.broadcast_to(x[..., :1, :], x.shape)
    return x - jnp.broadcast_to(jnp.mean(x, -2, keepdims=True), x.shape)


@eqx.filter_jit
def _mean_diff(x: Any, up: Any) -> Any:
    # The mean is as far from one class as the shares say: one product gives both means.
    x = _centred(x)
    many, few = _count(up, x), _count(1 - up, x)
    return jnp.abs(_sums(x, up)) * (1 / many + 1 / few)


@eqx.filter_jit
def _f_stat(x: Any, up: Any) -> Any:
    n = x.shape[-2]
    # Sums of squares about the mean: about zero they would cancel in float32.
    x = _centred(x)
    many, few = _count(up, x), _count(1 - up, x)
    # The two deviations of the class means from the mean have the same weight: many high + few low = 0.
    high = _sums(x, up) / many
    between = high**2 * (many + many**2 / few)
    within = jnp.maximum(jnp.broadcast_to(jnp.sum(x**2, -2), between.shape) - between, 0)
    tiny = 1e-12 * (between + within)
    safe = jnp.where(within > tiny, within, 1)
    ratio = jnp.where(within > tiny, between / safe * (n - 2), jnp.inf)
    return jnp.where(between + within > 0, ratio, 0)


def _mi(x: np.ndarray, up: np.ndarray, noise: np.ndarray, neighbours: int) -> float:
    """One column: distances to the k-th neighbour of the same class, and who else lies within."""
    if x.std() == 0:
        return 0.0
    x = x / x.std()
    x = x + 1e-10 * max(1.0, float(np.abs(x).mean())) * noise
    order = np.argsort(x)
    value, side = x[order], up[order]
    n, radius = len(x), np.zeros(len(x))
    mean = 0.0
    for mine in (side, ~side):
        # The k nearest of a class lie within k places of its own order.
        own = np.pad(value[mine], neighbours, constant_values=(-np.inf, np.inf))
        near = np.lib.stride_tricks.sliding_window_view(own, 2 * neighbours + 1)
        gaps = np.sort(np.abs(near - value[mine][:, None]), 1)
        radius[mine] = gaps[:, neighbours]
        mean += mine.sum() / n * float(scipy.special.digamma(mine.sum()))
    # Strictly within the radius, by the same differences: the ends found by sums may be one off.
    low = np.searchsorted(value, value - radius)
    high = np.searchsorted(value, value + radius) - 1
    low += value - value[low] >= radius
    high -= value[high] - value >= radius
    low -= (low > 0) & (value - value[low - 1] < radius)
    more = np.minimum(high + 1, n - 1)
    high += (more > high) & (value[more] - value < radius)
    mean += float(scipy.special.digamma(high - low + 1).mean())
    return max(0.0, float(scipy.special.digamma(n) + scipy.special.digamma(neighbours)) - mean)
