"""Probes with hidden layers."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._check import is_int
from ...stats._examples import as_examples
from .._problem_axes import ClassScores, as_classes, as_rows, check_two_classes, example_counts, leading_axes
from ._training import as_history, check_key, check_schedule, default_optimizer, train


class MLP(ClassScores, eqx.Module):
    """Probes with hidden layers `(...,)`, made by `mlp`.

    `weights` and `biases`: one array per layer, `(..., in, out)` and `(..., out)`, of the best epoch;
    `classes (c,)`, None for real targets; `loss` and `dev_loss (..., epochs)` by epoch, nan after the
    last; `epochs` run, `steps`, `best_epoch`; `stopped` where patience ended it before `epochs`.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    classes: np.ndarray | None
    middle: np.ndarray
    spread: np.ndarray
    loss: np.ndarray
    dev_loss: np.ndarray
    epochs: np.ndarray
    steps: np.ndarray
    best_epoch: np.ndarray
    stopped: np.ndarray

    def logits(self, x: Any) -> np.ndarray:
        """Logits `(..., m, c)`, or targets `(..., m, t)`, for x `(..., m, d)`."""
        x = as_rows(x, self.weights[0].shape[-2])
        x = (x - self.middle[..., None, :]) / self.spread[..., None, :]
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ w + b[..., None, :], 0)
        return x @ self.weights[-1] + self.biases[-1][..., None, :]

    def predict(self, x: Any) -> np.ndarray:
        """The likeliest class, `(..., m)`; of real targets their estimate `(..., m, t)`."""
        return self.logits(x) if self.classes is None else ClassScores.predict(self, x)


def mlp(
    x: Any,
    y: Any,
    hidden: tuple[int, ...] = (1000,),
    *,
    key: Any,
    loss: str = "logistic",
    optimizer: Any = None,
    batch: int = 128,
    epochs: int = 100,
    patience: int = 5,
    min_gain: float = 1e-3,
    decay: float = 0.5,
    dev: Any = 0.1,
    dropout: float = 0.0,
    weights: Any = None,
    classes: Any = None,
    standardise: bool = True,
) -> MLP:
    r"""$g(h) = W_2\,\mathrm{relu}(W_1 h + b_1) + b_2$, with two `hidden` sizes $W_3\,\mathrm{relu}(W_2\,\mathrm{relu}(W_1 h))$: for every layer and seed.

    The probes of Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368), all problems in one
    compiled program. After each epoch the loss on the dev split is taken. An epoch that gains less
    than `min_gain` on the last gain's loss shrinks the step by `decay`; `patience` of them in a row
    end the training, and the weights of the lowest dev loss are returned.

    **Arguments:**

    - `x (..., n, d)`; `y (..., n)` labels of any kind; with `loss="squared"` real targets `(n,)`, or
      `(..., n, t)` for t at once. Leading axes broadcast, as in `dense`.
    - `hidden`: widths; `()` is a linear probe.
    - `key`: a `jax.random.key`, the same draws for every problem; or keys `(seeds,)`, which are
      leading axes as well: results then begin with `(seeds, ...)`.
    - `optimizer`: any of optax, made once and passed to every call (a new object is a new program);
      by default `optax.adam(1e-3)`. Weight decay: `optax.adamw(1e-3, weight_decay=0.1)`.
    - `batch` examples a step, at most `epochs` rounds. `dev`: a share of the examples, or `(x, y)`.
    - `dropout`: the share of hidden units left out at each step.
    - `weights (..., n)`: how much each example counts, 0 leaves one out; `classes` as in `dense`.
    - `standardise`: features (and targets) in units of their spread over the training rows.

    **Returns:** `MLP`, with `.logits(x)`, `.decision(x)`, `.predict(x)` and the history.

    **Raises:** ValueError for one class only, shapes that do not fit, NaN and infinity.

    ```python
    probes = ji.probes.mlp(x, y, (64,), key=jax.random.split(jax.random.key(0), 3))
    (probes.predict(x) == y).mean(-1), probes.epochs   # for each of three seeds
    ```

    Laws: many problems equal one by one; examples of weight 0 do not matter; a second call of the
    same shapes compiles nothing.
    """
    x = as_examples(x, layers=True).astype(np.float32)
    if loss not in ("logistic", "squared"):
        raise ValueError(f"loss is 'logistic' for classes or 'squared' for real targets; got {loss!r}.")
    if any(not is_int(h) or h < 1 for h in hidden):
        raise ValueError(f"hidden is the widths of the hidden layers, as (1000,); got {hidden!r}.")
    found, kinds = fitted(
        x,
        y,
        _init_of(tuple(int(h) for h in hidden)),
        _forward,
        key,
        loss,
        optimizer,
        batch,
        epochs,
        patience,
        min_gain,
        decay,
        dev,
        dropout,
        weights,
        classes,
        standardise,
    )
    ws = [np.asarray(w) for w, _ in found["params"]]
    bs = [np.asarray(b) for _, b in found["params"]]
    if kinds is None:  # back to the units of the targets
        low, wide = np.asarray(found["low"]), np.asarray(found["wide"])
        ws[-1], bs[-1] = ws[-1] * wide[..., None, :], bs[-1] * wide + low
    middle, spread = np.asarray(found["middle"]), np.asarray(found["spread"])
    return MLP(tuple(ws), tuple(bs), kinds, middle, spread, **as_history(found))


def fitted(
    x: np.ndarray,
    y: Any,
    init: Any,
    forward: Any,
    key: Any,
    loss: str,
    optimizer: Any,
    batch: int,
    epochs: int,
    patience: int,
    min_gain: float,
    decay: float,
    dev: Any,
    dropout: float,
    weights: Any,
    classes: Any,
    standardise: bool,
) -> tuple[dict[str, Any], np.ndarray | None]:
    check_key(key)
    check_schedule(batch, epochs, patience, dev, dropout)
    n = x.shape[-2]
    kinds: np.ndarray | None = None
    if loss == "logistic":
        y, kinds = as_classes(y, classes)
        check_two_classes(kinds, n)
    else:
        y = _targets(y)
    counts = example_counts(weights, (), n)
    core = 1 if kinds is not None else 2
    lead = len(leading_axes(x, y, core, counts.shape[:-1]))
    given, share = None, 0.0
    if not isinstance(dev, tuple):
        share = float(dev)
    else:
        dev_x = as_examples(dev[0], layers=True).astype(np.float32)
        dev_y = _targets(dev[1]) if kinds is None else as_classes(dev[1], kinds)[0]
        leading_axes(dev_x, dev_y, core)
        given = dev_x, dev_y
    # Seeds are axes in front of all others.
    keys = key.reshape(*key.shape, *(1,) * lead) if key.shape else key
    return train(
        x,
        y,
        counts,
        given,
        keys,
        (np.float32(min_gain), np.float32(decay)),
        init=init,
        forward=forward,
        optimizer=default_optimizer() if optimizer is None else optimizer,
        classes=None if kinds is None else len(kinds),
        batch=int(batch),
        epochs=int(epochs),
        patience=int(patience),
        share=share,
        dropout=float(dropout),
        standardise=bool(standardise),
    ), kinds


def _targets(y: Any) -> np.ndarray:
    y = np.asarray(y, np.float32)
    if not np.isfinite(y).all():
        raise ValueError("Targets are finite; drop the examples whose targets are not.")
    return y[:, None] if y.ndim == 1 else y


# One function per size: a function made anew would be a program made anew.
@functools.cache
def _init_of(hidden: tuple[int, ...]) -> Any:
    def init(key: Any, d: int, out: int) -> Any:
        sizes = (d, *hidden, out)
        keys = jax.random.split(key, len(sizes) - 1)
        # Twice the variance before a relu, which halves it.
        gains = [2.0] * len(hidden) + [1.0]
        return [
            (
                jax.random.normal(k, (a, b), jnp.float32) * float(np.sqrt(g / a)),
                jnp.zeros(b, jnp.float32),
            )
            for k, a, b, g in zip(keys, sizes[:-1], sizes[1:], gains, strict=True)
        ]

    return init


def _forward(params: Any, x: Any, key: Any, dropout: float) -> Any:
    for i, (w, b) in enumerate(params[:-1]):
        x = jax.nn.relu(x @ w + b[None])
        if dropout and key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout, x.shape)
            x = jnp.where(kept, x / (1 - dropout), 0)
    return x @ params[-1][0] + params[-1][1][None]
