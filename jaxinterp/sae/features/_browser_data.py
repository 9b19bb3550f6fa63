"""What the pages of features hold: a script for each part, which hands over its values as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..._text import plain, visible
from ...corpus._progress import watched
from ._examples import Examples

CHUNK = 32  # features in a file, and rows of the corpus
LOOKED_UP = 8  # tokens that a feature fires on, and that it raises, by which a search finds it


@dataclass(frozen=True)
class Extras:
    """What the pages show besides examples.

    - `ends`: tokens at both ends of the logit weights, or None; `labels`: texts by number of a feature;
    - `scores`: columns by name; `texts`: as `TextReading` read them; `longer`: tokens on each side of a
      context that was opened; `features`: of the whole dictionary.
    """

    ends: Any
    labels: Mapping[int, str]
    scores: Mapping[str, np.ndarray]
    texts: list[dict[str, Any]]
    longer: int
    features: int
    used: set[int] = field(default_factory=set)


def scripts(read: Examples, tokenizer: Any, shown: Extras, progress: bool) -> Iterator[tuple[str, str]]:
    """Names and scripts of all parts; the summary, with which the page begins, is the last."""
    n, used = len(read.features), shown.used
    fires, raises = _looked_up(read, shown)
    # Places of tokens among the real ones of their row, by which longer contexts are found.
    place = np.cumsum(read.real, 1) - 1
    steps = range(0, n, CHUNK)
    for start in watched(steps, len(steps), "pages", progress):
        found = _features(read, shown, slice(start, min(start + CHUNK, n)), place)
        yield _script(f"chunk-{start // CHUNK:05d}", found)
    yield from _rows(read, used)
    ids = sorted(used)
    strings = map(visible, tokenizer.tokens(np.asarray(ids, np.int32)))
    yield _script("tokens", {str(i): text for i, text in zip(ids, strings, strict=True)})
    yield _script(
        "summary",
        {
            "chunk": CHUNK,
            "rows": CHUNK,
            "longer": shown.longer,
            "dictionary": shown.features,
            "tokens": read.count,
            "features": read.features.tolist(),
            "density": rounded(read.density),
            "maximum": rounded(read.maximum),
            "labels": [shown.labels.get(int(i), "") for i in read.features],
            "fires": fires,
            "raises": raises,
            "scores": [{"name": plain(name), "values": rounded(x)} for name, x in shown.scores.items()],
            "texts": shown.texts,
        },
    )


def _script(name: str, value: Any) -> tuple[str, str]:
    """`data(name, value)`; no character of a text can end a string or a script."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return name, f'featureBrowser.data("{name}",{text});\n'.replace("<", "\\u003c")


def rounded(x: Any) -> list[Any]:
    """Four significant digits, None for what is no number."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in np.asarray(x, float)]


def _looked_up(read: Examples, shown: Extras) -> tuple[list[list[int]], list[list[int]]]:
    """The tokens that each feature fires on most, and those whose logits it raises."""
    there = read.seq >= 0
    peaks = read.tokens[np.maximum(read.seq, 0), np.maximum(read.pos, 0)]
    fires = [
        list(dict.fromkeys(ids[here].tolist()))[:LOOKED_UP] for ids, here in zip(peaks, there, strict=True)
    ]
    raises = [[] for _ in fires] if shown.ends is None else shown.ends.largest[:, :LOOKED_UP].tolist()
    shown.used.update(*fires, *raises)
    return fires, raises


def _features(read: Examples, shown: Extras, part: slice, place: np.ndarray) -> list[dict[str, Any]]:
    """A chunk: everything that the panels of its features show, ids in place of strings."""
    most = np.where(read.maximum[part] > 0, read.maximum[part], 1)
    top = _lines(
        read, read.seq[part], read.pos[part], read.values[part], read.activations[part], most, place, shown
    )
    intervals = _lines(
        read,
        read.interval_seq[part],
        read.interval_pos[part],
        read.interval_values[part],
        read.interval_activations[part],
        most,
        place,
        shown,
    )
    found = []
    for here, i in enumerate(range(part.start, part.stop)):
        counts = read.counts[i]
        last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
        up, down = [], []
        if shown.ends is not None:
            high, highest, low, lowest = (each[i] for each in shown.ends)
            shown.used.update(high.tolist(), low.tolist())
            up, down = _alternating(high, highest), _alternating(low, lowest)
        found.append(
            {
                "mean": rounded([read.mean[i]])[0],
                "counts": counts[:last].tolist(),
                "width": float(read.width[i]),
                "up": up,
                "down": down,
                "top": [line for line in top[here] if line],
                "intervals": [[line for line in lines if line] for lines in intervals[here]],
            }
        )
    return found


def _alternating(ids: Any, weights: Any) -> list[Any]:
    return [x for pair in zip(ids.tolist(), rounded(weights), strict=True) for x in pair]


def _lines(
    read: Examples, seq: Any, pos: Any, values: Any, around: Any, most: Any, place: np.ndarray, shown: Extras
) -> Any:
    """`[value, ids, [place, percent of the maximum, ...], place of the peak, row, place in it]`, nested as `seq` is."""
    ids = read.window(seq, pos)
    wide = most.reshape(-1, *(1,) * (around.ndim - 1))
    share = np.ceil(100 * np.abs(np.nan_to_num(around)) / wide).astype(int).clip(0, 100)
    found = np.empty(seq.shape, object)
    for at in np.ndindex(*seq.shape):
        if seq[at] < 0:
            continue
        row = ids[at]
        kept = row >= 0
        own = row[kept].tolist()
        shown.used.update(own)
        places = np.cumsum(kept) - 1
        fires = np.flatnonzero(kept & (share[at] > 0))
        acts = np.stack([places[fires], share[at][fires]], 1).reshape(-1).tolist()
        peak, where = int(places[read.before]), (int(seq[at]), int(pos[at]))
        found[at] = [float(f"{values[at]:.4g}"), own, acts, peak, where[0], int(place[where])]
    return found.tolist()


def _rows(read: Examples, used: set[int]) -> Iterator[tuple[str, str]]:
    """The rows of the corpus in which examples stand: their real tokens, by number."""
    every = np.unique(np.concatenate([read.seq.ravel(), read.interval_seq.ravel()]))
    every = every[every >= 0]
    for part in np.unique(every // CHUNK):
        rows = {int(i): read.tokens[i][read.real[i]].tolist() for i in every[every // CHUNK == part]}
        used.update(*rows.values())
        yield _script(f"rows-{part:05d}", rows)
