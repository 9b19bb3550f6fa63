r"""Reading a residual stream as logits: $x \mapsto \mathrm{unembed}(\mathrm{norm}(T_r\,x))$ for every row $r$.

A lens is a translator $T_r$ per row of the residual stream; row 0 is the embedding, row $r$ the
output of block $r - 1$, and the last row is what the model itself says. Rows are scanned: logits
of one row exist at a time, unless all of them are asked for.
"""

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

STREAMS = ("resid_pre", "resid_mid", "resid_post")


class Lens(eqx.Module):
    """A translator for each of some rows of the residual stream; subclasses say which, and how.

    Calling it gives logits `(row + 1, *batch, pos, vocab)`: a row per translator, then the model's
    own.
    """

    def rows(self, count: int) -> tuple[int, ...]:
        """The rows that are translated, of a model with `count` blocks."""
        raise NotImplementedError

    def parameters(self) -> Any:
        """What the translators differ in: a pytree whose leaves have a leading row axis."""
        raise NotImplementedError

    @staticmethod
    def translate(parameters: Any, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """The stream of one row as the last norm is to see it."""
        raise NotImplementedError

    def __call__(
        self,
        model: Any,
        tokens: Any,
        *,
        mask: Any = None,
        edits: Any = (),
        pos: Any = None,
    ) -> Float[Array, "row *rest"]:
        """Logits `(row + 1, *batch, pos, vocab)`; arguments as in `ji.lens.logit_lens`."""
        streams = capture(model, tokens, self, mask=mask, edits=edits, pos=pos)
        return all_logits(self, streams)


class LogitLens(Lens):
    """The identity at every row."""

    def rows(self, count: int) -> tuple[int, ...]:
        return tuple(range(count))

    def parameters(self) -> None:
        return None

    @staticmethod
    def translate(parameters: None, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        return x


class Streams(eqx.Module):
    """The rows of a run that a lens translates, the model's own logits, and who unembeds.

    With `pos`, rows hold only those positions, unless an edit acts behind the last block: then
    they are whole, `chosen` says what to unembed, and `mask` which tokens are real.
    """

    embedded: Float[Array, "*batch pos d"] | None
    after: Float[Array, "layer *batch pos d"]
    logits: Float[Array, "*batch chosen vocab"]
    reader: Any
    chosen: Any
    mask: Any
    picked: tuple[int, ...] = eqx.field(static=True)
    "Which rows: 0 the embedding, the others of `after`, counted from 1."
    single: bool = eqx.field(static=True)
    "Whether one position was asked for as an int, whose axis the results then lack."

    @property
    def rows(self) -> Float[Array, "row *batch pos d"]:
        """The rows, stacked: to be called where it is compiled."""
        blocks = [row - 1 for row in self.picked if row > 0]
        whole = blocks == list(range(len(self.after)))
        after = self.after if whole else self.after[np.asarray(blocks, np.int32)]
        if self.embedded is None:
            return after
        return jnp.concatenate([self.embedded[None], after])


def capture(
    model: Any,
    tokens: Any,
    lens: Lens,
    *,
    site: str | None = None,
    mask: Any = None,
    edits: Any = (),
    pos: Any = None,
) -> Streams:
    """Runs the model once: the rows of `lens` (or of one site, which has one per layer)."""
    reader = reader_of(model, edits)
    tokens = as_tokens(tokens)
    mask = None if mask is None else as_mask(mask)
    pos, single = as_positions(tokens, pos, mask)
    whole = pos is None or isinstance(reader, Intervened)
    keep = None if whole else pos
    count = layer_count(model)
    asked = [at("resid_pre", layer=0, pos=keep), at("resid_post", pos=keep)]
    if site is not None:
        asked = [at(site, pos=keep)]
    logits, acts = run(
        model, tokens, edits=edits, capture=asked, mask=mask, logits=True if pos is None else pos
    )
    chosen, real = (pos, mask) if whole else (None, None)
    if site is None:
        rows = lens.rows(count)
        embedded = acts["resid_pre[0]"] if 0 in rows else None
        return Streams(embedded, acts["resid_post"], logits, reader, chosen, real, rows, single)
    # The output of the last block is read by the model itself.
    rows = tuple(range(1, count + (site != "resid_post")))
    return Streams(None, acts[site], logits, reader, chosen, real, rows, single)


def reader_of(model: Any, edits: Any) -> Any:
    """The model with only those edits that act behind the last block."""
    base, own, asked = gather_edits(model, edits)
    behind = tuple(edit for edit in own + asked if any(stage_of(site) == "end" for site in edit.sites))
    return Intervened(base, behind) if behind else base


def as_positions(tokens: Array, pos: Any, mask: Any = None) -> tuple[Any, bool]:
    """Positions with an axis of their own, and whether they were one int."""
    if pos is None:
        return None, False
    pos = as_selector(pos, "pos")
    shape = token_shape(tokens)
    check_selector("pos", pos, shape[-1], shape[:-1], "a lens", mask)
    return (pos[None], True) if pos.ndim == 0 else (pos, False)


def token_shape(tokens: Array) -> tuple[int, ...]:
    """`(*batch, pos)` of ids, or of embeddings."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    if tokens.ndim < 1 + soft:
        axes = "(*batch, pos, d)" if soft else "(*batch, pos)"
        raise ValueError(f"Tokens have the axes {axes}; got the shape {tokens.shape}.")
    return tokens.shape[:-1] if soft else tokens.shape


def unembed(reader: Any, x: Float[Array, "*batch pos d"], chosen: Any = None, mask: Any = None) -> Array:
    """The last norm and the unembedding, through the model's own sites."""
    layer = layer_count(reader)
    return resume(reader, x, layer, mask=mask, logits=True if chosen is None else chosen)[0]


def over_rows(lens: Lens, streams: Streams, read: Callable[[Array], Any], *, final: bool = True) -> Any:
    """`read` of the logits of every row, stacked; the last row reads the model's own logits."""

    def step(_: None, xs: Any) -> Any:
        parameters, x = xs
        # Behind a barrier the norm rounds the same, whatever the translator was fused with.
        x = lax.optimization_barrier(lens.translate(parameters, x))
        return None, read(unembed(streams.reader, x, streams.chosen, streams.mask))

    _, out = lax.scan(step, None, (lens.parameters(), streams.rows))
    if final:
        own = read(streams.logits)
        out = jax.tree.map(lambda rows, last: jnp.concatenate([rows, last[None]]), out, own)
    return out


def drop_position(tree: Any, streams: Streams, axis: int) -> Any:
    """Without the axis of positions (counted from the last) where one was asked for."""
    if not streams.single:
        return tree
    return jax.tree.map(lambda leaf: leaf.squeeze(axis), tree)


@eqx.filter_jit
def all_logits(lens: Lens, streams: Streams, final: bool = True) -> Float[Array, "row *rest"]:
    """Every row's logits."""
    out = over_rows(lens, streams, lambda logits: logits, final=final)
    return drop_position(out, streams, -2)
