"""What features write, read as tokens: their directions behind the last norm and the unembedding."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ..._tabular import Record, Tabular, pieces
from ...core._intervene import split_edits
from ...typing import IndexLike, IntLike, TokenizerLike
from ..files._origin import own_site
from ..kinds._coder import Coder
from ._directions import directions
from ._site import chosen, one_layer, sites_of

STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


class LogitEnds(NamedTuple):
    """Tokens with the largest and the smallest logit weights of n features; made by `LogitWeights.top`.

    - `largest (n, k)`: ids of the tokens with the largest weights, the largest first.
    - `largest_weights (n, k)`: their weights.
    - `smallest (n, k)`: ids of the tokens with the smallest weights, the smallest first.
    - `smallest_weights (n, k)`: their weights.

    ```python
    ends = ji.sae.logit_weights(sae, model, "resid_post[2]").top([7, 8], k=5)
    [tokenizer.decode([token]) for token in ends.largest[0].tolist()]       # of feature 7
    ```
    """

    largest: np.ndarray
    largest_weights: np.ndarray
    smallest: np.ndarray
    smallest_weights: np.ndarray


@dataclass(frozen=True, eq=False)
class LogitWeights(Tabular):
    """Logit weights `(features, vocab)`, computed on access; made by `logit_weights`.

    ```python
    weights = ji.sae.logit_weights(sae, model, "resid_post[2]")
    weights.shape, weights[7].max(), weights.records(tokenizer, 7)[:2]
    ```
    """

    rows: Any  # (features, d), what features write to the stream, behind the norm
    unembed: Any  # (d, vocab)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Features and vocabulary."""
        return len(self.rows), self.unembed.shape[1]

    def __getitem__(self, features: Any) -> np.ndarray:
        """The weights of one feature `(vocab,)`, or of several `(n, vocab)`; their median over the vocabulary is 0."""
        x = np.asarray(_product(jnp.asarray(self.rows[features]), self.unembed))
        return x - np.median(x, axis=-1, keepdims=True)

    @respelled(batch="batch_size=")
    def top(self, features: IndexLike | None = None, k: int = 10, *, batch_size: int = 256) -> LogitEnds:
        """The tokens of the k largest weights of each feature, and of the k smallest.

        **Arguments:**

        - `features`: rows of these weights `(n,)`, by default all.
        - `k`: tokens at each end, 10 by default.
        - `batch_size`: features whose weights are in memory at once, 256 by default.

        **Returns:** `LogitEnds`.

        **Raises:** ValueError for a `k` outside of 1 to the size of the vocabulary.
        """
        which = np.arange(len(self)) if features is None else np.atleast_1d(np.asarray(features))
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= self.shape[1]:
            raise ValueError(f"k lies in 1..{self.shape[1]}, the size of the vocabulary; got {k!r}.")
        parts = []
        for first in range(0, len(which), batch_size):
            here = which[first : first + batch_size]
            rows = jnp.asarray(self.rows[np.resize(here, min(batch_size, len(which)))])
            parts.append([np.asarray(x)[: len(here)] for x in _extremes(rows, self.unembed, int(k))])
        return LogitEnds(*(np.concatenate(x) for x in zip(*parts, strict=True)))

    def records(
        self, tokenizer: TokenizerLike | None = None, feature: IntLike | None = None, k: int = 10
    ) -> list[Record]:
        """The largest and smallest weights of a feature, with tokens as strings.

        **Arguments:**

        - `tokenizer`: gives the strings of tokens; None (the default) for their ids.
        - `feature`: the number of the feature; None (the default) for the first fifty, named in each row.
        - `k`: tokens at each end; 10 by default.
        """
        if feature is None:
            each = range(min(len(self), 50))
            return [{"feature": i} | row for i in each for row in self.records(tokenizer, i, k)]
        high, up, low, down = self.top([feature], k)
        pairs = [*zip(high[0], up[0], strict=True), *zip(low[0], down[0], strict=True)]
        return [{"token": pieces(tokenizer, [int(t)])[0], "id": int(t), "weight": float(w)} for t, w in pairs]


def logit_weights(sae: Any, model: Any, site: Any = None, features: Any = None) -> LogitWeights:
    r"""$v_i = d_i W_{down}\, \pi\, \mathrm{diag}(g)\, W_U - \mathrm{median}$: the direct effect of feature i on the logits of the next token.

    $\pi$ subtracts the mean (for a LayerNorm), and g is the gain of the last norm. The denominator of the
    norm is left out, because it is the same for all tokens. $W_{down}$ is for dictionaries of neurons only. Bricken
    et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features). Use it for features of late layers.
    Features of early layers act through later layers: see `feature_effects`.

    **Arguments:**

    - `sae`: the dictionary.
    - `model`: a model of `ji.models`.
    - `site`: one layer of the stream (`resid_pre`, `resid_mid`, `resid_post`), of an output that is added to it
      (`attn_out`, `mlp_out`), or of neurons (`mlp_post`); by default the site of the dictionary.
    - `features`: numbers `(n,)`; by default None, all features.

    **Returns:** `LogitWeights`: `w[7]` is `(vocab,)`, `w.top(k=10)` the tokens at both ends.

    **Raises:** ValueError for other sites, or directions of another width than the stream.

    ```python
    weights = ji.sae.logit_weights(sae, model, "resid_post[2]")
    weights[7], weights.records(tokenizer, 7)
    ```

    Law: after the last block, adding $c\, d_i$ with a fixed denominator of the norm changes logits by
    $c\, v_i$ divided by this denominator, up to a number that is the same for all tokens.
    """
    site = own_site(sae, site, model)
    places = sites_of(sae.read_site(site) if isinstance(sae, Coder) else site)
    model = split_edits(model)[0]
    rows = directions(sae)[chosen(sae, features)]
    # Directions at several sites stand side by side, and the stream adds up what they write.
    parts = jnp.split(rows, len(places), -1) if rows.shape[-1] % len(places) == 0 else [rows]
    rows = sum(_to_stream(part, model, each) for part, each in zip(parts, places, strict=True))
    norm = model.ln_final
    if norm is not None:
        rows = rows - jnp.mean(rows, -1, keepdims=True) if norm.centres else rows
        if norm.weight is not None:
            rows = rows * norm.weight.astype(jnp.float32)[None]
    unembed = model.w_embed.T if model.w_unembed is None else model.w_unembed
    return LogitWeights(np.asarray(rows), unembed)


def _to_stream(rows: Any, model: Any, site: Any) -> Any:
    """What directions at one site add to the stream, `(features, d)`."""
    base, layer = one_layer(site)
    if base not in (*STREAM, "mlp_post"):
        raise ValueError(
            f"Logit weights are of what stands in the residual stream: {', '.join(STREAM)}, or of "
            f"mlp_post; got {site!r}."
        )
    if base == "mlp_post":
        mlp = getattr(model.blocks, "mlp", None)
        if mlp is None:
            raise ValueError(f"This {type(model).__name__} has no MLP, so {site!r} has no W_down.")
        down = mlp.w_out[layer].astype(jnp.float32)
        _check_width(rows, down.shape[0], site)
        rows = jnp.matmul(rows, down, precision="highest")
    _check_width(rows, model.w_embed.shape[-1], site)
    return rows


def _check_width(rows: Any, width: int, site: str) -> None:
    if rows.shape[-1] != width:
        raise ValueError(
            f"Directions at {site!r} are {width} wide; those of this dictionary have "
            f"{rows.shape[-1]}. Which site does it write to?"
        )


@eqx.filter_jit
def _product(rows: Any, unembed: Any) -> Any:
    return jnp.matmul(rows, unembed.astype(jnp.float32), precision="highest")


@eqx.filter_jit
def _extremes(rows: Any, unembed: Any, k: int) -> Any:
    x = jnp.matmul(rows, unembed.astype(jnp.float32), precision="highest")
    x = x - jnp.median(x, axis=-1, keepdims=True)
    up, high = jax.lax.top_k(x, k)
    down, low = jax.lax.top_k(-x, k)
    return high, up, low, -down
