r"""Training a tuned lens: every layer's problem at once, in one compiled program.

$$\min_{A, b} \sum_\ell \mathbb E_t\, \mathrm{KL}\bigl(p(\cdot \mid t) \,\|\, p_\ell(\cdot \mid t; A_\ell, b_\ell)\bigr)$$

The problems of the layers are independent; one scan over layers takes loss and gradient of each,
so that logits of one layer exist at a time.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._disk import sole
from ..core._check import check_predicts_tokens
from ..data import model_hash
from ..data._identity import optimizer_print
from ._checkpoint import check_matches, load_state, save_state
from ._read import capture, unembed
from ._recipe import published_optimizer
from ._stream import batches, peeked
from ._summary import kl, log_softmax
from ._tuned import TunedLens

LOSSES = ("kl", "ce")


def train_tuned_lens(
    key: Any,
    model: Any,
    stream: Any,
    optimizer: Any = None,
    *,
    steps: int = 250,
    loss: str = "kl",
    bias_only: bool = False,
    lens: TunedLens | None = None,
    rows_at_once: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    resume: Literal["same", "force"] = "same",
    progress: bool = True,
) -> tuple[TunedLens, dict[str, np.ndarray]]:
    r"""$\min_{A,b} \sum_\ell \mathbb E\,\mathrm{KL}(p \,\|\, p_\ell)$: trains a tuned lens for all layers.

    Belrose et al. 2023 (https://arxiv.org/abs/2303.08112).

    **Arguments:**

    - `key`: a `jax.random.key`, from which a `stream` that is a function gets its keys.
    - `model`: stays as it is.
    - `stream`: an iterable of token batches `(batch, pos)`, or of `(tokens, mask)` as
      `tokenizer([...])` returns, or a function of a key to one of these. One batch is a step.
    - `optimizer`: any of optax; by default `published_optimizer(steps)`.
    - `loss`: `"kl"` from the model's own distribution, or `"ce"` of the next token.
    - `bias_only`: trains no matrices.
    - `lens`: where to start; by default at the logit lens.
    - `rows_at_once`: splits a batch into so many prompts at a time, gradients added up, for
      batches that do not fit at once; must divide the batch.
    - `checkpoint`: a file written every `checkpoint_every` steps, all or nothing. Where it exists,
      training goes on from it, and ends as if it had never stopped.
    - `resume`: with "same" a checkpoint of another model, another first batch or another optimizer
      is refused; "force" goes on from it with these.
    - `progress`: a progress bar on stderr.

    **Returns:** the lens, and a history: `"loss"` `(steps, layer)` in nats per token, before each
    step, and `"grad_norm"` `(steps,)`.

    ```python
    lens, history = ji.lens.train_tuned_lens(model, stream, key=key, steps=250)
    ```

    Laws: with no step taken it is the logit lens; stopped and resumed equals uninterrupted, bit
    for bit.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss is 'kl' (from the model's own answer) or 'ce'; got {loss!r}.")
    if loss == "ce":
        check_predicts_tokens(model.config, "loss='ce' is of the next token")
    if steps < 1:
        raise ValueError(f"steps is how many batches to train on, 1 or more; got {steps}.")
    optimizer = published_optimizer(steps) if optimizer is None else optimizer
    first = TunedLens.init(model, bias_only=bias_only) if lens is None else lens
    first.rows(model.config.layers)
    first: TunedLens = jax.tree.map(jnp.copy, first)  # a step overwrites the lens it is given
    layers, d = first.bias.shape
    about: dict[str, Any] = {"steps": steps, "loss": loss, "layers": layers, "d": d}
    state: tuple[TunedLens, Any] = (first, optimizer.init(first))
    history: dict[str, list[np.ndarray]] = {"loss": [], "grad_norm": []}
    start = 0
    if checkpoint is not None:
        stream, data = peeked(stream, key)
        about |= {
            "model": model_hash(model),
            "data": data,
            "optimizer": optimizer_print(optimizer, first, steps),
        }
    with nullcontext() if checkpoint is None else sole(Path(checkpoint), f"trains into {checkpoint}"):
        if checkpoint is not None and Path(checkpoint).exists():
            check_matches(Path(checkpoint), about, resume)
            start, state, history = load_state(Path(checkpoint), state)
        bar = _bar(start, steps, progress)
        for step, (tokens, mask) in enumerate(batches(stream, key, start, steps, model.config), start=start):
            if rows_at_once is not None and (tokens.ndim != 2 or len(tokens) % rows_at_once):
                raise ValueError(
                    f"rows_at_once={rows_at_once} must divide the batch; the tokens have the shape "
                    f"{tokens.shape}."
                )
            state, losses, norm = _step((model, tokens, mask), state, optimizer, loss, rows_at_once)
            history["loss"].append(np.asarray(losses))
            history["grad_norm"].append(np.asarray(norm))
            bar.update()
            bar.set_postfix_str(f"{loss} {float(losses.mean()):.3f}", refresh=False)
            done = step + 1
            if checkpoint is not None and (done % checkpoint_every == 0 or done == steps):
                save_state(Path(checkpoint), about, done, state, history)
    bar.close()
    return state[0], {name: np.stack(values) for name, values in history.items()}


def _bar(start: int, steps: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=start, desc="tuned lens", unit="step", disable=not progress)


@eqx.filter_jit(donate="all-except-first")
def _step(
    fixed: tuple[Any, Array, Array | None],
    state: tuple[TunedLens, Any],
    optimizer: Any,
    loss: str,
    rows_at_once: int | None,
) -> tuple[tuple[TunedLens, Any], Float[Array, " layer"], Float[Array, ""]]:
    """One step of every layer: losses before it, and the norm of all gradients together."""
    model, tokens, mask = fixed
    lens, memory = state
    losses, grads = losses_and_grads(lens, model, tokens, mask, loss, rows_at_once)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in ints
        updates, memory = optimizer.update(grads, memory, lens)
    lens = eqx.apply_updates(lens, updates)
    norm = jnp.sqrt(sum(jnp.square(grad).sum() for grad in jax.tree.leaves(grads)))
    return (lens, memory), losses, norm


def losses_and_grads(
    lens: TunedLens,
    model: Any,
    tokens: Array,
    mask: Array | None,
    loss: str,
    rows_at_once: int | None = None,
) -> tuple[Float[Array, " layer"], TunedLens]:
    """Each layer's mean loss over real positions, and its gradient for that layer's translator."""
    weight = weights_of(tokens, mask, loss)
    share = weight / weight.sum()
    if rows_at_once is None:
        return _part(lens, model, tokens, mask, share, loss)

    def split(x: Array | None) -> Any:
        return None if x is None else x.reshape(-1, rows_at_once, *x.shape[1:])

    def one(part: Any) -> Any:
        tokens, mask, share = part
        return _part(lens, model, tokens, mask, share, loss)

    def add(total: Any, part: Any) -> Any:
        return jax.tree.map(jnp.add, total, one(part)), None

    parts = (split(tokens), split(mask), split(share))
    first = jax.tree.map(lambda x: x[0], parts)
    rest = jax.tree.map(lambda x: x[1:], parts)
    return lax.scan(add, one(first), rest)[0]


def weights_of(tokens: Array, mask: Array | None, loss: str) -> Float[Array, "*batch pos"]:
    """1 where a position counts: real, and for a next-token loss with a real token behind it."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    shape = tokens.shape[:-1] if soft else tokens.shape
    weight = jnp.ones(shape, jnp.float32) if mask is None else mask.astype(jnp.float32)
    if loss == "ce":
        later = jnp.concatenate([weight[..., 1:], jnp.zeros_like(weight[..., :1])], -1)
        weight = weight * later
    return weight


def _part(
    lens: TunedLens,
    model: Any,
    tokens: Array,
    mask: Array | None,
    share: Float[Array, "*batch pos"],
    loss: str,
) -> tuple[Float[Array, " layer"], TunedLens]:
    streams = capture(model, tokens, lens, mask=mask)
    own = log_softmax(streams.logits)
    if loss == "ce" and jnp.issubdtype(tokens.dtype, jnp.floating):
        raise ValueError("Embeddings have no next token to predict: train with loss='kl'.")
    targets = None
    if loss == "ce":  # the last position has no weight, whatever stands there
        targets = jnp.concatenate([tokens[..., 1:], tokens[..., :1]], axis=-1)[..., None]

    def layer_loss(parameters: Any, x: Array) -> Array:
        x = lax.optimization_barrier(lens.translate(parameters, x))
        logprobs = log_softmax(unembed(streams.reader, x))
        if targets is None:
            nats = kl(own, logprobs)
        else:
            nats = -jnp.take_along_axis(logprobs, targets, -1)[..., 0]
        return (share.astype(nats.dtype) * nats).sum()

    def step(_: None, xs: Any) -> Any:
        return None, jax.value_and_grad(layer_loss)(*xs)

    _, (losses, (weight, bias)) = lax.scan(step, None, (lens.parameters(), streams.rows))
    return losses, TunedLens(weight, bias)
