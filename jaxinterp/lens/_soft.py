r"""Soft tokens read by the logit lens: image positions of a vision-language model, and any prefix.

Jiang et al. 2024 (https://arxiv.org/abs/2410.02762): which object each image position stands for, how
probable the model finds an object inside, where it is, and how to remove one.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._arguments import as_floats
from .._tabular import Record, Tabular
from .._waiting import waiting
from ..core._captures import at
from ..core._check import as_int32, as_list, as_numbers, as_tokens, check_tokens, logit_count
from ..core._edit import Edit
from ..core._edits import map as map_site
from ..core._intervene import config_of, split_edits
from ..core._run import run
from ..core._subspace import with_largest_entry_one
from ..mesh._gather import on_mesh
from ..typing import ArrayLike, EditsLike, FloatLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._chunks import in_chunks
from ._read import LogitLens, Streams, capture, drop_position, over_rows, with_logits


def soft_prompt(model: ModelLike, prefix: ArrayLike, tokens: TokensLike) -> Float[Array, "*batch total d"]:
    r"""$[e_1, \dots, e_n, W_E[t_1], \dots]$: embeddings in front of a text, as `ji.run` reads them.

    **Arguments:**

    - `model`: the model whose token embeddings are used.
    - `prefix`: embeddings `(*batch, n, d)`.
    - `tokens`: token ids `(*batch, pos)`, or shared `(pos,)`.

    **Returns:** embeddings `(*batch, n + pos, d)`.

    **Raises:** ValueError for a prefix of another width and for tokens that are no ids.

    ```python
    soft = ji.lens.soft_prompt(model, image, tokenizer("a photo of"))
    ```

    Law: a prefix of token embeddings gives the same run as the text of those tokens.
    """
    w = split_edits(model)[0].w_embed
    before, ids = jnp.asarray(as_numbers(prefix, "prefix")), as_tokens(tokens)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"soft_prompt puts embeddings before token ids (*batch, pos); got dtype {ids.dtype}. "
            "Two arrays of embeddings are joined by jnp.concatenate([prefix, embeddings], axis=-2)."
        )
    check_tokens(ids, config_of(model))
    if before.ndim < 2 or before.shape[-1] != w.shape[-1]:
        raise ValueError(f"A prefix is embeddings (*batch, n, d) with d={w.shape[-1]}; got {before.shape}.")
    if ids.ndim > 1 and ids.shape[:-1] != before.shape[:-2]:
        raise ValueError(
            "The text (*batch, pos) has the batch of the prefix (*batch, n, d), or is shared (pos,); "
            f"got {ids.shape} behind {before.shape}."
        )
    text = w[ids]
    text = jnp.broadcast_to(text, (*before.shape[:-2], *text.shape[-2:]))
    return jnp.concatenate([before.astype(w.dtype), text], axis=-2)


class Localised(Tabular, eqx.Module):
    """The probability of each word at each position, the largest over layers; made by `localise`.

    ```python
    found = ji.lens.localise(model, soft, [cat, dog], pos=range(64))
    found.grid(8, 8)[0]                                 # a map of the image for the first word
    ```
    """

    probs: Float[Array, "word *batch pos"]
    "A word's probability, the largest over layers and over the word's tokens, `(word, *batch, pos)`."

    def records(self) -> list[Record]:
        """A row for each word: its number, its confidence, and its probabilities by position."""
        rows = np.asarray(self.probs, np.float64)
        return [
            {"word": i, "confidence": float(row.max()), "probs": row.tolist()} for i, row in enumerate(rows)
        ]

    def figure(self, *, title: str = "Where words are seen") -> viz.Figure:
        """A heat map of probabilities, words by positions; of a batch the mean."""
        rows = np.asarray(self.probs, np.float64)
        mean = rows.reshape(len(rows), -1, rows.shape[-1]).mean(1)
        return viz.heatmap(mean, axis_names=("word", "position"), value="probability", title=title)

    @property
    def confidence(self) -> Float[Array, "word *batch"]:
        """The internal confidence $c_o$: the largest probability over positions, `(word, *batch)`."""
        return self.probs.max(-1)

    def grid(self, height: int, width: int) -> Float[Array, "word *batch height width"]:
        """The positions as the patches of an image, row by row.

        **Arguments:**

        - `height`, `width`: how many patches; their product is the number of positions.

        **Raises:** ValueError for another number of positions.
        """
        *lead, pos = self.probs.shape
        if height * width != pos:
            raise ValueError(
                f"A grid of {height} by {width} has {height * width} positions; there are {pos}."
            )
        return self.probs.reshape(*lead, height, width)


@waiting("ji.lens.localise: compiling and running")
def localise(
    model: ModelLike,
    tokens: TokensLike,
    words: ArrayLike,
    *,
    pos: IndexLike | None = None,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Localised:
    r"""$c_o = \max_{\ell, i, t \in o} \mathrm{softmax}(W_U\,\mathrm{norm}(x_{\ell,i}))_t$, and the map over $i$ before the last max.

    **Arguments:**

    - `model`: any model of the protocol.
    - `tokens`: embeddings `(*batch, pos, d)`, as `soft_prompt` returns, or token ids.
    - `words`: a list with the token ids of each word, one id or several. Most words stand behind a space: take the
      ids of `" cat"`, not of `"cat"`.
    - `pos`: the positions to read (those of the image), `(n,)`; None (the default) for all.
    - `mask`: True at real tokens, as in `ji.run`; None by default.
    - `edits`: as in `ji.run`; none by default.

    **Returns:** a `Localised`, with `.probs` `(word, *batch, pos)`, `.confidence` `(word, *batch)`
    and `.grid(height, width)`.

    **Raises:** ValueError for words that are no lists of token ids.

    ```python
    cat, dog = tokenizer(" cat"), tokenizer(" dog")
    found = ji.lens.localise(model, soft, [cat, dog], pos=range(64))        # where the image stands in `soft`
    found.confidence > 0.2                              # which words the model finds in it
    ```

    Law: equal to the largest probability that the logit lens gives to one of the word's tokens.
    """
    vocab = logit_count(config_of(model))
    lists = [np.atleast_1d(as_int32(word, "A token id")) for word in as_list(words, "words", "[cat, dog]")]
    if not lists or any(not len(ids) or ids.min() < 0 or ids.max() >= vocab for ids in lists):
        raise ValueError(
            f"words are lists of token ids in 0..{vocab - 1}, one list per word, none empty; got "
            f"{[ids.tolist() for ids in lists]}."
        )
    longest = max(map(len, lists))
    # Short words repeat their first token: the maximum stays the same.
    ids = np.stack([np.r_[row, np.full(longest - len(row), row[0])] for row in lists])
    pos = np.asarray(pos) if isinstance(pos, range) else pos
    streams = capture(model, as_tokens(tokens), LogitLens(), mask=mask, edits=edits, pos=pos, own=False)
    return Localised(_largest(streams, jnp.asarray(ids, jnp.int32), vocab))


@on_mesh
@eqx.filter_jit
def _largest(streams: Streams, ids: Array, vocab: int) -> Float[Array, "word *rest"]:
    """The largest probability of each word over layers and the word's tokens."""
    wide = np.promote_types(streams.after.dtype, np.float32)
    probs = lambda logits: jax.nn.softmax(logits.astype(wide), axis=-1)
    read = lambda logits: jnp.moveaxis(probs(logits)[..., ids].max(-1), -1, 0)  # (word *batch pos)
    piece = lambda part, _: {"found": over_rows(LogitLens(), with_logits(part), read).max(0)}
    return drop_position(in_chunks(piece, streams, None, vocab)["found"], streams, -1)


def text_vector(
    model: ModelLike, tokens: TokensLike, *, layer: int, mask: MaskLike | None = None
) -> Float[Array, "*batch d"]:
    r"""$t_o = x_{\ell}$ at the last token of a phrase without context: the direction of a concept.

    **Arguments:**

    - `model`: any model of the protocol.
    - `tokens`: the phrase, token ids `(*batch, pos)`.
    - `layer`: the block whose output is read.
    - `mask`: True at real tokens, for phrases padded to one length; None by default.

    **Returns:** vectors `(*batch, d)`.

    ```python
    cat = ji.lens.text_vector(model, tokenizer(" cat"), layer=1)
    ```

    Law: `resid_post[layer]` at the last real position.
    """
    last = at("resid_post", layer=layer, reduce="last", name="vector")
    _, acts = run(model, tokens, capture=[last], mask=mask, logits=False)
    return acts["vector"]


def project_away(
    direction: ArrayLike, alpha: FloatLike = 1.0, *, site: str = "resid_post", **where: Any
) -> Edit:
    r"""$x \mapsto x - \alpha \max(s, 0)\, t,\quad s = x \cdot t / \|t\|^2$: removes a concept where it is present.

    ProjectAway of Jiang et al. 2024 (https://arxiv.org/abs/2410.02762). Only positions with a positive
    projection on the direction change. With $\alpha = 1$ they become orthogonal to it; with a larger
    $\alpha$ their projection becomes negative.

    **Arguments:**

    - `direction`: $t$, `(d,)`, or anything that broadcasts against the site.
    - `alpha`: $\alpha$; 1 by default.
    - `site`: where the edit acts; `"resid_post"` by default.
    - `layer`, `pos` and the other selectors of an edit.

    **Returns:** an `Edit`. Several concepts are several edits, in order. The order matters where
    directions are not orthogonal: removing the second adds a part of the first again.

    **Raises:** ValueError for a direction that is a number.

    ```python
    cat = ji.lens.text_vector(model, tokenizer(" cat"), layer=1)
    edit = ji.lens.project_away(cat, 1.5, layer=2, pos=np.arange(64))      # at the image alone
    without, _ = ji.run(model, soft, edits=[edit])
    ```

    Laws: with $\alpha = 1$ the projection of each changed position is 0, and applying the edit twice is
    the same as once; positions with a negative projection stay exactly the same.
    """
    vector = as_floats(direction, "direction")
    if vector.ndim == 0:
        raise ValueError(
            "A direction has the axis (d,); got a number. Write ji.lens.project_away(direction, alpha)."
        )
    # JAX arrays, so that they are leaves of the edit: other values never compile again.
    return map_site(site, _project_away, jnp.asarray(vector), jnp.asarray(as_floats(alpha, "alpha")), **where)


def _project_away(x: Array, direction: Array, alpha: Array) -> Array:
    wide = np.promote_types(x.dtype, np.float32)
    full = x.astype(wide)
    t = jnp.broadcast_to(with_largest_entry_one(jnp.asarray(direction).astype(wide)), x.shape)
    length = jnp.square(t).sum(-1, keepdims=True)
    share = (full * t).sum(-1, keepdims=True) / jnp.where(length > 0, length, 1)
    share = jnp.broadcast_to(jnp.asarray(alpha).astype(wide) * jnp.maximum(share, 0), x.shape)
    return (full - share * t).astype(x.dtype)
