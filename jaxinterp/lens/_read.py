r"""Reading a residual stream as logits: $x \mapsto \mathrm{unembed}(\mathrm{norm}(T_r\,x))$ for every row $r$.

A lens is a translator $T_r$ for each row of the residual stream. Row 0 is the embedding, row $r$ the
output of block $r - 1$, and the last row is the model's own logits. Rows are scanned, so that the logits
of one row exist at a time unless all of them are returned.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..core._blocks import layer_count
from ..core._captures import at
from ..core._check import as_mask, as_selector, as_tokens, check_selector
from ..core._intervene import Intervened, gather_edits
from ..core._run import resume, run
from ..core._sites import stage_of
from ..mesh._gather import gather_weights, on_mesh
from ..typing import EditsLike, IndexLike, MaskLike, ModelLike, PyTree, TokensLike

STREAMS = ("resid_pre", "resid_mid", "resid_post")


class Lens(eqx.Module):
    """Translators for rows of the residual stream; subclasses define which rows, and the translation.

    Call a lens to read logits `(row + 1, *batch, pos, vocab)`: a row for each translator, then the model's
    own logits. `LogitLens`, `TunedLens` and `JacobianLens` are lenses, and `lens=` of other functions takes one.

    ```python
    logits = tuned(model, tokens, pos=-1)               # (layer + 1, vocab)
    ```
    """

    def rows(self, count: int) -> tuple[int, ...]:
        """The rows that are translated, in a model with `count` blocks."""
        raise NotImplementedError

    def parameters(self) -> PyTree:
        """The arrays of the translators: a pytree whose leaves have a leading row axis."""
        raise NotImplementedError

    @staticmethod
    def translate(parameters: PyTree, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """The stream of one row `(*batch, d)`, translated into the input of the last norm."""
        raise NotImplementedError

    def __call__(
        self,
        model: ModelLike,
        tokens: TokensLike,
        *,
        mask: MaskLike | None = None,
        edits: EditsLike = (),
        pos: IndexLike | None = None,
    ) -> Float[Array, "row *rest"]:
        """Logits `(row + 1, *batch, pos, vocab)`. The arguments are those of `ji.lens.logit_lens`."""
        streams = capture(model, tokens, self, mask=mask, edits=edits, pos=pos)
        return all_logits(self, streams)


class LogitLens(Lens):
    """The identity at every row: calling it is `logit_lens`.

    ```python
    logits = ji.lens.LogitLens()(model, tokens)  # (layer + 1, pos, vocab)
    ```
    """

    def rows(self, count: int) -> tuple[int, ...]:
        return tuple(range(count))

    def parameters(self) -> None:
        return None

    @staticmethod
    def translate(parameters: None, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return x


class Streams(eqx.Module):
    """The rows of a run that a lens translates, the model's own logits, and the model that unembeds.

    With `pos`, rows have only those positions. Where an edit acts after the last block the rows are
    whole, `chosen` are the positions to unembed, and `mask` is True at real tokens.
    """

    embedded: Float[Array, "*batch pos d"] | None
    after: Float[Array, "layer *batch pos d"]
    logits: Float[Array, "*batch chosen vocab"] | None
    reader: Any
    chosen: Any
    mask: Any
    picked: tuple[int, ...] = eqx.field(static=True)
    "Which rows: 0 the embedding, the others of `after`, counted from 1."
    single: bool = eqx.field(static=True)
    "Whether `pos` is one int: then the results have no axis of positions."

    @property
    def rows(self) -> Float[Array, "row *batch pos d"]:
        """The rows, stacked. It is called inside compiled functions."""
        blocks = [row - 1 for row in self.picked if row > 0]
        whole = blocks == list(range(len(self.after)))
        after = self.after if whole else self.after[np.asarray(blocks, np.int32)]
        if self.embedded is None:
            return after
        return jnp.concatenate([self.embedded[None], after])


def capture(
    model: ModelLike,
    tokens: TokensLike,
    lens: Lens,
    *,
    site: str | None = None,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
    pos: IndexLike | None = None,
    own: bool = True,
) -> Streams:
    """Runs the model once and returns the rows of `lens`, or the rows of one site, one per layer.

    Without `own` there are no logits, unless an edit acts after the last block.
    """
    reader = reader_of(model, edits)
    ids = as_tokens(tokens)
    mask = None if mask is None else as_mask(mask)
    positions, single = as_positions(ids, pos, mask)
    whole = positions is None or isinstance(reader, Intervened)
    captured = None if whole else positions
    count = layer_count(model)
    captures = [at("resid_pre", layer=0, pos=captured), at("resid_post", pos=captured)]
    if site is not None:
        captures = [at(site, pos=captured)]
    logits, acts = run(
        model,
        ids,
        edits=edits,
        capture=captures,
        mask=mask,
        logits=(True if positions is None else positions) if own or isinstance(reader, Intervened) else False,
    )
    chosen, real = (positions, mask) if whole else (None, None)
    if site is None:
        rows = lens.rows(count)
        embedded = acts["resid_pre[0]"] if 0 in rows else None
        return Streams(embedded, acts["resid_post"], logits, reader, chosen, real, rows, single)
    # The output of the last block is read by the model itself.
    rows = tuple(range(1, count + (site != "resid_post")))
    return Streams(None, acts[site], logits, reader, chosen, real, rows, single)


def reader_of(model: ModelLike, edits: EditsLike) -> ModelLike:
    """The model with only those edits that act after the last block."""
    base, own, added = gather_edits(model, edits)
    behind = tuple(edit for edit in own + added if any(stage_of(site) == "end" for site in edit.sites))
    return Intervened(base, behind) if behind else base


def as_positions(tokens: Array, pos: IndexLike | None, mask: MaskLike | None = None) -> tuple[Any, bool]:
    """Positions with an axis of their own, and whether `pos` is one int."""
    if pos is None:
        return None, False
    positions = as_selector(pos, "pos")
    shape = token_shape(tokens)
    check_selector("pos", positions, shape[-1], shape[:-1], "a lens", mask)
    return (positions[None], True) if positions.ndim == 0 else (positions, False)


def token_shape(tokens: Array) -> tuple[int, ...]:
    """`(*batch, pos)` of ids, or of embeddings."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    if tokens.ndim < 1 + soft:
        axes = "(*batch, pos, d)" if soft else "(*batch, pos)"
        raise ValueError(f"Tokens have the axes {axes}; got the shape {tokens.shape}.")
    return tokens.shape[:-1] if soft else tokens.shape


def unembed(
    reader: ModelLike,
    x: Float[Array, "*batch pos d"],
    chosen: IndexLike | None = None,
    mask: MaskLike | None = None,
) -> Float[Array, "*batch chosen vocab"]:
    """The last norm and the unembedding, through the model's own sites."""
    layer = layer_count(reader)
    if chosen is None and not isinstance(reader, Intervened):
        # Nothing tells positions apart here. As one axis of rows they are one product, whose result lies as the
        # reductions over the vocabulary read it.
        logits = resume(reader, x.reshape(-1, 1, x.shape[-1]), layer, logits=True)[0]
        return logits.reshape(*x.shape[:-1], logits.shape[-1])
    return resume(reader, x, layer, mask=mask, logits=True if chosen is None else chosen)[0]


def gathered(streams: Streams) -> Streams:
    """The same streams, whose reader is gathered once where a plan splits it, and not for every row and chunk."""
    if isinstance(streams.reader, Intervened):
        return streams
    return dataclasses.replace(streams, reader=gather_weights(streams.reader))


def with_logits(streams: Streams) -> Streams:
    """The same streams with the model's own logits, unembedded where a run returned none."""
    if streams.logits is not None:
        return streams
    return dataclasses.replace(streams, logits=unembed(streams.reader, streams.after[-1]))


def over_rows(lens: Lens, streams: Streams, read: Callable[[Array], Any], *, final: bool = True) -> Any:
    """`read` applied to the logits of each row, stacked; the last row is of the model's own logits."""

    def step(_: None, xs: tuple[Any, Array]) -> tuple[None, Any]:
        parameters, x = xs
        # After a barrier the norm rounds the same, whatever the compiler fuses the translator with.
        x = lax.optimization_barrier(lens.translate(parameters, x))
        return None, read(unembed(streams.reader, x, streams.chosen, streams.mask))

    _, out = lax.scan(step, None, (lens.parameters(), streams.rows))
    if final:
        assert streams.logits is not None  # captured whenever the last row is asked for
        own = read(streams.logits)
        out = jax.tree.map(lambda rows, last: jnp.concatenate([rows, last[None]]), out, own)
    return out


def drop_position(tree: Any, streams: Streams, axis: int) -> Any:
    """Without the axis of positions (counted from the last) where `pos` is one int."""
    if not streams.single:
        return tree
    return jax.tree.map(lambda leaf: leaf.squeeze(axis), tree)


@on_mesh
@eqx.filter_jit
def all_logits(lens: Lens, streams: Streams, final: bool = True) -> Float[Array, "row *rest"]:
    """Every row's logits."""
    out = over_rows(lens, gathered(streams), lambda logits: logits, final=final)
    return drop_position(out, streams, -2)
