"""How much each head attends where a rule says: one contraction of every pattern."""

from collections.abc import Sequence
from typing import Any, overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._waiting import waiting
from ..core._check import as_mask, as_tokens, check_mask, check_tokens
from ..core._intervene import config_of
from ..core._listing import sites
from ..corpus._batches import Batch
from ..corpus._scan import fold_rows
from ..corpus._size import fitting
from ..mesh._gather import on_mesh
from ..typing import ArrayLike, MaskLike, ModelLike, TokensLike
from ._scores import HeadScores

KINDS = ("previous", "duplicate", "prefix", "induction", "current", "first")
"The kinds of attention that `attention_scores` measures."
_COUNT_ALL = (np.zeros((), bool), np.zeros((), bool))  # no key is left out; arrays, for one program
_BYTES = 256 * 2**20  # patterns of one chunk of prompts


@overload
def attention_scores(
    model: ModelLike, tokens: TokensLike, kind: str | Array | np.ndarray, *, mask: MaskLike | None = None
) -> Float[Array, "layer head"]: ...
@overload
def attention_scores(
    model: ModelLike,
    tokens: TokensLike,
    kind: list[str] | tuple[str, ...],
    *,
    mask: MaskLike | None = None,
) -> HeadScores: ...
@waiting("ji.heads.attention_scores: compiling and running")
def attention_scores(
    model: ModelLike,
    tokens: TokensLike,
    kind: str | Sequence[str] | ArrayLike,
    *,
    mask: MaskLike | None = None,
) -> Float[Array, "layer head"] | HeadScores:
    r"""$\mathrm{mean}_{q} \sum_k D_{qk} A_{qk}$: the attention that a head pays to the keys that a rule names.

    The mean runs over the queries for which the rule names a key.

    | kind | keys $k$ of a query $q$ |
    |---|---|
    | `"previous"` | $q - 1$ |
    | `"duplicate"` | earlier positions with the same token |
    | `"prefix"` | positions right after those |
    | `"induction"` | of those, the one after the last |
    | `"current"` | $q$ |
    | `"first"` | the first real position |

    Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).

    **Arguments:**

    - `model`: any model of the protocol.
    - `tokens`: token ids `(*batch, pos)`.
    - `kind`: a kind of the table, several of them, or an array of 0 and 1 `(query, key)` or
      `(*batch, query, key)`, with 1 at the keys that count.
    - `mask`: True at real tokens `(*batch, pos)`; None (the default): all are real.

    **Returns:** `(layer, head)`, float32 at least, in 0..1. Several kinds give a `HeadScores` with one
    such array for each. A score is NaN where the rule names no key at all. Patterns are computed for a
    few prompts at a time and are not stored.

    **Raises:** ValueError for an unknown kind, an array of another shape, and embeddings.

    ```python
    ji.heads.attention_scores(model, tokenizer("the cat and the cat"), ["previous", "induction"])
    ```

    Law: `"current"` and all earlier keys together sum to 1.
    """
    ids, real = flat_prompts(model, tokens, mask)
    if isinstance(kind, str):
        return attention_scores(model, tokens, [kind], mask=mask)[kind]
    if isinstance(kind, Sequence) and all(isinstance(name, str) for name in kind):
        names = tuple(dict.fromkeys(str(name) for name in kind))
        for name in names:
            if name not in KINDS:
                raise ValueError(
                    f"A kind of attention is one of {', '.join(KINDS)}, or an array of 0 and 1; got {name!r}."
                )
        hits, count, _ = _contract(model, ids, real, None, *_COUNT_ALL)
        rows = {name: KINDS.index(name) for name in names}
        return HeadScores({name: hits[row] / count[row] for name, row in rows.items()})
    hits, count, _ = _contract(model, ids, real, _pattern(kind, ids.shape), *_COUNT_ALL)
    return hits[0] / count[0]


@waiting("ji.heads.detector_scores: compiling and running")
def detector_scores(
    model: ModelLike,
    tokens: TokensLike,
    kind: str | ArrayLike,
    *,
    mask: MaskLike | None = None,
    exclude_first: bool = False,
    exclude_current: bool = False,
) -> Float[Array, "layer head"]:
    r"""$\sum D_{qk} A_{qk} / \sum A_{qk}$: the share of a head's attention that lies in a pattern of 0 and 1.

    This is the measure of TransformerLens's head detector
    (https://transformerlensorg.github.io/TransformerLens/). Unlike `attention_scores` it counts every
    query, even if the pattern has no key for it.

    **Arguments:**

    - `model`, `tokens`, `mask`: as in `attention_scores`.
    - `kind`: one kind, or an array of 0 and 1.
    - `exclude_first`, `exclude_current`: leave attention to the first real position, where many heads put
      unused attention, or to the query itself out of both sums; False by default.

    **Returns:** `(layer, head)`, in 0..1.

    **Raises:** ValueError as `attention_scores`.

    ```python
    ji.heads.detector_scores(model, tokens, "previous", exclude_first=True)
    ```

    Law: for a pattern that names every key it is 1.
    """
    ids, real = flat_prompts(model, tokens, mask)
    if isinstance(kind, str) and kind not in KINDS:
        raise ValueError(f"A kind of attention is one of {', '.join(KINDS)}; got {kind!r}.")
    where = None if isinstance(kind, str) else _pattern(kind, ids.shape)
    excluded = (jnp.asarray(exclude_first), jnp.asarray(exclude_current))
    hits, _, total = _contract(model, ids, real, where, *excluded)
    return hits[KINDS.index(kind) if isinstance(kind, str) else 0] / total


def flat_prompts(model: ModelLike, tokens: TokensLike, mask: MaskLike | None) -> tuple[Array, Array]:
    """Tokens and mask with one batch axis, checked."""
    ids = as_tokens(tokens)
    check_tokens(ids, config_of(model))
    if jnp.issubdtype(ids.dtype, jnp.floating):
        raise ValueError("Heads are scored on token ids (*batch, pos); got embeddings.")
    real = jnp.ones(ids.shape, bool) if mask is None else as_mask(mask)
    check_mask(real, ids.shape)
    return ids.reshape(-1, ids.shape[-1]), real.reshape(-1, ids.shape[-1])


def _pattern(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """A pattern of the caller's, `(batch, query, key)`."""
    value = jnp.asarray(value)
    batch, pos = shape
    square = value.shape[-2:] == (pos, pos) and value.size in (pos * pos, batch * pos * pos)
    if not square or jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(
            f"A pattern of 0 and 1 has the shape (query, key) = ({pos}, {pos}), or one for each of "
            f"the {batch} prompts; got {value.shape}."
        )
    return jnp.broadcast_to(value.reshape(-1, pos, pos), (batch, pos, pos)).astype(bool)


@on_mesh
@eqx.filter_jit
def _contract(
    model: ModelLike,
    tokens: Int[Array, "batch pos"],
    mask: Bool[Array, "batch pos"],
    where: Bool[Array, "batch pos pos"] | None,
    no_first: Bool[Array | np.ndarray, ""],
    no_current: Bool[Array | np.ndarray, ""],
) -> tuple[Array, Array, Array]:
    """Attention within patterns (kind layer head), their queries (kind,), all attention (layer head).

    Without `where`, those of all KINDS: one program serves every score."""
    pos = tokens.shape[-1]
    config = config_of(model)
    dtype = np.promote_types(
        sites(model, jax.ShapeDtypeStruct((1, pos), jnp.int32))["pattern"].dtype, np.float32
    )
    kinds = len(KINDS) if where is None else 1
    heads = (config.layers, config.heads)
    zero = jnp.zeros((kinds, *heads), dtype), jnp.zeros((kinds,), dtype), jnp.zeros(heads, dtype)
    return fold_rows(
        model,
        ["pattern"],
        zero,
        AttentionSums(no_first, no_current),
        tokens=tokens,
        mask=mask,
        positions=mask,
        size=fitting(pos, config.layers * config.heads * pos, _BYTES),
        extra=where,
    )


class AttentionSums(eqx.Module):
    """One batch of a fold: attention within patterns, their queries, and all attention, added up."""

    no_first: Any
    no_current: Any

    def __call__(self, state: tuple[Array, Array, Array], batch: Batch, acts: Any) -> Any:
        ids, real, pattern = batch.tokens, batch.positions, batch.extra
        pos = ids.shape[-1]
        if pattern is None:
            targets = jax.vmap(lambda x, r: jnp.stack([attended_keys(kind, x, r) for kind in KINDS]))(
                ids, real
            )
        else:
            targets = pattern[:, None]
        both = (real[:, :, None] & real[:, None, :])[:, None]
        targets = targets & both
        queries = targets.any(-1).sum((0, 2))
        allowed = both[:, 0]
        first = jax.vmap(lambda x, r: attended_keys("first", x, r))(ids, real)
        current = jnp.eye(pos, dtype=bool)[None]
        allowed = allowed & ~(first & self.no_first) & ~(current & self.no_current)
        wide = acts["pattern"].astype(state[0].dtype)
        hits = jnp.einsum(
            "lbhqk,bjqk->jlh",
            wide,
            (targets & allowed[:, None]).astype(wide.dtype),
            precision="highest",
        )
        total = jnp.einsum("lbhqk,bqk->lh", wide, allowed.astype(wide.dtype), precision="highest")
        return state[0] + hits, state[1] + queries.astype(wide.dtype), state[2] + total


def attended_keys(kind: str, tokens: Int[Array, " pos"], real: Bool[Array, " pos"]) -> Bool[Array, "pos pos"]:
    """The keys that a kind of attention names for each query of one prompt."""
    size = tokens.shape[0]
    query, key = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    if kind == "previous":
        return key == query - 1
    if kind == "current":
        return key == query
    if kind == "first":
        return jnp.broadcast_to(key == jnp.argmax(real), (size, size))
    same = (tokens[:, None] == tokens[None, :]) & (key < query) & real[None, :]
    if kind == "duplicate":
        return same
    if kind == "induction":
        last = size - 1 - jnp.argmax(jnp.flip(same, 1), 1)
        same = same & (key == last[:, None])
    return jnp.pad(same, ((0, 0), (1, 0)))[:, :-1]
