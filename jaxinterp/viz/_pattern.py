"""Attention weights as a run captures them, checked, without padding, and as pixels of one ink."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arguments import as_int
from .._text import visible
from ..core._sites import UnknownSite, parse
from ..typing import MaskLike, PatternLike
from ._cells import labels

_INK = (31, 119, 210)
_MOST = 4_000_000


@dataclasses.dataclass(frozen=True)
class Pattern:
    """The weights (head, query, key) of all layers in order, and what each axis stands for.

    - `heads`: the name of each head; `layers`: the layer of each head, or "" without layers.
    - `tokens`: the tokens that are no padding, made visible; `positions`: where they stand in the prompt.
    """

    weights: np.ndarray
    heads: list[str]
    layers: list[str]
    tokens: list[str]
    positions: list[int]

    def sharpest(self) -> int:
        """The head whose weights are the least spread, on average over its queries."""
        return int(np.argmax((np.nan_to_num(self.weights) ** 2).sum((1, 2))))

    def chosen(self, selected: Any) -> int:
        """The index of a head given as an index, or as (layer, head) counted along the axes given."""
        if selected is None:
            return self.sharpest()
        if isinstance(selected, tuple):
            names = list(dict.fromkeys(self.layers))
            per_layer = len(self.heads) // len(names)
            layer, head = (as_int(one, "selected") for one in selected)
            fits = 0 <= layer < len(names) and 0 <= head < per_layer
            index = layer * per_layer + head if fits else -1
        else:
            index = as_int(selected, "selected")
        if not 0 <= index < len(self.heads):
            raise IndexError(
                f"selected is the index of one of the {len(self.heads)} heads given; got {selected}."
            )
        return index


def read_pattern(
    pattern: PatternLike,
    tokens: Sequence[str],
    heads: Sequence[object] | None = None,
    layers: Sequence[object] | None = None,
    mask: MaskLike | None = None,
) -> Pattern:
    """The weights of one prompt. Raises `ValueError` for other shapes, with the shape that fits."""
    array, known = captured(pattern, "pattern") if isinstance(pattern, Mapping) else (pattern, None)
    array = np.asarray(array, dtype=float)
    given_shape = array.shape
    if array.ndim == 5 and array.shape[1] == 1:
        array = array[:, 0]
    stacked = array.ndim == 4
    array = array[(None,) * max(0, 4 - array.ndim)]
    if array.ndim != 4 or array.shape[2:] != (len(tokens),) * 2 or 0 in array.shape:
        raise ValueError(
            "Attention is drawn from a pattern (query, key), (head, query, key) or (layer, head, query, key), with "
            f"one query and one key per token; got the shape {given_shape} and {len(tokens)} tokens. From a batch, "
            "choose one prompt first: acts['pattern'][:, 0], or acts['pattern[1]'][0]."
        )
    real = np.ones(len(tokens), bool) if mask is None else np.asarray(mask, bool).reshape(-1)
    if real.shape != (len(tokens),) or not real.any():
        raise ValueError(
            f"mask says of each of the {len(tokens)} tokens whether it is real, and some are; got {real.shape}."
        )
    array = array[:, :, real][..., real]
    count, per_layer = array.shape[:2]
    if array.size > _MOST:
        raise ValueError(
            f"A figure of attention holds at most {_MOST:,} weights; these are {array.size:,}. Choose layers, as in "
            "pattern[2:4], or a shorter text."
        )
    given = layers if layers is not None else known
    named = given is not None or stacked
    names = labels(given, count, "layers") if named else [""]
    own = labels(heads, per_layer, "heads")
    return Pattern(
        weights=array.reshape(count * per_layer, *array.shape[2:]),
        heads=[f"{layer}.{head}" if named else head for layer in names for head in own],
        layers=[layer for layer in names for _ in own],
        tokens=[visible(token) for token, is_real in zip(tokens, real, strict=True) if is_real],
        positions=np.flatnonzero(real).tolist(),
    )


def captured(acts: Mapping[str, Any], site: str) -> tuple[np.ndarray, list[object] | None]:
    """The captures of a site, stacked by layer, and their layers. A batch of one loses its axis."""
    found, layers = [], []
    for name, value in acts.items():
        try:
            own, index = parse(name)
        except UnknownSite:
            continue
        if own != site:
            continue
        array = np.asarray(value, dtype=float)
        single = index is not None and not isinstance(index, slice)
        rows = array[None] if single else array
        found.append(rows)
        if isinstance(index, slice):
            start, step = index.start or 0, index.step or 1
            layers += [start + step * i for i in range(len(rows))]
        else:
            layers += [index] if single else list(range(len(rows)))
    if not found:
        raise ValueError(
            f"These activations hold no {site!r}; they hold {', '.join(acts) or 'nothing'}. Capture it: "
            f"ji.run(model, tokens, capture=[{site!r}])."
        )
    return np.concatenate(found), layers


def rgba(weights: np.ndarray) -> np.ndarray:
    """Weights in [0, 1] as pixels (query, key, 4) of one ink; opacity carries the weight."""
    alpha = np.rint(255 * np.nan_to_num(np.clip(weights, 0, 1))).astype(np.uint8)
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = _INK, alpha
    return pixels
