"""Windows of a feature for a judge: examples to read and tests to predict. They share no token."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...typing import KeyLike
from ..features._accumulators import windows
from ..features._example_settings import ExampleSettings
from ..features._examples import examples
from ..features._logits import STREAM
from ..features._site import SiteReading, chosen, rows_at
from ._window_places import ASKED, INTERVALS, SHOWN, WindowPlaces, feature_generator, logit_ends

LEVELS = 10


@dataclass(frozen=True)
class Window:
    """A stretch of text: `kind` top, interval, random or token; `interval` from 0; `tokens` as strings,
    `activations` and `levels` 0..9 of them, NaN and 0 where nothing counts."""

    kind: str
    interval: int
    seq: int
    pos: int
    tokens: list[str]
    activations: np.ndarray
    levels: np.ndarray


@dataclass(frozen=True, eq=False)
class Shown:
    """What `explain` is given: `examples`, and the tokens whose logits the feature raises most, `up`,
    and lowers most, `down`. `str(shown)` is all of it as text for a prompt."""

    examples: list[Window]
    up: list[str]
    down: list[str]

    def __str__(self) -> str:
        rows = []
        for number, each in enumerate(self.examples, 1):
            pairs = zip(each.tokens, each.levels, strict=True)
            rows.append(f"{number}. " + " ".join(f"{token!r}:{level}" for token, level in pairs))
        rows.append("Raises the logits of: " + ", ".join(map(repr, self.up)))
        rows.append("Lowers the logits of: " + ", ".join(map(repr, self.down)))
        return "\n".join(rows)


@dataclass(frozen=True, eq=False)
class Sheet:
    """Two sets of windows of one feature: those that a judge is shown, and those that test its explanation.

    - `feature`: the number of the feature.
    - `shown`: what the judge reads before it explains the feature.
    - `tests`: the windows of which the judge predicts the activations.
    - `density`, `maximum`: the share of tokens on which the feature fires, and its largest activation.
    - `share` `(interval,)`: the share of firing tokens in each interval of activations.
    - `sums` `(interval,)`: the share of the sum of all activations in each interval.
    - `options`: tokens; `right` `(option,)` marks those with a high logit weight.
    """

    feature: int
    shown: Shown
    tests: list[Window]
    density: float
    maximum: float
    share: np.ndarray
    sums: np.ndarray
    options: list[str]
    right: np.ndarray


def sheets(
    sae: Any,
    model: Any,
    tokenizer: Any,
    tokens: Any,
    which: Any,
    *,
    site: Any,
    batch_size: int | str | None,
    window: tuple[int, int],
    key: KeyLike,
    progress: bool,
    logits: bool,
) -> list[Sheet]:
    """A sheet for each feature of `which`; it depends on the feature and the key alone."""
    read, which = SiteReading(sae, model, tokens, site, None, None), chosen(sae, which)
    found = examples(
        sae,
        model,
        read.corpus,
        site=read.name,
        features=which,
        settings=ExampleSettings(top=24, intervals=INTERVALS, per=24, window=0),
        batch_size=batch_size,
        key=key,
        progress=progress,
    )
    places = WindowPlaces(read, found, sum(window) + 1)
    plans = [places.of(i, feature_generator(key, int(f), 0)) for i, f in enumerate(which)]
    most = sum(a + (INTERVALS - 1) * b + c + d for a, b, c, d in (SHOWN, ASKED))
    at = np.full((2, len(which), most), -1, np.int32)  # of one size: one program serves all
    for i, plan in enumerate(plans):
        at[:, i, : len(plan)] = np.asarray([place for _, _, _, place in plan]).reshape(-1, 2).T
    acts, share, sums = _read(sae, model, read, which, at, found.maximum, window, batch_size, progress)
    ids = _ids(read, at, window)
    readable = logits or read.site in (*STREAM, "mlp_post")
    ends = logit_ends(sae, model, read.name, which, key) if readable else [([], [], [], [])] * len(which)
    used = np.unique(np.concatenate([ids.ravel(), *(np.asarray(x, int) for e in ends for x in e[:3])]))
    used = used[used >= 0].astype(int)
    text = dict(zip(used.tolist(), tokenizer.tokens(used), strict=True))
    words = lambda token_ids: [text[int(t)] for t in token_ids]
    made = []
    for i, plan in enumerate(plans):
        maximum = float(found.maximum[i])
        sets: tuple[list[Window], list[Window]] = [], []
        for j, (test, kind, interval, (seq, pos)) in enumerate(plan):
            there = ids[i, j] >= 0
            own = acts[i, j][there]
            level = np.nan_to_num(own) * (LEVELS / maximum if maximum > 0 else 0)
            level = np.minimum(level.astype(int), LEVELS - 1)
            sets[test].append(Window(kind, interval, seq, pos, words(ids[i, j][there]), own, level))
        up, down, options, right = ends[i]
        shown = Shown(sets[0], words(up), words(down))
        made.append(
            Sheet(
                int(which[i]),
                shown,
                sets[1],
                float(found.density[i]),
                maximum,
                share[i],
                sums[i],
                words(options),
                np.asarray(right, bool),
            )
        )
    return made


def _ids(read: SiteReading, at: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Token ids `(n, place, window)`, -1 beyond what is real."""
    pos = at[1][..., None] + np.arange(-window[0], window[1] + 1)
    inside = (pos >= 0) & (pos < read.corpus.tokens.shape[1]) & (at[0] >= 0)[..., None]
    row, pos = np.maximum(at[0], 0)[..., None], np.clip(pos, 0, read.corpus.tokens.shape[1] - 1)
    return np.where(inside & read.corpus.mask[row, pos], read.corpus.tokens[row, pos], -1)


def _read(
    sae: Any,
    model: Any,
    read: SiteReading,
    which: Any,
    at: Any,
    maximum: Any,
    window: Any,
    batch_size: Any,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations `(n, place, window)` of every window, and how features spread over intervals."""
    seq, pos = jnp.asarray(at)
    offsets = jnp.arange(-window[0], window[1] + 1, dtype=jnp.int32)
    wanted, most = jnp.asarray(which), jnp.asarray(maximum, jnp.float32)
    out = jnp.full((*seq.shape, len(offsets)), jnp.nan, jnp.float32)
    state = (
        out,
        jnp.zeros((len(which), INTERVALS), jnp.float32),
        jnp.zeros((len(which), INTERVALS), jnp.float32),
    )
    step = Windows(sae, wanted, seq, pos, offsets, most, read.name)
    parts = read.batches(batch_size, sae)
    state = read.fold(parts, state, step, progress="windows" if progress else False)
    acts, count, sums = (np.asarray(x) for x in state)
    over = lambda x: x / np.maximum(x.sum(1, keepdims=True), 1e-30)
    return acts, over(count), over(sums)


class Windows(eqx.Module):
    """One batch of a fold: activations around places, and how features spread over intervals."""

    sae: Any
    features: Any
    seq: Any
    pos: Any
    offsets: Any
    most: Any
    name: Any = eqx.field(static=True)

    def __call__(self, state: Any, batch: Any, acts: Any) -> Any:
        out, count, amount = state
        # Of signed features the magnitude: a sheet shows how much, and judges answer so.
        f = jnp.abs(jnp.take(self.sae.encode(rows_at(acts, self.name)), self.features, -1))
        f = jnp.where(batch.positions[..., None], f, 0)
        local = jnp.minimum(jnp.searchsorted(batch.rows, self.seq), len(batch.rows) - 1)
        here = windows(f, batch, local, self.pos, self.offsets)
        out = jnp.where((batch.rows[local] == self.seq)[..., None], here, out)
        flat = f.reshape(-1, f.shape[-1])
        place = flat / jnp.where(self.most > 0, self.most, 1)[None] * INTERVALS
        place = jnp.where(flat > 0, jnp.minimum(place.astype(jnp.int32), INTERVALS - 1), -1)
        one = lambda j: ((place == j).sum(0, dtype=jnp.float32), jnp.where(place == j, flat, 0).sum(0))
        counts, sums = jax.lax.map(one, jnp.arange(INTERVALS, dtype=jnp.int32))
        return out, count + counts.T, amount + sums.T
