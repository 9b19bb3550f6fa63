"""How much a model learns in its context."""

from typing import Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._deprecations import key_by_name, respelled
from .._waiting import waiting
from ..core._check import as_tokens, check_predicts_tokens, check_tokens
from ..core._intervene import config_of
from ..core._run import run
from ..mesh._gather import on_mesh
from ..typing import KeyLike, ModelLike, TokensLike
from ._prompts import Repeats, repeated_tokens


@waiting("ji.heads.icl_score: compiling and running")
def icl_score(
    model: ModelLike, tokens: TokensLike, *, early: int = 50, late: int = 500, sign: int = 1
) -> Float[Array, ""]:
    r"""$\bar\ell_{\text{late}} - \bar\ell_{\text{early}}$ in nats: **negative** when context helps.

    The loss of token number `late` minus that of token number `early` of a text, counted from 0,
    averaged over texts. Olsson et al. 2022 (https://arxiv.org/abs/2209.11895) find about -0.4 for
    models of any size. Other authors subtract the other way round: `sign=-1`.

    **Arguments:**

    - `model`: a model of next tokens.
    - `tokens`: token ids `(*batch, pos)` of real text, with more than `late` tokens.
    - `early`, `late`: numbers of two tokens, from 1 on; 50 and 500 by default.
    - `sign`: 1 (the default) for late minus early, -1 for early minus late.

    **Returns:** a scalar in nats, float32 at least. Only two positions are unembedded.

    **Raises:** ValueError for texts that are too short and for another sign.

    ```python
    ji.heads.icl_score(model, texts, early=50, late=250)    # texts: (batch, pos), pos > 250
    ```

    Laws: `sign=-1` gives the negative. On `repeated_tokens`, with `late` in the second round and
    `early` in the first, the score of an induction model is far below 0.
    """
    ids = as_tokens(tokens)
    check_tokens(ids, config_of(model))
    check_predicts_tokens(config_of(model), "icl_score compares losses of next tokens")
    size = ids.shape[-1]
    if not 1 <= early < late < size:
        raise ValueError(
            f"The loss of token {late} minus that of token {early} needs 1 <= early < late < {size}, "
            f"the length of these texts; got early={early}, late={late}. Give longer texts, or a "
            "smaller late=."
        )
    if sign not in (1, -1):
        raise ValueError(f"sign is 1 (late minus early) or -1; got {sign}.")
    return sign * _difference(model, ids.reshape(-1, size), jnp.asarray([early, late], jnp.int32))


@on_mesh
@eqx.filter_jit
def _difference(
    model: ModelLike, tokens: Int[Array, "batch pos"], which: Int[Array, "2"]
) -> Float[Array, ""]:
    """The mean loss of the second of two tokens less that of the first."""
    logits, _ = run(model, tokens, logits=which - 1)
    losses = _nats(logits, jnp.take(tokens, which, axis=1)).mean(0)
    return losses[1] - losses[0]


@key_by_name("ji.heads.repeat_losses(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def repeat_losses(model: ModelLike, *, key: KeyLike, **prompts: Unpack[Repeats]) -> Float[Array, " round"]:
    r"""$\bar\ell_1, \bar\ell_2, \ldots$ in nats: the mean loss of each round of random tokens that come again.

    Nothing predicts the first round (a uniform guess costs $\log V$). Induction alone predicts the
    other rounds, except for their first token.

    **Arguments:**

    - `model`: a model of next tokens.
    - `key`: a `jax.random.key`, for the prompts.
    - `block`, `repeats`, `batch_size`, `bos`, `ids`: as in `repeated_tokens`.

    **Returns:** the mean loss of each round without its first token, `(round,)`, in nats.

    ```python
    first, second = ji.heads.repeat_losses(model, key=jax.random.key(0))
    ```

    Law: the loss of the second round is below 0.01 for the planted circuit.
    """
    check_predicts_tokens(config_of(model), "repeat_losses are of next tokens")
    tokens = repeated_tokens(config_of(model), key=key, **prompts)
    return _rounds(model, tokens, prompts.get("repeats", 2), prompts.get("bos") is not None)


@on_mesh
@eqx.filter_jit
def _rounds(
    model: ModelLike, tokens: Int[Array, "batch pos"], rounds: int, bos: bool
) -> Float[Array, " round"]:
    logits, _ = run(model, tokens)
    losses = _nats(logits[:, :-1], tokens[:, 1:]).mean(0)
    losses = jnp.pad(losses, (1, 0))[int(bos) :]
    return losses.reshape(rounds, -1)[:, 1:].mean(1)


def _nats(logits: Float[Array, "*batch vocab"], ids: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Minus the log-probability of each id, in float32 at least."""
    wide = logits.astype(np.promote_types(logits.dtype, np.float32))
    logprobs = jax.nn.log_softmax(wide)
    return -jnp.take_along_axis(logprobs, ids[..., None], -1)[..., 0]
