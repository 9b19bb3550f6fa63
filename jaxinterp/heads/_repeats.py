"""Scores of heads on random tokens that come again."""

from typing import Unpack

from jaxtyping import Array, Float

from .._deprecations import key_by_name, respelled
from ..core._intervene import config_of
from ..typing import KeyLike, ModelLike
from ._attention import attention_scores
from ._prompts import Repeats, repeated_tokens


@key_by_name("ji.heads.induction_scores(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def induction_scores(
    model: ModelLike, *, key: KeyLike, **prompts: Unpack[Repeats]
) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} A_{t,\,t-s+1}$: attention to the token that followed the same token the last time.

    On `repeated_tokens`, over all rounds but the first. An induction head scores near 1, a head that
    attends evenly about $1/t$. Elhage et al. 2021, Olsson et al. 2022
    (https://arxiv.org/abs/2209.11895).

    **Arguments:**

    - `model`: any model of the protocol.
    - `key`: a `jax.random.key`, for the prompts.
    - `block`, `repeats`, `batch_size`, `bos`, `ids`: as in `repeated_tokens`.

    **Returns:** `(layer, head)`, in 0..1. For prompts of your own write
    `attention_scores(model, tokens, "induction")`.

    **Raises:** ValueError for `repeats` below 2, and as `repeated_tokens`.

    ```python
    scores = ji.heads.induction_scores(model, key=jax.random.key(0), bos=tokenizer.bos_id)
    ```

    Law: above 0.99 for the planted induction head.
    """
    return _score(model, key, "induction", prompts)


@key_by_name("ji.heads.prefix_matching_scores(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def prefix_matching_scores(
    model: ModelLike, *, key: KeyLike, **prompts: Unpack[Repeats]
) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} \sum_{p<t,\ x_p=x_t} A_{t,\,p+1}$: attention to all tokens that followed the same token before.

    As `induction_scores`, with all earlier occurrences. The two are the same where a block comes twice.

    **Arguments:** those of `induction_scores`.

    **Returns:** `(layer, head)`, in 0..1.

    ```python
    ji.heads.prefix_matching_scores(model, key=jax.random.key(0), repeats=4, block=25)
    ```

    Law: equal to `induction_scores` with `repeats=2`, at least as large with more.
    """
    return _score(model, key, "prefix", prompts)


@key_by_name("ji.heads.previous_token_scores(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def previous_token_scores(
    model: ModelLike, *, key: KeyLike, **prompts: Unpack[Repeats]
) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} A_{t,\,t-1}$: attention to the token before.

    On the prompts of `induction_scores`, over all positions but the first.

    **Arguments:** those of `induction_scores`.

    **Returns:** `(layer, head)`, in 0..1.

    ```python
    ji.heads.previous_token_scores(model, key=jax.random.key(0))
    ```

    Law: above 0.99 for the planted previous-token head.
    """
    return _score(model, key, "previous", prompts)


@key_by_name("ji.heads.duplicate_token_scores(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def duplicate_token_scores(
    model: ModelLike, *, key: KeyLike, **prompts: Unpack[Repeats]
) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} \sum_{p<t,\ x_p=x_t} A_{tp}$: attention to earlier occurrences of the token itself.

    On the prompts of `induction_scores`, over all rounds but the first.

    **Arguments:** those of `induction_scores`.

    **Returns:** `(layer, head)`, in 0..1.

    ```python
    ji.heads.duplicate_token_scores(model, key=jax.random.key(0))
    ```

    Law: equal to a plain loop over one run's patterns.
    """
    return _score(model, key, "duplicate", prompts)


def _score(model: ModelLike, key: KeyLike, kind: str, prompts: Repeats) -> Float[Array, "layer head"]:
    repeats = prompts.get("repeats", 2)
    if repeats < 2:
        raise ValueError(
            f"Tokens come again from the second round on: give repeats=2 or more; got repeats={repeats}."
        )
    return attention_scores(model, repeated_tokens(config_of(model), key=key, **prompts), kind)
