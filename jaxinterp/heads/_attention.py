"""How much each head attends where a rule says: one contraction of every pattern."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core._check import as_mask, as_tokens, check_mask, check_tokens
from ..core._intervene import config_of
from ..core._run import run

KINDS = ("previous", "duplicate", "prefix", "induction", "current", "first")
"The kinds of attention that `attention_scores` measures."
_ALL = (
    np.zeros((), bool),
    np.zeros((), bool),
)  # nothing left out; arrays, so one program serves all
_BYTES = 256 * 2**20  # patterns of one chunk of prompts


def attention_scores(
    model: Any,
    tokens: Int[Array, "*batch pos"] | Any,
    kind: str | Sequence[str] | Any,
    *,
    mask: Any = None,
) -> Any:
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

    **Arguments:** `tokens` `(*batch, pos)`; `kind`: one of these, several, or an array of 0 and 1
    `(query, key)` or `(*batch, query, key)`; `mask`: True at real tokens.

    **Returns:** (layer, head), float32 at least, in 0..1; for several kinds a dict of them. NaN
    where the rule names no key at all. Patterns are read a few prompts at a time and not kept.

    ```python
    ji.heads.attention_scores(model, tokenizer("the cat and the cat"), ["previous", "induction"])
    ```

    Law: `"current"`, and all earlier keys together, sum to 1.
    """
    tokens, mask = _checked(model, tokens, mask)
    if isinstance(kind, str):
        return attention_scores(model, tokens, [kind], mask=mask)[kind]
    if isinstance(kind, Sequence) and all(isinstance(name, str) for name in kind):
        names = tuple(dict.fromkeys(kind))
        for name in names:
            if name not in KINDS:
                raise ValueError(
                    f"A kind of attention is one of {', '.join(KINDS)}, or an array of 0 and 1; got {name!r}."
                )
        hits, count, _ = _contract(model, tokens, mask, None, *_ALL)
        return {name: hits[KINDS.index(name)] / count[KINDS.index(name)] for name in names}
    where = _pattern(kind, tokens.shape)
    hits, count, _ = _contract(model, tokens, mask, where, *_ALL)
    return hits[0] / count[0]


def detector_scores(
    model: Any,
    tokens: Int[Array, "*batch pos"] | Any,
    kind: str | Any,
    *,
    mask: Any = None,
    exclude_first: bool = False,
    exclude_current: bool = False,
) -> Float[Array, "layer head"]:
    r"""$\sum D_{qk} A_{qk} / \sum A_{qk}$: which part of a head's attention lies in a pattern of 0 and 1.

    The measure of TransformerLens's head detector
    (https://transformerlensorg.github.io/TransformerLens/). Unlike `attention_scores` it counts every
    query, whether the pattern names a key for it or not.

    **Arguments:** as in `attention_scores`, one kind. `exclude_first` leaves attention to the first
    real position out of both sums (where many heads rest), `exclude_current` that to the query itself.

    **Returns:** (layer, head), 0..1.

    ```python
    ji.heads.detector_scores(model, tokens, "previous", exclude_first=True)
    ```

    Law: for a pattern that names every key it is 1.
    """
    tokens, mask = _checked(model, tokens, mask)
    if isinstance(kind, str) and kind not in KINDS:
        raise ValueError(f"A kind of attention is one of {', '.join(KINDS)}; got {kind!r}.")
    where = None if isinstance(kind, str) else _pattern(kind, tokens.shape)
    out = (jnp.asarray(exclude_first), jnp.asarray(exclude_current))
    hits, _, total = _contract(model, tokens, mask, where, *out)
    return hits[KINDS.index(kind) if isinstance(kind, str) else 0] / total


def _checked(model: Any, tokens: Any, mask: Any) -> tuple[Array, Array]:
    """Tokens and mask with one batch axis."""
    tokens = as_tokens(tokens)
    check_tokens(tokens, config_of(model))
    if jnp.issubdtype(tokens.dtype, jnp.floating):
        raise ValueError("Heads are scored on token ids (*batch, pos); got embeddings.")
    mask = jnp.ones(tokens.shape, bool) if mask is None else as_mask(mask)
    check_mask(mask, tokens.shape)
    size = tokens.shape[-1]
    return tokens.reshape(-1, size), mask.reshape(-1, size)


def _pattern(value: Any, shape: tuple[int, ...]) -> Array:
    value = jnp.asarray(value)
    batch, pos = shape
    square = value.shape[-2:] == (pos, pos) and value.size in (pos * pos, batch * pos * pos)
    if not square or jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(
            f"A pattern of 0 and 1 has the shape (query, key) = ({pos}, {pos}), or one for each of "
            f"the {batch} prompts; got {value.shape}."
        )
    return jnp.broadcast_to(value.reshape(-1, pos, pos), (batch, pos, pos)).astype(bool)


@eqx.filter_jit
def _contract(
    model: Any,
    tokens: Int[Array, "batch pos"],
    mask: Bool[Array, "batch pos"],
    where: Bool[Array, "batch pos pos"] | None,
    no_first: Any,
    no_current: Any,
) -> tuple[Array, Array, Array]:
    """Attention within patterns (kind layer head), their queries (kind,), all attention (layer head).

    Without a pattern of the caller's, all of KINDS: one program serves every score.
    """
    batch, pos = tokens.shape
    config = config_of(model)
    room = max(1, _BYTES // (4 * config.layers * config.heads * pos * pos))
    chunk = max(size for size in range(1, batch + 1) if batch % size == 0 and size <= room)

    def some(rows: tuple[Array, Array, Any]) -> tuple[Array, Array, Array]:
        ids, real, given = rows
        if given is None:
            targets = jax.vmap(lambda x, r: jnp.stack([rule(kind, x, r) for kind in KINDS]))(ids, real)
        else:
            targets = given[:, None]
        both = (real[:, :, None] & real[:, None, :])[:, None]
        targets = targets & both
        counted = targets.any(-1).sum((0, 2))
        kept = both[:, 0]
        first = jax.vmap(lambda x, r: rule("first", x, r))(ids, real)
        kept = kept & ~(first & no_first) & ~(jnp.eye(pos, dtype=bool)[None] & no_current)
        _, acts = run(model, ids, capture=["pattern"], mask=real, logits=False)
        wide = acts["pattern"].astype(np.promote_types(acts["pattern"].dtype, np.float32))
        hits = jnp.einsum(
            "lbhqk,bjqk->jlh",
            wide,
            (targets & kept[:, None]).astype(wide.dtype),
            precision="highest",
        )
        total = jnp.einsum("lbhqk,bqk->lh", wide, kept.astype(wide.dtype), precision="highest")
        return hits, counted.astype(wide.dtype), total

    rows = jax.tree.map(lambda x: x.reshape(batch // chunk, chunk, *x.shape[1:]), (tokens, mask, where))
    if chunk == batch:
        return some(jax.tree.map(lambda x: x[0], rows))
    return jax.tree.map(lambda x: x.sum(0), jax.lax.map(some, rows))


def rule(kind: str, tokens: Int[Array, " pos"], real: Bool[Array, " pos"]) -> Bool[Array, "pos pos"]:
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
