"""Probes with hidden layers."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...core._check import is_int
from ...stats._examples import as_examples
from ...typing import ArrayLike, IntLike, KeyLike, OptimizerLike
from .._problem_axes import ClassScores, as_classes, as_rows, check_two_classes, example_counts, leading_axes
from ._settings import OPTIONS, TrainSettingsLike, check_train_settings
from ._training import Recipe, Trained, as_history, check_key, default_optimizer, train


class MLP(ClassScores, eqx.Module):
    """Probes with hidden layers `(...,)`, made by `mlp`.

    - `weights`, `biases`: one array for each layer, `(..., in, out)` and `(..., out)`, of the best epoch.
    - `classes`: `(c,)`, or None for real targets.
    - `middle`, `spread`: `(..., d)`, what is subtracted from features, and what they are divided by.
    - `loss`, `dev_loss`: `(..., epoch)`, nan after the last epoch.
    - `epochs`, `steps`, `best_epoch`: `(...,)`, how many were run, and the epoch of the lowest dev loss.
    - `stopped`: `(...,)`, whether patience ended the training before its last epoch.

    ```python
    probes = ji.probes.mlp(x, y, (64,), key=jax.random.split(jax.random.key(0), 3))
    probes.predict(x).shape, probes.best_epoch
    ```
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

    def logits(self, x: ArrayLike) -> np.ndarray:
        """Logits `(..., m, c)`, or targets `(..., m, t)`, for x `(..., m, d)`."""
        x = as_rows(x, self.weights[0].shape[-2])
        x = (x - self.middle[..., None, :]) / self.spread[..., None, :]
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ w + b[..., None, :], 0)
        return x @ self.weights[-1] + self.biases[-1][..., None, :]

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The likeliest class, `(..., m)`; of real targets their estimate `(..., m, t)`."""
        return self.logits(x) if self.classes is None else ClassScores.predict(self, x)


@respelled(**OPTIONS, seed="key=jax.random.key(0)", seeds="key=jax.random.split(jax.random.key(0), seeds)")
def mlp(
    x: ArrayLike,
    y: ArrayLike,
    hidden: Sequence[IntLike] = (1000,),
    *,
    key: KeyLike,
    loss: str = "logistic",
    optimizer: OptimizerLike | None = None,
    weights: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    settings: TrainSettingsLike | None = None,
) -> MLP:
    r"""$g(h) = W_2\,\mathrm{relu}(W_1 h + b_1) + b_2$, with two `hidden` sizes $W_3\,\mathrm{relu}(W_2\,\mathrm{relu}(W_1 h))$: for each layer and key.

    The probes of Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368), all problems in one
    compiled program. After each epoch the loss on the dev split is computed. An epoch is without gain if it does not
    lower the dev loss of the last epoch with gain by more than `min_gain`. Each such epoch makes later steps smaller, and `patience` of them in a row
    end the training. The weights with the lowest dev loss are returned.

    **Arguments:**

    - `x`: activations `(..., n, d)`. Leading axes broadcast with those of `y`, as in `dense`.
    - `y`: labels `(..., n)` of any kind; with `loss="squared"` real targets `(n,)`, or `(..., n, t)`
      for t at once.
    - `hidden`: widths of the hidden layers; `()` is a linear probe; (1000,) by default.
    - `key`: a `jax.random.key`, the same draws for each problem; or keys `(k,)`, which are leading axes
      as well: results then begin with `(k, ...)`.
    - `loss`: `"logistic"` for classes or `"squared"` for real targets.
    - `optimizer`: any of optax, made once and passed to each call (a new object is a new program);
      by default `optax.adam(1e-3)`. Weight decay: `optax.adamw(1e-3, weight_decay=0.1)`.
    - `weights`: `(..., n)`, how much each example counts; 0 leaves one out. By default all count 1.
    - `classes`: all classes, as in `dense`; by default those of `y`.
    - `settings`: batch size, epochs, early stopping and dropout: `ji.probes.TrainSettings`.

    **Returns:** `MLP`, with `.logits(x)`, `.decision(x)`, `.predict(x)` and the history.

    **Raises:** ValueError for one class only, shapes that do not fit, NaN and infinity.

    ```python
    probes = ji.probes.mlp(x, y, (64,), key=jax.random.split(jax.random.key(0), 3))
    (probes.predict(x) == y).mean(-1), probes.epochs   # for each of three keys
    ```

    Laws: many problems give the same as one by one; examples of weight 0 do not matter; a second call of the
    same shapes compiles nothing.
    """
    x = as_examples(x, layers=True).astype(np.float32)
    if loss not in ("logistic", "squared"):
        raise ValueError(f"loss is 'logistic' for classes or 'squared' for real targets; got {loss!r}.")
    widths = tuple(hidden) if isinstance(hidden, Iterable) else (0,)
    if any(not is_int(h) or h < 1 for h in widths):
        raise ValueError(f"hidden is the widths of the hidden layers, as (1000,); got {hidden!r}.")
    init = _init_of(tuple(int(h) for h in widths))
    found, kinds = fitted(x, y, init, _forward, key, loss, optimizer, weights, classes, settings)
    ws = [np.asarray(w) for w, _ in found.found.params]
    bs = [np.asarray(b) for _, b in found.found.params]
    scaling = jax.tree.map(np.asarray, found.scaling)
    if kinds is None:  # back to the units of the targets
        ws[-1] = ws[-1] * scaling.wide[..., None, :]
        bs[-1] = bs[-1] * scaling.wide + scaling.low
    return MLP(tuple(ws), tuple(bs), kinds, scaling.middle, scaling.spread, **as_history(found.found))


def fitted(
    x: np.ndarray,
    y: ArrayLike,
    init: Any,
    forward: Any,
    key: KeyLike,
    loss: str,
    optimizer: OptimizerLike | None,
    weights: ArrayLike | None,
    classes: ArrayLike | None,
    settings: TrainSettingsLike | None,
) -> tuple[Trained, np.ndarray | None]:
    """The trained probes, and the class of each number (None for real targets)."""
    check_key(key)
    settings = check_train_settings(settings)
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
    others, share, dev = None, 0.0, settings.dev
    if not isinstance(dev, tuple):
        share = float(dev)
    else:
        dev_x = as_examples(dev[0], layers=True).astype(np.float32)
        dev_y = _targets(dev[1]) if kinds is None else as_classes(dev[1], kinds)[0]
        leading_axes(dev_x, dev_y, core)
        others = dev_x, dev_y
    # Keys are axes in front of all others.
    keys = key.reshape(*key.shape, *(1,) * lead) if key.shape else key
    recipe = Recipe(
        init=init,
        forward=forward,
        optimizer=default_optimizer() if optimizer is None else optimizer,
        classes=None if kinds is None else len(kinds),
        batch_size=int(settings.batch_size),
        epochs=int(settings.epochs),
        patience=int(settings.patience),
        share=share,
        dropout=float(settings.dropout),
        standardise=bool(settings.standardise),
    )
    rule = np.float32(settings.min_gain), np.float32(settings.plateau_factor)
    return train(x, y, counts, others, keys, rule, recipe), kinds


def _targets(y: ArrayLike) -> np.ndarray:
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
            stays = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout, x.shape)
            x = jnp.where(stays, x / (1 - dropout), 0)
    return x @ params[-1][0] + params[-1][1][None]
