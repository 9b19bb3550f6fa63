"""What features do to predictions: ablated one by one, or estimated from their logit weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...corpus._batches import Batch
from ...corpus._suffix import Suffix, last_stream, log_probabilities, reached, suffix_of
from ...typing import CaptureLike, CorpusLike, DictionaryLike, IndexLike, MaskLike, ModelLike
from ._directions import check_same_site, directions, written
from ._logits import logit_weights
from ._site import SiteReading, chosen, rows_at


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def feature_effects(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    features: IndexLike,
    *,
    site: CaptureLike | None = None,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = 8,
    progress: bool = True,
) -> np.ndarray:
    r"""$\Delta_{it} = \log P(t_{+1} \mid x - f_i(x)\, d_i) - \log P(t_{+1})$: the change of each token's log-probability when the feature is removed.

    The feature is subtracted at all `positions` at once, and the forward pass is finished. The layers
    before the site run once, those after it once for each feature. An effect below 0 means that the feature makes the
    token more likely. Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`: as in `evaluate`.
    - `features`: numbers `(n,)`. Each needs one more pass through the later layers.
    - `positions`: where the feature is subtracted. By default at all real tokens but the first, as in
      `evaluate`; `positions=mask`, or `slice(None)`, subtracts it everywhere.
    - `batch_size`: contexts in one pass; 8 by default.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `(n, seq, pos - 1)`. Entry p is about the token at p + 1. It is NaN where this token, or the token
    before it, is padding.

    **Raises:** ValueError for a transcoder, which reads one site and writes another.

    ```python
    effects = ji.sae.feature_effects(sae, model, corpus.tokens[:8], [7, 8], site="resid_post[2]")
    ```

    Law: 0 exactly wherever the feature has not fired at one of `positions` up to then; equal to a
    run with `steer(sae, i, 0, site=site, pos=positions)`, and with `slice(None)` to one without `pos=`.
    """
    check_same_site(sae, "feature_effects")
    read, which = SiteReading(sae, model, tokens, site, mask, positions), chosen(sae, features)
    parts = read.batches(batch_size, sae)
    real = np.asarray(read.corpus.mask)
    known = real[:, 1:] & real[:, :-1]
    out = np.where(known, np.float32(0), np.float32(np.nan))
    out = np.repeat(out[None], len(which), 0)
    suffix = suffix_of(model, f"{read.site}[{read.layer}]")

    def put(out: np.ndarray, batch: Batch, change: Any) -> np.ndarray:
        at = parts.rows_of(int(batch.number))
        out[:, at] = np.where(known[at][None], np.asarray(change)[:, : len(at)], np.nan)
        return out

    effects = Effects(sae, model, directions(sae)[which], jnp.asarray(which), suffix)
    bar = "effects" if progress else False
    return read.fold(parts, out, put, captures=suffix.captures, per_batch=effects, progress=bar)


class Effects(eqx.Module):
    """The change of each next token's log-probability in a batch, `(n, row, pos - 1)`, feature by feature."""

    sae: Any
    model: Any
    rows: Any
    features: Any
    suffix: Suffix

    def __call__(self, batch: Batch, acts: Any) -> Any:
        at_site = reached(self.suffix, batch, acts)
        x = at_site.x.astype(jnp.float32)
        f = jnp.take(self.sae.encode(x), self.features, -1)

        def one(feature: Any) -> Any:
            row, amount = feature
            value = (x - written(self.sae, row[None], amount[..., None], x)).astype(at_site.x.dtype)
            fires = batch.positions & (amount != 0)  # elsewhere x stays as it is, bit for bit
            value = jnp.where(fires[..., None], value, at_site.x)
            stream = last_stream(self.model, at_site, value, self.suffix)
            log = log_probabilities(self.model, at_site, stream)
            return jnp.take_along_axis(log, batch.tokens[:, 1:, None], -1)[..., 0]

        # The clean run is one of the same loop: bits agree wherever nothing was taken out.
        amounts = jnp.moveaxis(f, -1, 0)
        amounts = jnp.concatenate([jnp.zeros_like(amounts[:1]), amounts])
        log = jax.lax.map(one, (jnp.concatenate([self.rows[:1], self.rows]), amounts))
        return log[1:] - log[:1]


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def attribution_vectors(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    features: IndexLike,
    *,
    site: CaptureLike | None = None,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> np.ndarray:
    r"""$a_{it} = f_i(t)\, v_{i, t_{+1}}$: the activation times the logit weight of the next token.

    A cheap approximation of `feature_effects`, for features of late layers. The correlation of two
    features' vectors, `numpy.corrcoef(a)[0, 1]`, is their attribution similarity. Bricken et al.
    2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:**

    - `sae`, `model`, `tokens`, `features`, `site`, `mask`, `positions`, `batch_size`, `progress`: as in
      `feature_effects`.

    **Returns:** `(n, token)`, a column for each of `positions` that has a next token, in the
    order of the corpus.

    ```python
    a = ji.sae.attribution_vectors(sae, model, corpus, [7, 8], site="resid_post[2]")
    ```

    Law: 0 where a feature does not fire.
    """
    read, which = SiteReading(sae, model, tokens, site, mask, positions), chosen(sae, features)
    parts = read.batches(batch_size, sae)
    weights = jnp.asarray(logit_weights(sae, model, read.name)[which])
    real = np.asarray(read.corpus.mask)

    def put(columns: list[np.ndarray], batch: Batch, a: Any) -> list[np.ndarray]:
        at = parts.rows_of(int(batch.number))
        has = np.asarray(batch.positions)[: len(at), :-1] & real[at][:, 1:]
        return [*columns, np.asarray(a)[:, : len(at)][:, has]]

    attributed = Attributed(sae, jnp.asarray(which), weights, read.name)
    bar = "attribution" if progress else False
    return np.concatenate(read.fold(parts, [], put, per_batch=attributed, progress=bar), 1)


class Attributed(eqx.Module):
    """Activation times the logit weight of the next token in a batch, `(n, row, pos - 1)`."""

    sae: Any
    features: Any
    weights: Any
    name: Any = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> Any:
        f = jnp.take(self.sae.encode(rows_at(acts, self.name)), self.features, -1)
        return jnp.moveaxis(f[:, :-1], -1, 0) * self.weights[:, batch.tokens[:, 1:]]
