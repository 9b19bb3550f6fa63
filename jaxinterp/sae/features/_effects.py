"""What features do to predictions: ablated one by one, or estimated from their logit weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._run import run
from ...data._activations import watched
from ._corpus import Corpus, chosen, rows_at, sites_of
from ._directions import check_same_site, directions, written
from ._logits import logit_weights
from ._suffix import place_of, reached, rest, said


def feature_effects(
    sae: Any,
    model: Any,
    tokens: Any,
    features: Any,
    *,
    site: Any = None,
    mask: Any = None,
    real: Any = None,
    batch: int = 8,
    progress: bool = True,
) -> np.ndarray:
    r"""$\Delta_{it} = \log P(t_{+1} \mid x - f_i(x)\, d_i) - \log P(t_{+1})$: each token without the feature.

    The feature is taken out at all positions of `mask` at once, and the forward pass is finished: the
    layers before the site run once, those after it once for each feature. Below 0 it helped. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:** `sae`, `model`, `tokens`, `site`, `real` as in `evaluate`; `features`,
    numbers `(n,)`, one more pass through the later layers each; `mask (seq, pos)`, where the feature
    is taken out: by default at all real tokens but the first, as in `evaluate`; `mask=real`, or ones,
    takes it out everywhere.

    **Returns:** `(n, seq, pos - 1)`; entry p is of the token at p + 1, NaN where that, or the one
    before it, is padding.

    **Raises:** ValueError for a transcoder, which reads one site and writes another.

    ```python
    effects = ji.sae.feature_effects(sae, model, corpus.tokens[:8], [7, 8], site="resid_post[2]")
    ```

    Law: 0 exactly wherever the feature has not fired at a position of `mask` up to then; equal to a
    run with `steer(sae, i, 0, site=site, pos=mask)`, and with a mask of ones to one without `pos=`.
    """
    check_same_site(sae, "feature_effects")
    read, which = Corpus(sae, model, tokens, site, mask, real), chosen(sae, features)
    size = read.size(batch, sae.features)
    rows = directions(sae)
    known = read.real[:, 1:] & read.real[:, :-1]
    out = np.where(known, np.float32(0), np.float32(np.nan))
    out = np.repeat(out[None], len(which), 0)
    steps = -(-len(read.rows) // size)
    place = place_of(model, read)
    for part in watched(read.batches(size), steps, "effects", progress):
        held = reached(model, read, part, place)
        found = np.asarray(_effects(sae, model, held, rows[which], jnp.asarray(which), place))
        at, first = np.unique(np.asarray(part.rows), return_index=True)  # without what fills up
        out[:, at] = np.where(known[at][None], found[:, first], np.nan)
    return out


@eqx.filter_jit
def _effects(sae: Any, model: Any, held: Any, rows: Any, which: Any, place: Any) -> Any:
    x, part = held.x.astype(jnp.float32), held.part
    f = jnp.take(sae.encode(x), which, -1)

    def one(feature: Any) -> Any:
        row, amount = feature
        value = (x - written(sae, row[None], amount[..., None], x)).astype(held.x.dtype)
        fires = part.counted & (amount != 0)  # elsewhere x stays as it is, bit for bit
        stream = rest(model, held, jnp.where(fires[..., None], value, held.x), place)
        log = said(model, held, stream)
        return jnp.take_along_axis(log, part.tokens[:, 1:, None], -1)[..., 0]

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
    site: Any = None,
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
    weights = jnp.asarray(logit_weights(sae, model, read.name)[which])
    found = []
    steps = -(-len(read.rows) // size)
    for part in watched(read.batches(size), steps, "attribution", progress):
        a = np.asarray(_attributed(sae, model, part, jnp.asarray(which), weights, read.name))
        rows = np.asarray(part.rows)
        has = np.asarray(part.counted)[:, :-1] & read.real[rows][:, 1:]
        found.append(a[:, has])
    return np.concatenate(found, 1)


@eqx.filter_jit
def _attributed(sae: Any, model: Any, part: Any, which: Any, weights: Any, name: Any) -> Any:
    _, acts = run(model, part.tokens, capture=sites_of(name), mask=part.real, logits=False)
    f = jnp.take(sae.encode(rows_at(acts, name)), which, -1)
    return jnp.moveaxis(f[:, :-1], -1, 0) * weights[:, part.tokens[:, 1:]]
