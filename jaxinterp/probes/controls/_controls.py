"""Controls for the score of a probe: random labels, and the directions of the class means."""

import jax
import numpy as np

from ..._deprecations import respelled
from ...core._check import check_key
from ...stats._examples import as_examples, as_labels
from ...typing import ArrayLike, KeyLike
from ..linear._fit import Probe


def mass_mean(x: ArrayLike, y: ArrayLike, *, whiten: bool = False) -> Probe:
    r"""$w = \bar x_{+} - \bar x_{-}$, or $\Sigma^{-1} w$, with the threshold midway between the means.

    Marks & Tegmark 2023 (https://arxiv.org/abs/2310.06824). Only the two means are computed, and with `whiten` the
    covariance within the classes, which is inverted by its pseudo-inverse.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1.
    - `whiten`: whether the direction is divided by the covariance within the classes. Default False.

    **Returns:** `Probe`; `value`, `bound` and `gap` are NaN, because there is no objective.

    **Raises:** as `best_subset`.

    ```python
    ji.probes.mass_mean(x, y).predict(x)
    ```

    Law: with `whiten` it is the direction of linear discriminant analysis.
    """
    x = as_examples(x).astype(np.float64)
    n, d = x.shape
    signs = as_labels(y, n)
    high, low = x[signs > 0].mean(0), x[signs < 0].mean(0)
    w = high - low
    if whiten:
        within = x - np.where(signs[:, None] > 0, high, low)
        w = np.linalg.pinv(within.T @ within / n, hermitian=True) @ w
    nan = float("nan")
    bias = -float(w @ (high + low)) / 2
    return Probe(np.arange(d), w, bias, nan, nan, nan, True, 1, "mean", nan, d)


def control_labels(types: ArrayLike, y: ArrayLike, *, key: KeyLike) -> np.ndarray:
    r"""$C(\text{type}_i)$ with $C(v) \sim \hat p(y)$: random labels that a probe can only learn by heart, type by type.

    The control task of Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368): every type (a token
    id, a word) draws one label from the distribution of `y`. The label is the same wherever the type occurs, in
    training and in test. The selectivity of a probe is its accuracy on `y` minus its accuracy on these labels.

    **Arguments:**

    - `types (n,)`: ints or strings.
    - `y (n,)`: labels of any kind.
    - `key`: draws the label of each type.

    **Returns:** `(n,)` labels of y's dtype. Draw them for training and test examples together.

    ```python
    tokens = np.array([5, 7, 5, 9, 7])
    ji.probes.control_labels(tokens, np.array([0, 1, 0, 1, 1]), key=jax.random.key(0))
    ```

    Law: equal types have equal labels; over many types the shares of the labels are those of y.
    """
    types, y = np.asarray(types), np.asarray(y)
    if types.ndim != 1 or types.shape != y.shape or not y.size:
        raise ValueError(f"There is one type and one label per example, (n,); got {types.shape}, {y.shape}.")
    kinds, which = np.unique(types, return_inverse=True)
    drawn = np.asarray(
        jax.random.randint(check_key(key, "ji.probes.control_labels(..., key={})"), kinds.shape, 0, len(y))
    )
    return y[drawn][which]


def control_heads(types: ArrayLike, sentences: ArrayLike, *, key: KeyLike) -> np.ndarray:
    r"""Random labels for probes of dependency heads: each word attaches to itself, or to the first or last word.

    The control task of Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368): each type of word draws one of these
    three rules at random, the same in every sentence.

    **Arguments:**

    - `types (n,)`: the type of each word, in the order of the text.
    - `sentences (n,)`: the sentence of each word. The words of a sentence stand together.
    - `key`: draws the rule of each type.

    **Returns:** `(n,)` ints: for each word the row of the word that it attaches to.

    ```python
    ji.probes.control_heads(["a", "b", "a", "c"], [0, 0, 0, 1], key=jax.random.key(0))
    ```

    Law: in every sentence, words of one type follow the same rule.
    """
    types, sentences = np.asarray(types), np.asarray(sentences)
    starts = np.r_[0, np.flatnonzero(sentences[1:] != sentences[:-1]) + 1]
    if types.ndim != 1 or types.shape != sentences.shape or not types.size:
        raise ValueError(
            f"There is one type and one sentence per word, (n,); got {types.shape}, {sentences.shape}."
        )
    if len(starts) != len(np.unique(sentences)):
        raise ValueError("The words of a sentence stand together: sort rows by sentence.")
    own = np.searchsorted(starts, np.arange(len(types)), side="right") - 1
    ends = np.r_[starts[1:], len(types)] - 1
    kinds, which = np.unique(types, return_inverse=True)
    rule = np.asarray(
        jax.random.randint(check_key(key, "ji.probes.control_heads(..., key={})"), kinds.shape, 0, 3)
    )[which]
    return np.choose(rule, [np.arange(len(types)), starts[own], ends[own]])


@respelled(count="resamples=")
def shuffled_labels(y: ArrayLike, resamples: int = 20, *, key: KeyLike) -> np.ndarray:
    r"""$y_{\pi(i)}$ for random orders $\pi$, `(resamples, n)`: labels on which a probe scores by chance.

    **Arguments:**

    - `y (n,)`: labels or targets.
    - `resamples`: how many orders. Default 20.
    - `key`: draws the orders.

    **Returns:** `(resamples, n)`; each row holds y in another order.

    ```python
    nulls = ji.probes.shuffled_labels(y, 5, key=jax.random.key(0))
    [ji.probes.best_subset(x, null, k=1).value for null in nulls]
    ```

    Law: every row is a reordering of y.
    """
    y = np.asarray(y)
    if y.ndim != 1 or not y.size or resamples < 1:
        raise ValueError(f"y has the axis (n,) and resamples is 1 or more; got {y.shape}, {resamples}.")
    orders = jax.vmap(lambda k: jax.random.permutation(k, len(y)))(
        jax.random.split(check_key(key, "ji.probes.shuffled_labels(y, n, key={})"), resamples)
    )
    return y[np.asarray(orders)]
