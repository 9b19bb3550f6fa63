"""What features respond to: top contexts, and some from all heights, for all of them in one pass."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._tabular import Record, Tabular, pieces
from ...core._check import check_key
from ...typing import CaptureLike, CorpusLike, DictionaryLike, IndexLike, KeyLike, MaskLike, ModelLike
from ._accumulators import EMPTY, Accumulate, start
from ._example_settings import ExampleSettings
from ._site import SiteReading, chosen


@dataclass(frozen=True, eq=False)
class Examples(Tabular):
    """The places where each of n features fires most, and examples of all strengths; made by `examples`.

    - `features (n,)`: the numbers of the features.
    - `values`, `seq`, `pos (n, top)`: the largest activations, falling, with their row and position; at most one of a
      context. Where there are fewer, they are NaN, -1 and -1. A signed feature is ranked by magnitude; its values keep
      their signs.
    - `activations (n, top, window)`: the activations around each; NaN at tokens that do not count.
    - `interval_values`, `interval_seq`, `interval_pos (n, interval, per)` and `interval_activations`: the same for
      intervals of magnitude of equal width, from 0 to the maximum.
    - `fired (n,)`: how often a feature is not 0 among the `count` tokens. `maximum`, `mean (n,)`: its largest and mean
      magnitude at these tokens.
    - `counts (n, bin)`: a histogram of magnitudes; the bins of a feature begin at 0 and are `width (n,)` wide.
    - `tokens`, `real (seq, pos)`: the tokens, and True at real ones. `before`: the index of the token in a window.

    ```python
    found = ji.sae.examples(sae, model, corpus, site=site)
    found.values[7], found.records(tokenizer, 7)[:1]    # feature 7
    ```
    """

    features: np.ndarray
    values: np.ndarray
    seq: np.ndarray
    pos: np.ndarray
    activations: np.ndarray
    interval_values: np.ndarray
    interval_seq: np.ndarray
    interval_pos: np.ndarray
    interval_activations: np.ndarray
    fired: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    counts: np.ndarray
    width: np.ndarray
    count: int
    tokens: np.ndarray
    real: np.ndarray
    before: int

    @property
    def density(self) -> np.ndarray:
        """`(n,)`: the share of tokens on which each feature fires."""
        return self.fired / self.count

    def place(self, feature: int) -> int:
        """The row of a feature in these arrays. **Raises:** IndexError for a feature that was not read."""
        found = np.flatnonzero(self.features == feature)
        if not len(found):
            raise IndexError(f"Feature {feature} is not among the {len(self.features)} that were read.")
        return int(found[0])

    def histogram(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts `(bin,)` of magnitudes above 0, and edges `(bin + 1,)`, as far as the maximum."""
        i = self.place(feature)
        last = int(np.flatnonzero(self.counts[i])[-1]) + 1 if self.counts[i].any() else 1
        return self.counts[i, :last], np.arange(last + 1) * float(self.width[i] or 1)

    def window(self, seq: Any, pos: Any) -> np.ndarray:
        """Ids `(..., window)` around tokens, -1 beyond the ends of what is real."""
        size = self.activations.shape[-1]
        at = np.asarray(pos)[..., None] + np.arange(size) - self.before
        inside = (at >= 0) & (at < self.tokens.shape[1]) & (np.asarray(seq)[..., None] >= 0)
        row = np.maximum(np.asarray(seq), 0)[..., None]
        at = np.clip(at, 0, self.tokens.shape[1] - 1)
        return np.where(inside & self.real[row, at], self.tokens[row, at], -1)

    def records(self, tokenizer: Any = None, feature: int | None = None) -> list[Record]:
        """Every example of a feature, or of all, with its tokens: `interval` is None for the top."""
        if feature is None:
            return [row for each in self.features for row in self.records(tokenizer, int(each))]
        i, found = self.place(feature), []
        kinds = [(None, j) for j in np.flatnonzero(self.seq[i] >= 0)]
        kinds += [(int(a), j) for a, j in np.argwhere(self.interval_seq[i] >= 0)[::-1]]
        for interval, j in kinds:
            if interval is None:
                parts = self.values, self.seq, self.pos, self.activations
                value, seq, pos, around = (each[i, j] for each in parts)
            else:
                parts = self.interval_values, self.interval_seq, self.interval_pos
                value, seq, pos = (each[i, interval, j] for each in parts)
                around = self.interval_activations[i, interval, j]
            ids = self.window(seq, pos)
            there = ids >= 0
            found.append(
                {
                    "feature": int(feature),
                    "interval": interval,
                    "activation": float(value),
                    "seq": int(seq),
                    "pos": int(pos),
                    "token": pieces(tokenizer, ids[[self.before]])[0],
                    "tokens": pieces(tokenizer, ids[there]),
                    "activations": np.nan_to_num(around[there]).tolist(),
                }
            )
        return found

    def figure(self, tokenizer: Any = None, feature: int | None = None, *, title: str = "") -> viz.Figure:
        """The examples of a feature (by default the first), tokens shaded by activation; ids without a tokenizer."""
        feature = int(self.features[0]) if feature is None else feature
        rows = [
            (
                f"{'top' if each['interval'] is None else each['interval'] + 1} {viz.number(each['activation'])}",
                each["tokens"],
                each["activations"],
            )
            for each in self.records(tokenizer, feature)
        ]
        if not rows:
            raise ValueError(f"Feature {feature} never fires on these {self.count} tokens.")
        return viz.contexts(rows, title=title or f"Feature {feature}")


@respelled(
    real="mask=padding_mask, and positions= for what counts",
    batch="batch_size=",
    seed="key=jax.random.key(0)",
    top="settings=ji.sae.ExampleSettings(top=20)",
    intervals="settings=ji.sae.ExampleSettings(intervals=11)",
    per="settings=ji.sae.ExampleSettings(per=2)",
    window="settings=ji.sae.ExampleSettings(window=(12, 4))",
)
@takes_settings
def examples(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    *,
    site: CaptureLike | None = None,
    features: IndexLike | None = None,
    settings: ExampleSettings = ExampleSettings(),
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = "auto",
    key: KeyLike | None = None,
    progress: bool = True,
) -> Examples:
    r"""$\operatorname{top}_k \{\lvert f_i(t)\rvert\}$, and tokens with $\lvert f_i(t)\rvert \in [\tfrac jn m_i, \tfrac{j+1}n m_i)$, $m_i = \max_t \lvert f_i(t)\rvert$.

    All features are read in one pass over the corpus, by one compiled program. Top examples alone make features look
    more specific than they are. The examples of the intervals show the weaker activations (Bricken et al. 2023,
    https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`, `positions`: as in `evaluate`.
    - `features`: numbers `(n,)`, or None (the default) for all.
    - `settings`: an `ExampleSettings`: how many examples of each feature, and how wide.
    - `batch_size`: contexts in one pass; "auto" (the default) takes so many that memory stays near 1 GB.
    - `key`: draws the examples of intervals; `jax.random.key(0)` by default.

    **Returns:** `Examples`.

    **Raises:** ValueError for a site of another width; IndexError for features that the dictionary lacks.

    ```python
    found = ji.sae.examples(sae, model, corpus, site="resid_post[2]")
    found.figure(tokenizer, int(found.density.argmax())).save("feature.html")
    ```

    Law: values, places, counts and densities equal those of all activations at once, sorted; among
    equal values the earlier context is first. An example of an interval lies in it.
    """
    before, after = settings.sides()
    intervals, per = int(settings.intervals), int(settings.per)
    read, which = SiteReading(sae, model, tokens, site, mask, positions), chosen(sae, features)
    offsets = np.arange(-before, after + 1, dtype=np.int32)
    state = start(len(which), int(settings.top), 2 * intervals, per, len(offsets))
    key = jax.random.key(0) if key is None else check_key(key, "ji.sae.examples(..., key={})")
    step = Accumulate(
        sae, None if features is None else jnp.asarray(which), jnp.asarray(offsets), key, read.name
    )
    parts = read.batches(batch_size, sae)
    state = read.fold(parts, state, step, progress="examples" if progress else False)
    kept = type(state)(*(np.asarray(each) for each in state))
    if not (kept.finite and np.isfinite(kept.total).all()):
        raise ValueError(
            f"Activations at {read.name!r}, or features of them, are NaN or infinite: nothing can be read "
            "off them. Are the weights finite? A model in float16 often overflows: use float32."
        )
    return _result(kept, read, which, intervals, per, before)


def _result(kept: Any, read: SiteReading, which: Any, intervals: int, per: int, before: int) -> Examples:
    n, bins, _ = kept.priority.shape
    flat = lambda x: x.reshape(n, -1, *x.shape[3:])
    priority, value = flat(kept.priority), flat(kept.bin_value)
    maximum = np.where(kept.seq[:, 0] >= 0, np.abs(kept.values[:, 0]), 0)
    share = np.abs(value) / np.where(maximum > 0, maximum, 1)[:, None]
    of = np.minimum((share * intervals).astype(int), intervals - 1)
    index = np.empty((n, intervals, per), np.int64)
    for i in range(intervals):
        # The largest of random priorities: a sample of the interval.
        order = np.argsort(np.where(of == i, -priority, 2), 1, kind="stable")[:, :per]
        best = np.where(of == i, priority, EMPTY)
        fits = np.take_along_axis(best, order, 1) > EMPTY
        index[:, i] = np.where(fits, order, -1)
    take = np.maximum(index, 0).reshape(n, -1)
    rows = np.arange(n)[:, None]
    there = (index >= 0).reshape(n, -1)
    shape = (n, intervals, per)

    def of_interval(x: Any, none: Any) -> np.ndarray:
        found = flat(x)[rows, take]
        hidden = there.reshape(n, -1, *(1,) * (found.ndim - 2))
        return np.where(hidden, found, none).reshape(*shape, *found.shape[2:])

    fired = kept.counts.sum(1)
    return Examples(
        features=which,
        values=np.where(kept.seq >= 0, kept.values, np.nan),
        seq=kept.seq,
        pos=kept.pos,
        activations=kept.around,
        interval_values=of_interval(kept.bin_value, np.nan).astype(np.float32),
        interval_seq=of_interval(kept.bin_seq, -1),
        interval_pos=of_interval(kept.bin_pos, -1),
        interval_activations=of_interval(kept.bin_around, np.nan).astype(np.float32),
        fired=fired,
        maximum=maximum,
        mean=kept.total / np.maximum(fired, 1),
        counts=kept.counts,
        width=kept.range / bins,
        count=read.count,
        tokens=np.asarray(read.corpus.tokens),
        real=np.asarray(read.corpus.mask),
        before=before,
    )
