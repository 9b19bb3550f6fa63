"""What features do to predictions: ablated one by one, or estimated from their logit weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._edits import replace
from .._run import run
from ..data._activations import watched
from ._corpus import Corpus, chosen
from ._logits import logit_weights
from ._written import check_same_site, directions, written


def feature_effects(
    sae: Any,
    model: Any,
    tokens: Any,
    features: Any,
    *,
    site: str,
    mask: Any = None,
    real: Any = None,
    batch: int = 8,
    progress: bool = True,
) -> np.ndarray:
    r"""$\Delta_{it} = \log P(t_{+1} \mid x - f_i(x)\, d_i) - \log P(t_{+1})$: each token without the feature.

    The feature is taken out at all positions of `mask` at once, and the forward pass is finished.
    Below 0 the feature helped. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:** `sae`, `model`, `tokens`, `site`, `mask`, `real` as in `evaluate`; `features`,
    numbers `(n,)`, one more forward pass each.

    **Returns:** `(n, seq, pos - 1)`; entry p is of the token at p + 1, NaN where that, or the one
    before it, is padding.

    **Raises:** ValueError for a transcoder, which reads one site and writes another.

    ```python
    effects = ji.sae.feature_effects(sae, model, corpus.tokens[:8], [7, 8], site="resid_post[2]")
    ```

    Law: 0 exactly wherever the feature has not fired up to then; equal to a run with
    `steer(sae, i, 0, mode="clamp")`.
    """
    check_same_site(sae, "feature_effects")
    read, which = Corpus(sae, model, tokens, site, mask, real), chosen(sae, features)
    size = read.size(batch, sae.features)
    rows = directions(sae)
    known = read.real[:, 1:] & read.real[:, :-1]
    out = np.where(known, np.float32(0), np.float32(np.nan))
    out = np.repeat(out[None], len(which), 0)
    steps = -(-len(read.rows) // size)
    place = (read.site, read.layer)
    for part in watched(read.batches(size), steps, "effects", progress):
        found = np.asarray(_effects(sae, model, part, rows[which], jnp.asarray(which), place))
        at, first = np.unique(np.asarray(part.rows), return_index=True)  # without what fills up
        out[:, at] = np.where(known[at][None], found[:, first], np.nan)
    return out


@eqx.filter_jit
def _effects(sae: Any, model: Any, part: Any, rows: Any, which: Any, place: Any) -> Any:
    site, layer = place
    name = f"{site}[{layer}]"
    _, acts = run(model, part.tokens, capture=[name], mask=part.real, logits=False)
    x = acts[name].astype(jnp.float32)
    f = jnp.take(sae.encode(x), which, -1)
    said = lambda logits: jnp.take_along_axis(
        jax.nn.log_softmax(logits[:, :-1].astype(jnp.float32)), part.tokens[:, 1:, None], -1
    )[..., 0]

    def one(feature: Any) -> Any:
        row, amount = feature
        value = (x - written(sae, row[None], amount[..., None], x)).astype(acts[name].dtype)
        fires = part.counted & (amount > 0)  # elsewhere x stays as it is, bit for bit
        edit = replace(site, value, layer=layer, pos=fires)
        logits, _ = run(model, part.tokens, edits=[edit], mask=part.real)
        return said(logits)

    # The clean run is one of the same loop: bits agree wherever nothing was taken out.
    amounts = jnp.moveaxis(f, -1, 0)
    amounts = jnp.concatenate([jnp.zeros_like(amounts[:1]), amounts])
    found = jax.lax.map(one, (jnp.concatenate([rows[:1], rows]), amounts))
    return found[1:] - found[:1]


def attribution_vectors(
    sae: Any,
    model: Any,
    tokens: Any,
    features: Any,
    *,
    site: str,
    mask: Any = None,
    real: Any = None,
    batch: int | None = None,
    progress: bool = True,
) -> np.ndarray:
    r"""$a_{it} = f_i(t)\, v_{i, t_{+1}}$: activation times logit weight of the token that follows.

    A cheap stand-in for `feature_effects`, for features of late layers. The correlation of two
    features' vectors, `numpy.corrcoef(a)[0, 1]`, is their attribution similarity. Bricken et al.
    2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:** as `feature_effects`.

    **Returns:** `(n, token)`, a column for each position of `mask` that has a next token, in the
    order of the corpus.

    ```python
    a = ji.sae.attribution_vectors(sae, model, corpus, [7, 8], site="resid_post[2]")
    ```

    Law: 0 where a feature does not fire.
    """
    read, which = Corpus(sae, model, tokens, site, mask, real), chosen(sae, features)
    size = read.size(batch, sae.features)
    weights = jnp.asarray(logit_weights(sae, model, site)[which])
    found = []
    steps = -(-len(read.rows) // size)
    for part in watched(read.batches(size), steps, "attribution", progress):
        a = np.asarray(_attributed(sae, model, part, jnp.asarray(which), weights, read.name))
        rows = np.asarray(part.rows)
        has = np.asarray(part.counted)[:, :-1] & read.real[rows][:, 1:]
        found.append(a[:, has])
    return np.concatenate(found, 1)


@eqx.filter_jit
def _attributed(sae: Any, model: Any, part: Any, which: Any, weights: Any, name: str) -> Any:
    _, acts = run(model, part.tokens, capture=[name], mask=part.real, logits=False)
    f = jnp.take(sae.encode(acts[name].astype(jnp.float32)), which, -1)
    return jnp.moveaxis(f[:, :-1], -1, 0) * weights[:, part.tokens[:, 1:]]
