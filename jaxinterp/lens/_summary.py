r"""A lens in numbers: what is likely, how sure it is, how far it is from the model's own answer."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._check import as_int, as_mask, as_selector, as_tokens, concrete, logit_count
from ..core._intervene import config_of
from ..core._positions import take_positions
from ._read import (
    Lens,
    LogitLens,
    Streams,
    as_positions,
    capture,
    drop_position,
    over_rows,
    token_shape,
)


class Summary(eqx.Module):
    """What each row of a lens says at each position; nats throughout.

    `rows` are those of the residual stream: 0 the embedding, $r$ the output of block $r - 1$.
    """

    top_ids: Int[Array, "row *rest top"]
    "The likeliest tokens, best first."
    top_probs: Float[Array, "row *rest top"]
    entropy: Float[Array, "row *rest"]
    kl: Float[Array, "row *rest"]
    "KL(model's own || lens): zero in the last row."
    cross_entropy: Float[Array, "row *rest"] | None
    "Minus the log-probability of the target; NaN where there is none. None without targets."
    rank: Int[Array, "row *rest"] | None
    "How many tokens are likelier than the target: 0 is best; -1 where there is none, or only NaN."
    rows: tuple[int, ...] = eqx.field(static=True)

    def mean(self, what: str = "kl", mask: Any = None) -> Float[Array, " row"]:
        """One of the measures averaged over positions and examples, those without a value left out."""
        values = getattr(self, what)
        if values is None or what == "top_ids":
            raise ValueError(f"{what!r} has no mean here: choose kl, entropy, or give targets.")
        if values.dtype == jnp.int32:
            values = values.astype(jnp.float32)
        there = ~jnp.isnan(values) & (values >= 0 if what == "rank" else True)
        if mask is not None:
            there = there & jnp.broadcast_to(as_mask(mask)[None], there.shape)
        axes = tuple(range(1, values.ndim))
        return jnp.where(there, values, 0).sum(axes) / there.sum(axes, dtype=values.dtype)


def summary(
    model: Any,
    tokens: Any,
    *,
    lens: Lens | None = None,
    targets: Any = None,
    top: int | Any = 5,
    mask: Any = None,
    edits: Any = (),
    pos: Any = None,
) -> Summary:
    r"""$H(p_\ell),\; \mathrm{KL}(p \,\|\, p_\ell),\; -\log p_\ell(t),\; \mathrm{rank}_\ell(t)$ and the likeliest tokens.

    One scan over the rows of a lens: the logits of one row exist at a time.

    **Arguments:**

    - `model`; `tokens` `(*batch, pos)` or embeddings `(*batch, pos, d)`.
    - `lens`: None for the logit lens, or a `TunedLens` or `JacobianLens`.
    - `targets`: a token, or tokens that broadcast to `(*batch, pos)`. By default the next token,
      where `tokens` are ids and logits those of tokens (the last position, and that before
      padding, has none).
    - `top`: how many of the likeliest tokens to keep.
    - `pos`, `mask`, `edits`: as in `logit_lens`. A padding mask removes nothing here: give it to
      `Summary.mean` too.

    **Returns:** a `Summary`, its arrays `(row + 1, *batch, pos)`.

    ```python
    read = ji.lens.summary(model, tokens)
    read.mean("kl")                                     # (layer + 1,)
    ```

    Laws: equal to the same reductions of all logits; the last row's KL is 0.
    """
    tokens, top = as_tokens(tokens), as_int(top, "top", 1)
    lens = LogitLens() if lens is None else lens
    vocab = logit_count(config_of(model))
    if not 1 <= top <= vocab:
        raise ValueError(f"top lies in 1..{vocab}, the size of the vocabulary; got {top}.")
    targets = _checked(tokens, targets, vocab)
    streams = capture(model, tokens, lens, mask=mask, edits=edits, pos=pos)
    mask = None if mask is None else as_mask(mask)
    where = None if pos is None else as_positions(tokens, pos, mask)[0]
    rows = (*streams.picked, config_of(model).layers)
    follows = vocab == config_of(model).vocab
    return _summary(lens, streams, tokens, targets, where, mask, top, rows, follows)


def _checked(tokens: Array, targets: Any, vocab: int) -> Any:
    """Targets as given, an array; None where there are none."""
    if targets is None:
        return None
    targets = as_selector(targets, "A target")
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"targets are token ids; got dtype {targets.dtype}.")
    if concrete(targets) and targets.size and np.asarray(targets).max() >= vocab:
        raise IndexError(f"targets lie in 0..{vocab - 1}; got {np.asarray(targets).max()}.")
    shape = token_shape(tokens)
    fits = targets.ndim <= len(shape) and all(
        size in (1, wanted) for size, wanted in zip(targets.shape[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"targets broadcast to the tokens {shape}, (*batch, pos); got the shape "
            f"{targets.shape}. One token per example is targets[..., None]."
        )
    return targets


def _targets(tokens: Array, targets: Any, where: Any, mask: Array | None, follows: bool) -> Array | None:
    """Token ids `(*batch, pos)` at the positions asked for, -1 for none: padding is no target."""
    if targets is None:
        if not follows or jnp.issubdtype(tokens.dtype, jnp.floating):
            return None
        none = jnp.full((*tokens.shape[:-1], 1), -1, tokens.dtype)
        known = tokens if mask is None else jnp.where(mask, tokens, -1)
        targets = jnp.concatenate([known[..., 1:], none], axis=-1)
    targets = jnp.broadcast_to(jnp.asarray(targets), token_shape(tokens)).astype(jnp.int32)
    return targets if where is None else take_positions(targets, where, targets.ndim - 1, mask)


@eqx.filter_jit
def _summary(
    lens: Lens,
    streams: Streams,
    tokens: Array,
    targets: Any,
    where: Any,
    mask: Array | None,
    count: int,
    rows: tuple[int, ...],
    follows: bool,
) -> Summary:
    targets = _targets(tokens, targets, where, mask, follows)
    own = log_softmax(streams.logits)

    def read(logits: Array) -> dict[str, Array]:
        logprobs = log_softmax(logits)
        best, ids = lax.top_k(logprobs, count)
        out = {
            "top_ids": ids.astype(jnp.int32),
            "top_probs": jnp.exp(best),
            "entropy": -(jnp.exp(logprobs) * logprobs).sum(-1),
            "kl": kl(own, logprobs),
        }
        if targets is not None:
            asked = jnp.maximum(targets, 0)[..., None]
            chosen = jnp.take_along_axis(logprobs, asked, -1)
            likelier = logprobs > jnp.broadcast_to(chosen, logprobs.shape)
            rank = likelier.sum(-1, dtype=jnp.int32)
            none = targets < 0
            out["cross_entropy"] = jnp.where(none, jnp.nan, -chosen[..., 0])
            # Nothing is likelier than NaN, which would make it the first.
            none = none | jnp.isnan(chosen[..., 0])
            out["rank"] = jnp.where(none, -1, rank)
        return out

    found = over_rows(lens, streams, read)
    found = {
        name: drop_position(value, streams, -2 if name.startswith("top") else -1)
        for name, value in found.items()
    }
    best = found["top_ids"], found["top_probs"]
    return Summary(*best, found["entropy"], found["kl"], found.get("cross_entropy"), found.get("rank"), rows)


def log_softmax(logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
    """Log-probabilities in float32 at least."""
    wide = np.promote_types(logits.dtype, np.float32)
    return jax.nn.log_softmax(logits.astype(wide), axis=-1)


def kl(p: Float[Array, "*batch vocab"], q: Float[Array, "*batch vocab"]) -> Float[Array, "*batch"]:
    r"""$\sum_v p_v (\log p_v - \log q_v)$ of log-probabilities."""
    return (jnp.exp(p) * (p - q)).sum(-1)
