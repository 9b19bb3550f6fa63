r"""Training a tuned lens: the problems of all layers at once, in one compiled program.

$$\min_{A, b} \sum_\ell \mathbb E_t\, \mathrm{KL}\bigl(p(\cdot \mid t) \,\|\, p_\ell(\cdot \mid t; A_\ell, b_\ell)\bigr)$$

The problems of the layers are independent; see `_losses.py` for what exists at a time.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._deprecations import key_by_name, respelled
from ..core._check import check_key, check_predicts_tokens
from ..data import model_hash
from ..fit._identity import optimizer_print
from ..fit._loop import Run, drive
from ..fit._settings import OPTIONS, SettingsLike, check_counts, check_settings
from ..fit._state import Now, initial_state
from ..fit._step import Slope, Task
from ..typing import IntLike, KeyLike, ModelLike, OptimizerLike, PyTree, StreamLike
from ._losses import losses_and_grads
from ._recipe import published_optimizer
from ._stream import batches, peeked
from ._tuned import TunedLens

LOSSES = ("kl", "ce")
PER_DISPATCH = 1  # batches are large, and may differ in shape


class LensTask(Task):
    """The losses of all translators of a lens.

    - `optimizer`: any of optax.
    - `model`: stays as it is.
    - `loss`: "kl" or "ce".
    - `rows_at_once`: how many prompts are run at a time; None: all.
    """

    optimizer: Any
    model: Any
    loss: str = eqx.field(static=True)
    rows_at_once: int | None

    def slope(self, params: PyTree, fixed: PyTree, batch: PyTree, now: Now) -> Slope:
        tokens, mask = batch
        lens = eqx.combine(params, fixed)
        losses, gradient = losses_and_grads(lens, self.model, tokens, mask, self.loss, self.rows_at_once)
        norm = jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))
        return Slope(gradient, {"loss": losses, "grad_norm": norm})


@key_by_name("ji.lens.train_tuned_lens(model, stream, optimizer, key=key, steps=...)")
@respelled(**OPTIONS)
def train_tuned_lens(
    model: ModelLike,
    stream: StreamLike,
    optimizer: OptimizerLike | None = None,
    *,
    key: KeyLike,
    steps: IntLike = 250,
    loss: str = "kl",
    bias_only: bool = False,
    lens: TunedLens | None = None,
    rows_at_once: IntLike | None = None,
    settings: SettingsLike | None = None,
) -> tuple[TunedLens, dict[str, np.ndarray]]:
    r"""$\min_{A,b} \sum_\ell \mathbb E\,\mathrm{KL}(p \,\|\, p_\ell)$: trains a tuned lens for all layers.

    Belrose et al. 2023 (https://arxiv.org/abs/2303.08112).

    **Arguments:**

    - `model`: any model of the protocol; it is not trained.
    - `stream`: an iterable of token batches `(batch, pos)`, or of `(tokens, mask)` as
      `tokenizer([...])` returns, or a function of a key to one of these. One batch is one step.
    - `optimizer`: any of optax; `published_optimizer(steps)` by default.
    - `key`: a `jax.random.key`. A `stream` that is a function gets a key of its own for each step.
    - `steps`: how many steps; 250 by default.
    - `loss`: `"kl"` (the default) to the model's own distribution, or `"ce"` of the next token.
    - `bias_only`: trains biases alone; False by default.
    - `lens`: the lens at the start; by default the logit lens.
    - `rows_at_once`: how many prompts run at a time, for batches that do not fit into memory; None (the
      default) for all. It must divide the batch. The gradients are added up.
    - `settings`: how the training runs, reports and is saved: `ji.fit.Settings`. One dispatch is one
      step unless `steps_per_dispatch` is larger.

    **Returns:** the lens, and a history: `"loss"` `(step, layer)` in nats per token before each step,
    `"grad_norm"` `(step,)`, and the numbers of `settings.evaluate`.

    **Raises:** ValueError for a stream that ends, a loss that is not finite, and a checkpoint of
    another model, another first batch or another optimizer.

    ```python
    lens, history = ji.lens.train_tuned_lens(model, stream, key=key, steps=250)
    ```

    Laws: before the first step the lens is the logit lens; a training that stops and resumes gives the
    same bits as one without a stop.
    """
    settings = check_settings(settings)
    check_key(key, "ji.lens.train_tuned_lens(model, stream, key={}, ...)")
    if loss not in LOSSES:
        raise ValueError(f"loss is 'kl' (to the model's own distribution) or 'ce'; got {loss!r}.")
    if loss == "ce":
        check_predicts_tokens(model.config, "loss='ce' is of the next token")
    check_counts(steps=steps)
    steps = int(steps)
    chosen: Any = published_optimizer(steps) if optimizer is None else optimizer
    first = TunedLens.init(model, bias_only=bias_only) if lens is None else lens
    first.rows(model.config.layers)
    layers, d = first.bias.shape
    about: dict[str, Any] = {
        "steps": steps,
        "loss": loss,
        "layers": layers,
        "d": d,
        "average": settings.average,
    }
    if settings.checkpoint is not None:
        stream, data = peeked(stream, key)
        about |= {
            "model": model_hash(model),
            "data": data,
            "optimizer": optimizer_print(chosen, first, steps),
        }
    at_once = None if rows_at_once is None else int(rows_at_once)
    task = LensTask(chosen, model, loss, at_once)
    state = initial_state(first, chosen, task.is_trained(first), averaged=settings.average is not None)
    batch = NumberedBatches(stream, key, steps, model.config, at_once)
    run = Run("tuned lens", [task], [state], batch, decay=settings.average)
    (history,) = drive(run, settings, steps=steps, per_dispatch=PER_DISPATCH, about=about)
    return run.result(0), history


class NumberedBatches:
    """Batches of a stream by number, checked; each is read once, in order."""

    def __init__(self, stream: Any, key: KeyLike, steps: int, config: Any, rows_at_once: int | None) -> None:
        self.start = lambda first: batches(stream, key, first, steps, config)
        self.rows_at_once = rows_at_once
        self.coming: Any = None

    def __call__(self, number: int) -> tuple[Array, Array | None]:
        if self.coming is None:
            self.coming = self.start(number)
        tokens, mask = next(self.coming)
        if self.rows_at_once is not None and (tokens.ndim != 2 or len(tokens) % self.rows_at_once):
            raise ValueError(
                f"rows_at_once={self.rows_at_once} must divide the batch; the tokens have the shape "
                f"{tokens.shape}."
            )
        return tokens, mask
