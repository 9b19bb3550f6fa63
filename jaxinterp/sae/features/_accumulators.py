"""What is kept of features while a corpus goes by: top contexts, samples of bins, counts."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ...core._top import top_of_rows
from ...corpus._batches import Batch
from ._site import rows_at

EMPTY = -1.0  # the priority of a place that holds nothing


class Kept(NamedTuple):
    """Everything is ranked by magnitude; signed features keep their signs in `values` and
    `bin_value`. Top: `values seq pos (n, top)`, `around (n, top, window)`. Samples: `priority bin_value
    bin_seq bin_pos (n, bin, per)`, `bin_around (n, bin, per, window)`, of the highest priorities.
    `counts (n, bin)`; `range (n,)`, the end of the last bin, a power of two; `total (n,)`; `finite ()`."""

    values: Any
    seq: Any
    pos: Any
    around: Any
    priority: Any
    bin_value: Any
    bin_seq: Any
    bin_pos: Any
    bin_around: Any
    counts: Any
    range: Any
    total: Any
    finite: Any


SAMPLES = ("priority", "bin_value", "bin_seq", "bin_pos", "bin_around")
NOTHING = (EMPTY, 0.0, -1, -1, float("nan"))


def start(n: int, top: int, bins: int, per: int, window: int) -> Kept:
    """Nothing yet."""
    none = lambda *shape: jnp.full(shape, -1, jnp.int32)
    nan = lambda *shape: jnp.full(shape, jnp.nan, jnp.float32)
    return Kept(
        values=jnp.full((n, top), -jnp.inf, jnp.float32),
        seq=none(n, top),
        pos=none(n, top),
        around=nan(n, top, window),
        priority=jnp.full((n, bins, per), EMPTY, jnp.float32),
        bin_value=jnp.zeros((n, bins, per), jnp.float32),
        bin_seq=none(n, bins, per),
        bin_pos=none(n, bins, per),
        bin_around=nan(n, bins, per, window),
        counts=jnp.zeros((n, bins), jnp.int32),
        range=jnp.zeros((n,), jnp.float32),
        total=jnp.zeros((n,), jnp.float32),
        finite=jnp.ones((), bool),
    )


class Accumulate(eqx.Module):
    """One batch of a fold: features at the site, merged into what is kept.

    - `sae`; `features (n,)`, their numbers, or None for all; `name`, the site;
    - `offsets (window,)` around a token; `key`, from which the samples of each batch are drawn.
    """

    sae: Any
    features: Any
    offsets: Any
    key: Any
    name: Any = eqx.field(static=True)

    def __call__(self, kept: Kept, batch: Batch, acts: Any) -> Kept:
        x = rows_at(acts, self.name)
        finite = jnp.isfinite(x).all(tuple(range(2, x.ndim))) | ~batch.positions
        kept = kept._replace(finite=kept.finite & finite.all())
        f = self.sae.encode(x)
        f = f if self.features is None else jnp.take(f, self.features, -1)
        f = jnp.where(batch.positions[..., None], f, 0)
        kept = _top(kept, f, batch, self.offsets)
        return _bins(kept, f, batch, self.offsets, jax.random.fold_in(self.key, batch.number))


def windows(f: Any, batch: Batch, seq: Any, pos: Any, offsets: Any) -> Any:
    """`(n, place, window)`: each feature around its own places `seq pos (n, place)` of the batch."""
    at = pos[..., None] + offsets[None, None]
    inside = (at >= 0) & (at < f.shape[1])
    at = jnp.clip(at, 0, f.shape[1] - 1)
    row = jnp.broadcast_to(seq[..., None], at.shape)
    own = jnp.broadcast_to(jnp.arange(f.shape[2], dtype=jnp.int32)[:, None, None], at.shape)
    return jnp.where(inside & batch.positions[row, at], f[row, at, own], jnp.nan)


def _top(kept: Kept, f: Any, batch: Batch, offsets: Any) -> Kept:
    n, k = kept.values.shape
    size = jnp.abs(f)
    best = size.max(1)  # of each context, (seq, n)
    # Its first place: a minimum over places is much faster than argmax on a CPU.
    places = jnp.arange(f.shape[1], dtype=jnp.int32)[None, :, None]
    first = jnp.where(size == best[:, None], places, f.shape[1] - 1).min(1)
    rows = jnp.broadcast_to(batch.rows[None], (n, len(batch.rows)))
    own = jnp.take_along_axis(f, first[:, None], 1)[:, 0]
    values = jnp.concatenate([kept.values, jnp.where(best > 0, own, -jnp.inf).T], 1)
    sizes, order = jax.lax.top_k(jnp.where(jnp.isfinite(values), jnp.abs(values), -jnp.inf), k)
    found = jnp.isfinite(sizes)
    pick = lambda old, new: jnp.take_along_axis(jnp.concatenate([old, new], 1), order, 1)
    pos = pick(kept.pos, first.T)
    new = order >= k
    old = jnp.take_along_axis(kept.around, jnp.minimum(order, k - 1)[..., None], 1)
    here = jnp.where(new, order - k, 0)
    around = windows(f, batch, here, jnp.where(new, pos, 0), offsets)
    return kept._replace(
        values=jnp.take_along_axis(values, order, 1),
        seq=jnp.where(found, pick(kept.seq, rows), -1),
        pos=jnp.where(found, pos, -1),
        around=jnp.where(found[..., None], jnp.where(new[..., None], around, old), jnp.nan),
    )


def _bins(kept: Kept, f: Any, batch: Batch, offsets: Any, key: Any) -> Kept:
    n, bins, _ = kept.priority.shape
    flat = f.reshape(-1, n)
    size = jnp.abs(flat)
    largest = size.max(0)
    # The next power of two, from the bits: dividing by it is exact, so bins fold exactly.
    bits = jax.lax.bitcast_convert_type(largest, jnp.int32)
    power = jax.lax.bitcast_convert_type((bits & 0x7F800000) + 0x00800000, jnp.float32)
    wanted = jnp.maximum(kept.range, jnp.where(largest > 0, power, 0))
    kept = kept._replace(range=jnp.where(kept.range > 0, kept.range, wanted))
    kept = jax.lax.while_loop(lambda k: jnp.any(k.range < wanted), lambda k: _fold(k, k.range < wanted), kept)
    share = size / jnp.where(kept.range > 0, kept.range, 1)[None]
    index = jnp.minimum((share * bins).astype(jnp.int32), bins - 1).astype(jnp.uint8)
    index = jnp.where(size > 0, index, jnp.uint8(255))
    # A random order of the tokens: the last of a bin in that order is its candidate.
    chance = jax.random.uniform(key, (len(flat),), jnp.float32)
    order = jnp.argsort(chance).astype(jnp.int32)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(flat), dtype=jnp.int32))

    def one(b: Any) -> Any:
        hit = index == b
        return hit.sum(0, dtype=jnp.int32), jnp.where(hit, rank[:, None], -1).max(0)

    counts, last = jax.lax.map(one, jnp.arange(bins, dtype=jnp.uint8))
    last = last.T
    token = order[jnp.maximum(last, 0)]
    seq, pos = token // f.shape[1], token % f.shape[1]
    own = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32)[:, None], token.shape)
    new = (
        jnp.where(last >= 0, chance[token], EMPTY),
        flat[token, own],
        batch.rows[seq],
        pos,
        windows(f, batch, seq, pos, offsets),
    )
    kept = _insert(kept, new)
    return kept._replace(counts=kept.counts + counts.T, total=kept.total + size.sum(0))


def _fold(kept: Kept, grow: Any) -> Kept:
    """Twice the range where `grow (n,)`: two bins become one, which keeps the highest priorities."""
    n, bins, per = kept.priority.shape
    both = kept.priority.reshape(n, bins // 2, 2 * per)
    _, order = top_of_rows(both, per)
    found: dict[str, Any] = {}
    for name, none in zip(SAMPLES, NOTHING, strict=True):
        x = getattr(kept, name)
        pair = x.reshape(n, bins // 2, 2 * per, *x.shape[3:])
        more = (1,) * (x.ndim - 3)
        half = jnp.take_along_axis(pair, order.reshape(*order.shape, *more), 2)
        half = jnp.concatenate([half, jnp.full_like(half, none)], 1)
        found[name] = jnp.where(grow.reshape(n, 1, 1, *more), half, x)
    counts = kept.counts.reshape(n, bins // 2, 2).sum(-1, dtype=jnp.int32)
    counts = jnp.concatenate([counts, jnp.zeros_like(counts)], 1)
    found["counts"] = jnp.where(grow[:, None], counts, kept.counts)
    return kept._replace(**found, range=jnp.where(grow, 2 * kept.range, kept.range))


def _insert(kept: Kept, new: tuple[Any, ...]) -> Kept:
    """One new sample of each bin, in its place among those kept; the last falls out."""
    per = kept.priority.shape[2]
    place = (kept.priority >= new[0][..., None]).sum(-1, dtype=jnp.int32)[..., None]
    slot = jnp.arange(per, dtype=jnp.int32)[None, None]
    found: dict[str, Any] = {}
    for name, one in zip(SAMPLES, new, strict=True):
        x = getattr(kept, name)
        more = (1,) * (x.ndim - 3)
        before, at = (c.reshape(*c.shape, *more) for c in (slot < place, slot == place))
        shifted = jnp.concatenate([x[:, :, :1], x[:, :, :-1]], 2)
        found[name] = jnp.where(before, x, jnp.where(at, one[:, :, None].astype(x.dtype), shifted))
    return kept._replace(**found)
