"""Scores of heads on random tokens that come again."""

from typing import Any

from jaxtyping import Array, Float

from ..core._intervene import config_of
from ._attention import attention_scores
from ._prompts import repeated_tokens


def induction_scores(model: Any, key: Any, **prompts: Any) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} A_{t,\,t-s+1}$: attention to what followed a token the last time.

    On `repeated_tokens`, over all rounds but the first. An induction head scores near 1, a head that
    attends evenly about $1/t$. Elhage et al. 2021, Olsson et al. 2022
    (https://arxiv.org/abs/2209.11895).

    **Arguments:** `key`, and `block`, `repeats`, `batch`, `bos`, `ids` as in `repeated_tokens`.

    **Returns:** (layer, head), 0..1. For prompts of your own: `attention_scores(model, tokens,
    "induction")`.

    ```python
    scores = ji.heads.induction_scores(model, jax.random.key(0), bos=tokenizer.bos_id)
    ```

    Law: above 0.99 for the planted induction head.
    """
    return _scored(model, key, "induction", prompts)


def prefix_matching_scores(model: Any, key: Any, **prompts: Any) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} \sum_{p<t,\ x_p=x_t} A_{t,\,p+1}$: attention to what ever followed a token before.

    As `induction_scores`, with all earlier occurrences: the same where a block comes twice.

    ```python
    ji.heads.prefix_matching_scores(model, jax.random.key(0), repeats=4, block=25)
    ```

    Law: equal to `induction_scores` with `repeats=2`, at least as large with more.
    """
    return _scored(model, key, "prefix", prompts)


def previous_token_scores(model: Any, key: Any, **prompts: Any) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} A_{t,\,t-1}$: attention to the token before.

    On the prompts of `induction_scores`, over all positions but the first.

    ```python
    ji.heads.previous_token_scores(model, jax.random.key(0))
    ```

    Law: above 0.99 for the planted previous-token head.
    """
    return _scored(model, key, "previous", prompts)


def duplicate_token_scores(model: Any, key: Any, **prompts: Any) -> Float[Array, "layer head"]:
    r"""$\mathrm{mean}_{t} \sum_{p<t,\ x_p=x_t} A_{tp}$: attention to earlier occurrences of the token itself.

    On the prompts of `induction_scores`, over all rounds but the first.

    ```python
    ji.heads.duplicate_token_scores(model, jax.random.key(0))
    ```

    Law: equal to a plain loop over one run's patterns.
    """
    return _scored(model, key, "duplicate", prompts)


def _scored(model: Any, key: Any, kind: str, prompts: dict[str, Any]) -> Any:
    if prompts.get("repeats", 2) < 2:
        raise ValueError(
            f"Nothing comes again in one round: give repeats=2 or more; got {prompts['repeats']}."
        )
    return attention_scores(model, repeated_tokens(key, config_of(model), **prompts), kind)
