"""Which windows of a corpus a sheet shows and asks about, and the tokens at both ends of its logits."""

from typing import Any

import jax
import numpy as np

from ..._random import host_generator
from ...typing import KeyLike
from ..features._examples import Examples
from ..features._logits import logit_weights
from ..features._site import SiteReading

INTERVALS = 13


SHOWN = (10, 2, 5, 10)  # of the top interval, of each of the others, random, top tokens elsewhere


ASKED = (6, 2, 10, 20)


class WindowPlaces:
    """Which windows of a corpus a sheet holds, feature by feature."""

    def __init__(self, read: SiteReading, found: Examples, width: int) -> None:
        self.read, self.found, self.width = read, found, width
        seq, pos = np.nonzero(read.corpus.positions)
        self.all = np.stack([seq, pos], 1)
        ids = read.corpus.tokens[seq, pos]
        self.order = np.argsort(ids, kind="stable")  # places by token
        self.ids = ids[self.order]

    def of(self, i: int, rng: np.random.Generator) -> list[tuple[bool, str, int, Any]]:
        """Places of feature i: whether it is a test, kind, interval, (seq, pos)."""
        found = self.found
        top = [p for p in zip(found.seq[i], found.pos[i], strict=True) if p[0] >= 0]
        sampled = [
            [p for p in zip(*pair, strict=True) if p[0] >= 0]
            for pair in zip(found.interval_seq[i], found.interval_pos[i], strict=True)
        ]
        peaks = np.unique([self.read.corpus.tokens[p] for p in top[:10]])
        spans = (np.searchsorted(self.ids, peaks, side) for side in ("left", "right"))
        where = [np.arange(*span) for span in zip(*spans, strict=True)]
        same = self.order[np.concatenate([*where, np.zeros(0, int)]).astype(int)]
        taken: tuple[list[Any], list[Any]] = [], []
        plan: list[tuple[bool, str, int, Any]] = []

        def take(test: bool, kind: str, interval: int, pool: Any, count: int) -> None:
            for place in pool:
                if count == 0:
                    return
                here = int(place[0]), int(place[1])
                near = lambda p, s=here[0], t=here[1]: p[0] == s and abs(p[1] - t) < self.width
                if here in taken[test] or any(map(near, taken[not test])):
                    continue
                taken[test].append(here)
                plan.append((test, kind, interval, here))
                count -= 1

        last = INTERVALS - 1
        # Rarest first: what few places can serve is not lost to what any can.
        for test, counts in ((False, SHOWN), (True, ASKED)):
            take(test, "top", last, [*sampled[last], *top], counts[0])
        for interval in range(last - 1, -1, -1):
            for test, counts in ((False, SHOWN), (True, ASKED)):
                take(test, "interval", interval, sampled[interval], counts[1])
        for test, counts in ((False, SHOWN), (True, ASKED)):
            drawn = rng.choice(same, min(len(same), 400), replace=False)
            take(test, "token", -1, self.all[drawn], counts[3])
        for test, counts in ((False, SHOWN), (True, ASKED)):
            take(test, "random", -1, self.all[rng.choice(len(self.all), 400)], counts[2])
        return plan


def feature_generator(key: KeyLike, feature: int, use: int) -> np.random.Generator:
    """The draws for one feature and one use of them; what other features draw has no part in it."""
    own = jax.random.fold_in(jax.random.fold_in(key, feature), use)
    return host_generator(own, "ji.sae.interpret(..., key={})")


def logit_ends(sae: Any, model: Any, site: Any, which: Any, key: KeyLike) -> list[tuple[Any, ...]]:
    """Tokens of each feature with the highest and lowest logit weights, and a question of both kinds:
    ranks 10 to 60, as many random ones, in a random order."""
    weights = logit_weights(sae, model, site, which)
    vocab = weights.shape[1]
    shown = min(10, vocab // 4)
    tested = min(50, (vocab - shown) // 2)
    high, _, low, _ = weights.top(None, min(shown + tested, vocab))
    found = []
    for i, feature in enumerate(which):
        rng = feature_generator(key, int(feature), 1)
        positive = high[i, shown : shown + tested]
        others = rng.choice(np.setdiff1d(np.arange(vocab), high[i]), tested, replace=False)
        mixed = rng.permutation(2 * tested)
        options = np.concatenate([positive, others])[mixed]
        found.append((high[i, :shown], low[i, :shown], options, mixed < tested))
    return found
