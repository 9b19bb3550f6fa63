r"""Soft tokens read by the logit lens: image positions of a vision-language model, and any prefix.

Jiang et al. 2024 (https://arxiv.org/abs/2410.02762): what object each image position stands for,
how sure the model is inside that an object is there, where, and how to remove one.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_floats
from ..core._captures import at
from ..core._check import as_int32, as_list, as_numbers, as_tokens, check_tokens, logit_count
from ..core._edit import Edit
from ..core._edits import map as map_site
from ..core._intervene import config_of, split_edits
from ..core._run import run
from ..core._subspace import with_largest_entry_one
from ._read import LogitLens, Streams, capture, drop_position, over_rows


def soft_prompt(model: Any, prefix: Any, tokens: Any) -> Float[Array, "*batch total d"]:
    r"""$[e_1, \dots, e_n, W_E[t_1], \dots]$: embeddings in front of a text, as `ji.run` takes them.

    **Arguments:** `prefix` `(*batch, n, d)`; `tokens` `(*batch, pos)` or shared `(pos,)`.

    **Returns:** embeddings `(*batch, n + pos, d)`.

    ```python
    soft = ji.lens.soft_prompt(model, image, tokenizer("a photo of"))
    ```

    Law: a prefix of token embeddings is the text of those tokens.
    """
    w = split_edits(model)[0].w_embed
    prefix, tokens = jnp.asarray(as_numbers(prefix, "prefix")), as_tokens(tokens)
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"soft_prompt puts embeddings before token ids (*batch, pos); got dtype {tokens.dtype}."
        )
    check_tokens(tokens, config_of(model))
    if prefix.ndim < 2 or prefix.shape[-1] != w.shape[-1]:
        raise ValueError(f"A prefix is embeddings (*batch, n, d) with d={w.shape[-1]}; got {prefix.shape}.")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"The text behind a prefix is token ids; got dtype {tokens.dtype}. Embeddings are put "
            "side by side as they are: jnp.concatenate([prefix, embeddings], axis=-2)."
        )
    check_tokens(tokens, model.config)
    if tokens.ndim > 1 and tokens.shape[:-1] != prefix.shape[:-2]:
        raise ValueError(
            "The text (*batch, pos) has the batch of the prefix (*batch, n, d), or is shared (pos,); "
            f"got {tokens.shape} behind {prefix.shape}."
        )
    text = w[tokens]
    text = jnp.broadcast_to(text, (*prefix.shape[:-2], *text.shape[-2:]))
    return jnp.concatenate([prefix.astype(w.dtype), text], axis=-2)


class Localised(eqx.Module):
    """How present each word is, inside.

    `probs` `(word, *batch, pos)`: a word's probability at each position, the largest over layers
    and the word's tokens. `confidence` `(word, *batch)`: the largest over positions, the internal
    confidence $c_o$.
    """

    probs: Float[Array, "word *batch pos"]

    @property
    def confidence(self) -> Float[Array, "word *batch"]:
        return self.probs.max(-1)

    def grid(self, height: int, width: int) -> Float[Array, "word *batch height width"]:
        """The positions as the patches of an image, row by row."""
        *lead, pos = self.probs.shape
        if height * width != pos:
            raise ValueError(f"{pos} positions are no grid of {height} by {width}.")
        return self.probs.reshape(*lead, height, width)


def localise(
    model: Any,
    tokens: Any,
    words: Sequence[Any] | Any,
    *,
    pos: Any = None,
    mask: Any = None,
    edits: Any = (),
) -> Localised:
    r"""$c_o = \max_{\ell, i, t \in o} \mathrm{softmax}(W_U\,\mathrm{norm}(x_{\ell,i}))_t$, and the map over $i$ before the last max.

    **Arguments:**

    - `model`; `tokens`: embeddings `(*batch, pos, d)`, such as `soft_prompt` makes, or ids.
    - `words`: for each word its token ids, an int or several (of `" cat"`, not of `"cat"`).
    - `pos`: the positions to look at (those of the image), `(n,)`; by default all.
    - `mask`, `edits`: as in `ji.run`.

    **Returns:** a `Localised`, with `.probs` `(word, *batch, pos)`, `.confidence` `(word, *batch)`
    and `.grid(height, width)`.

    ```python
    found = ji.lens.localise(model, soft, [cat, dog], pos=range(576))
    found.confidence > 0.2                              # which objects the model believes in
    ```

    Law: equal to the largest entry of the logit lens' probabilities.
    """
    vocab = logit_count(config_of(model))
    lists = [np.atleast_1d(as_int32(word, "A token id")) for word in as_list(words, "words", "[cat, dog]")]
    if not lists or any(not len(ids) or ids.min() < 0 or ids.max() >= vocab for ids in lists):
        raise ValueError(
            f"words are lists of token ids in 0..{vocab - 1}, one list per word, none empty; got "
            f"{[ids.tolist() for ids in lists]}."
        )
    longest = max(map(len, lists))
    # A word's first token stands in where others have more: the maximum does not change.
    ids = np.stack([np.r_[row, np.full(longest - len(row), row[0])] for row in lists])
    if isinstance(pos, range):
        pos = np.asarray(pos)
    streams = capture(model, as_tokens(tokens), LogitLens(), mask=mask, edits=edits, pos=pos)
    return Localised(_largest(streams, jnp.asarray(ids, jnp.int32)))


@eqx.filter_jit
def _largest(streams: Streams, ids: Array) -> Float[Array, "word *rest"]:
    def read(logits: Array) -> Array:
        wide = np.promote_types(logits.dtype, np.float32)
        probs = jax.nn.softmax(logits.astype(wide), axis=-1)
        return jnp.moveaxis(probs[..., ids].max(-1), -1, 0)  # (word *batch pos)

    return drop_position(over_rows(LogitLens(), streams, read).max(0), streams, -1)


def text_vector(model: Any, tokens: Any, *, layer: int, mask: Any = None) -> Float[Array, "*batch d"]:
    r"""$t_o = x_{\ell}$ at the last token of a phrase, read alone: the direction of a concept.

    **Arguments:** `tokens` `(*batch, pos)`; `layer`, the block whose output is read; `mask`, True
    at real tokens, for phrases padded to one length.

    **Returns:** `(*batch, d)`.

    ```python
    cat = ji.lens.text_vector(model, tokenizer(" cat"), layer=1)
    ```

    Law: `resid_post[layer]` at the last real position.
    """
    asked = at("resid_post", layer=layer, reduce="last", name="vector")
    _, acts = run(model, tokens, capture=[asked], mask=mask, logits=False)
    return acts["vector"]


def project_away(direction: Any, alpha: float | Any = 1.0, *, site: str = "resid_post", **where: Any) -> Edit:
    r"""$x \mapsto x - \alpha \max(s, 0)\, t,\quad s = x \cdot t / \|t\|^2$: takes a concept away where it is.

    ProjectAway of Jiang et al. 2024 (https://arxiv.org/abs/2410.02762). Only positions that project
    positively on the direction change; with $\alpha = 1$ they come to stand orthogonal to it, and
    a larger one pushes them past.

    **Arguments:** `direction` `(d,)`, or anything that broadcasts against the site; `alpha`;
    `site` and selectors (`layer`, `pos`, ...) as of any edit.

    **Returns:** an `Edit`. For several concepts give several, in order: where directions are not
    orthogonal, the order matters, since taking away the second puts some of the first back.

    ```python
    image = np.arange(576)
    without, _ = ji.run(model, soft, edits=[ji.lens.project_away(cat, 1.5, layer=2, pos=image)])
    ```

    Laws: with $\alpha = 1$ the projection of every changed position is 0, and applying it twice is
    applying it once; negative projections stay untouched, exactly.
    """
    direction = as_floats(direction, "direction")
    if direction.ndim == 0:
        raise ValueError("project_away needs a direction (d,); got a number.")
    # JAX arrays, so that they are leaves of the edit: other values never compile again.
    leaves = jnp.asarray(direction), jnp.asarray(as_floats(alpha, "alpha"))
    return map_site(site, _project_away, *leaves, **where)


def _project_away(x: Array, direction: Array, alpha: Array) -> Array:
    wide = np.promote_types(x.dtype, np.float32)
    full = x.astype(wide)
    t = jnp.broadcast_to(with_largest_entry_one(jnp.asarray(direction).astype(wide)), x.shape)
    length = jnp.square(t).sum(-1, keepdims=True)
    share = (full * t).sum(-1, keepdims=True) / jnp.where(length > 0, length, 1)
    share = jnp.broadcast_to(jnp.asarray(alpha).astype(wide) * jnp.maximum(share, 0), x.shape)
    return (full - share * t).astype(x.dtype)
