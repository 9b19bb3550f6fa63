r"""A lens in numbers: the likeliest tokens, the entropy, and the distance to the model's own prediction."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import viz
from .._tabular import Record, Tabular
from .._waiting import waiting
from ..core._check import as_int, as_mask, as_selector, as_tokens, concrete, logit_count
from ..core._intervene import config_of
from ..core._positions import take_positions
from ..mesh._gather import on_any_mesh
from ..typing import (
    EditsLike,
    IndexLike,
    IntLike,
    MaskLike,
    ModelLike,
    TokenizerLike,
    TokenLike,
    TokensLike,
    WordsLike,
)
from ._chunks import in_chunks
from ._measures import log_softmax, measures
from ._read import (
    Lens,
    LogitLens,
    Streams,
    as_positions,
    capture,
    drop_position,
    over_rows,
    token_shape,
    with_logits,
)


class Summary(Tabular, eqx.Module):
    """The predictions of each row of a lens at each position; made by `summary`. Entropies and divergences are in nats.

    ```python
    read = ji.lens.summary(model, tokens)
    read.top_ids[2, -1], read.kl[2, -1]                 # row 2, last position
    read.mean("entropy")                                # (layer + 1,)
    ```
    """

    top_ids: Int[Array, "row *rest top"]
    "The likeliest tokens, best first."
    top_probs: Float[Array, "row *rest top"]
    "Their probabilities."
    entropy: Float[Array, "row *rest"]
    "The entropy of the row's distribution."
    kl: Float[Array, "row *rest"]
    "KL(model's own || lens); 0 in the last row."
    cross_entropy: Float[Array, "row *rest"] | None
    "Minus the log-probability of the target; NaN at positions without a target. None without targets."
    rank: Int[Array, "row *rest"] | None
    "How many tokens are likelier than the target: 0 is best. -1 without a target, and for NaN."
    rows: tuple[int, ...] = eqx.field(static=True)
    "The rows of the residual stream: 0 is the embedding, $r$ the output of block $r - 1$."

    def records(self) -> list[Record]:
        """A row for each row of the stream and place: indices, the likeliest tokens, and the numbers there."""
        names = ("entropy", "kl", "cross_entropy", "rank", "top_ids", "top_probs")
        values = {name: np.asarray(getattr(self, name)) for name in names if getattr(self, name) is not None}
        return [
            {"row": self.rows[at[0]], **{f"axis {i}": j for i, j in enumerate(at[1:], 1)}}
            | {name: value[at].tolist() for name, value in values.items()}
            for at in np.ndindex(self.kl.shape)
        ]

    def figure(
        self, tokens: WordsLike | None = None, tokenizer: TokenizerLike | None = None, *, title: str = "Lens"
    ) -> viz.Figure:
        """The table of `ji.viz.lens_table` where `tokens` and a tokenizer are given, else means by row.

        **Arguments:**

        - `tokens`: the text that was read, of one prompt. `tokenizer`: says what its ids are.
        - `title`: what the figure is.
        """
        if tokens is not None:
            return viz.lens_table(tokens, self, tokenizer=tokenizer, title=title)
        means = {name: np.asarray(self.mean(name)) for name in ("kl", "entropy")}
        return viz.lines(means, x=self.rows, x_axis="row of the stream", y_axis="nats", title=title)

    def mean(self, what: str = "kl", mask: MaskLike | None = None) -> Float[Array, " row"]:
        """The mean of one measure over positions and examples that have a value, `(row,)`.

        **Arguments:**

        - `what`: `"kl"` (the default), `"entropy"`, `"cross_entropy"`, `"rank"` or `"top_probs"`.
        - `mask`: True at the positions that count, `(*batch, pos)`; None (the default): all.

        **Raises:** ValueError for a measure that this summary does not have.
        """
        values = getattr(self, what)
        if values is None or what == "top_ids":
            raise ValueError(
                f"This summary has no mean of {what!r}. Choose 'kl' or 'entropy', or compute it with targets=..."
            )
        if values.dtype == jnp.int32:
            values = values.astype(jnp.float32)
        has_value = ~jnp.isnan(values) & (values >= 0 if what == "rank" else True)
        if mask is not None:
            has_value = has_value & jnp.broadcast_to(as_mask(mask)[None], has_value.shape)
        axes = tuple(range(1, values.ndim))
        return jnp.where(has_value, values, 0).sum(axes) / has_value.sum(axes, dtype=values.dtype)


@waiting("ji.lens.summary: compiling and running")
def summary(
    model: ModelLike,
    tokens: TokensLike,
    *,
    lens: Lens | None = None,
    targets: TokenLike | None = None,
    top: IntLike = 5,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
    pos: IndexLike | None = None,
) -> Summary:
    r"""$H(p_\ell),\; \mathrm{KL}(p \,\|\, p_\ell),\; -\log p_\ell(t),\; \mathrm{rank}_\ell(t)$ and the likeliest tokens.

    One scan over the rows of a lens: the logits of one row exist at a time, and of a long prompt only those
    of a chunk of positions (128 MiB in float32 on each device). Where an edit acts after the last block
    the positions stay together.

    **Arguments:**

    - `model`: any model of the protocol.
    - `tokens`: token ids `(*batch, pos)` or embeddings `(*batch, pos, d)`.
    - `lens`: a `TunedLens` or `JacobianLens`; None (the default) for the logit lens.
    - `targets`: a token id, or ids that broadcast to `(*batch, pos)`. By default the next token, where
      `tokens` are ids and the model predicts tokens. The last position, and the position before padding,
      have no target.
    - `top`: how many of the likeliest tokens are returned; 5 by default.
    - `mask`, `edits`, `pos`: as in `logit_lens`. A mask removes no position here: give it to
      `Summary.mean` too.

    **Returns:** a `Summary`, its arrays `(row + 1, *batch, pos)`.

    ```python
    read = ji.lens.summary(model, tokens)
    read.mean("kl")                                     # (layer + 1,)
    ```

    **Raises:** ValueError for `top` outside of 1..vocab; IndexError for targets outside of the vocabulary.

    Laws: equal to the same reductions of all logits, whatever the chunks; the KL of the last row is 0.
    """
    ids, count = as_tokens(tokens), as_int(top, "top", 1)
    lens = LogitLens() if lens is None else lens
    vocab = logit_count(config_of(model))
    if not 1 <= count <= vocab:
        raise ValueError(f"top lies in 1..{vocab}, the size of the vocabulary; got {count}.")
    wanted = _checked(ids, targets, vocab)
    streams = capture(model, ids, lens, mask=mask, edits=edits, pos=pos, own=False)
    real = None if mask is None else as_mask(mask)
    where = None if pos is None else as_positions(ids, pos, real)[0]
    rows = (*streams.picked, config_of(model).layers)
    follows = vocab == config_of(model).vocab
    return _summary(lens, streams, ids, wanted, where, real, count, rows, follows, vocab)


def _checked(tokens: Array, targets: Any, vocab: int) -> Any:
    """The caller's targets as an array, checked; None where there are none."""
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
    """Target ids `(*batch, pos)` at the positions to read; -1 without a target, as before padding."""
    if targets is None:
        if not follows or jnp.issubdtype(tokens.dtype, jnp.floating):
            return None
        none = jnp.full((*tokens.shape[:-1], 1), -1, tokens.dtype)
        known = tokens if mask is None else jnp.where(mask, tokens, -1)
        targets = jnp.concatenate([known[..., 1:], none], axis=-1)
    targets = jnp.broadcast_to(jnp.asarray(targets), token_shape(tokens)).astype(jnp.int32)
    return targets if where is None else take_positions(targets, where, targets.ndim - 1, mask)


@on_any_mesh
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
    vocab: int,
) -> Summary:
    targets = _targets(tokens, targets, where, mask, follows)

    def piece(part: Streams, targets: Array | None) -> dict[str, Array]:
        part = with_logits(part)
        assert part.logits is not None
        own = log_softmax(part.logits)
        return over_rows(lens, part, lambda logits: measures(logits, own, targets, count))

    read_rows = in_chunks(piece, streams, targets, vocab)
    parts = {
        name: drop_position(value, streams, -2 if name.startswith("top") else -1)
        for name, value in read_rows.items()
    }
    best = parts["top_ids"], parts["top_probs"]
    return Summary(*best, parts["entropy"], parts["kl"], parts.get("cross_entropy"), parts.get("rank"), rows)
