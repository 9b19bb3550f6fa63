"""Activations of units at tokens, of one text or several, in one form and without padding."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arguments import as_int
from .._text import visible
from ..core._sites import UnknownSite, parse
from ..typing import MaskLike, TokenTextsLike, UnitValuesLike
from ._cells import labels
from ._pattern import captured

_MOST = 4_000_000


@dataclasses.dataclass(frozen=True)
class Activations:
    """The activations (layer, pos, unit) of each text, its tokens made visible, and where they stand."""

    arrays: list[np.ndarray]
    texts: list[list[str]]
    positions: list[list[int]]
    layers: list[str]
    units: list[str]

    def chosen(self, selected: Any) -> tuple[int, int]:
        """A layer and a unit by index; by default the unit that fires most strongly."""
        shape = len(self.layers), len(self.units)
        if selected is None:
            most = np.max([np.nan_to_num(np.abs(one)).max(1) for one in self.arrays], 0)
            layer, unit = np.unravel_index(int(most.argmax()), shape)
            return int(layer), int(unit)
        pair = selected if isinstance(selected, tuple) else (0, selected)
        layer, unit = (as_int(one, "selected") for one in pair)
        if not (0 <= layer < shape[0] and 0 <= unit < shape[1]):
            raise IndexError(
                f"selected is a unit, or (layer, unit), of the {shape[0]} layers and {shape[1]} units given; got {selected}."
            )
        return layer, unit


def read_activations(
    values: UnitValuesLike,
    tokens: TokenTextsLike,
    layers: Sequence[object] | None,
    units: Sequence[object] | None,
    mask: MaskLike | None,
) -> Activations:
    """One form of all that is accepted. Raises `ValueError` for other shapes."""
    single = len(tokens) > 0 and isinstance(tokens[0], str)
    texts = [list(map(str, tokens))] if single else [list(map(str, text)) for text in tokens]
    if not texts or not all(texts):
        raise ValueError(
            "activations draws the tokens of one text or of several, each with at least one token."
        )
    known = None
    if isinstance(values, Mapping):
        values, known = captured(values, _only_site(values))
    arrays = _by_text(values, single, [len(text) for text in texts])
    counts = {(one.shape[0], one.shape[2]) for one in arrays}
    if len(counts) > 1 or any(one.shape[1] != len(t) for one, t in zip(arrays, texts, strict=True)):
        raise ValueError(
            "activations takes (pos, unit) or (layer, pos, unit) of one text, and an axis of texts before pos, or "
            f"a list, of several. Got the shapes {[one.shape for one in arrays[:4]]} (layer, pos, unit) and texts of "
            f"{[len(text) for text in texts[:4]]} tokens."
        )
    ((count, width),) = counts
    if count * width * sum(map(len, texts)) > _MOST or 0 in (count, width):
        raise ValueError(
            f"A figure of activations holds 1 to {_MOST:,} numbers; these are {count} layers of {width} units at "
            f"{sum(map(len, texts))} tokens. Choose units: values[..., units] with units=units, or fewer texts."
        )
    reals = _reals(mask, texts)
    given = layers if layers is not None else known
    return Activations(
        [one[:, real] for one, real in zip(arrays, reals, strict=True)],
        [
            [visible(t) for t, r in zip(text, real, strict=True) if r]
            for text, real in zip(texts, reals, strict=True)
        ],
        [np.flatnonzero(real).tolist() for real in reals],
        [""] if given is None and count == 1 else labels(given, count, "layers"),
        labels(units, width, "units"),
    )


def _by_text(values: Any, single: bool, lengths: list[int]) -> list[np.ndarray]:
    """Arrays (layer, pos, unit), one a text."""
    if not single and isinstance(values, list | tuple) and len(values) == len(lengths):
        return [_with_layers(np.asarray(one, dtype=float)) for one in values]
    array = np.asarray(values, dtype=float)
    if single:
        if array.ndim == 4 and array.shape[1] == 1:
            array = array[:, 0]
        return [_with_layers(array)]
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] != len(lengths):
        raise ValueError(
            f"Of {len(lengths)} texts, activations takes (text, pos, unit) or (layer, text, pos, unit), or a list with "
            f"an array for each; got the shape {np.shape(values)}."
        )
    return list(array.transpose(1, 0, 2, 3))


def _with_layers(array: np.ndarray) -> np.ndarray:
    if array.ndim == 1:
        array = array[:, None]
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(
            f"activations takes (pos,), (pos, unit) or (layer, pos, unit) of one text; got the shape {array.shape}."
        )
    return array


def _reals(mask: MaskLike | None, texts: list[list[str]]) -> list[np.ndarray]:
    if mask is None:
        return [np.ones(len(text), bool) for text in texts]
    rows: list[Any] = [mask] if np.ndim(mask[0]) == 0 else list(mask)  # pyright: ignore[reportIndexIssue, reportArgumentType]
    reals = [np.asarray(row, bool) for row in rows]
    if [real.shape for real in reals] != [(len(text),) for text in texts] or not all(r.any() for r in reals):
        raise ValueError(
            f"mask says of each token whether it is real, (text, pos), and each text has one; got the shapes {[real.shape for real in reals[:4]]}."
        )
    return reals


def _only_site(acts: Mapping[str, Any]) -> str:
    """The one site of captures. Raises `ValueError` where there are several."""
    sites = set()
    for name in acts:
        try:
            sites.add(parse(name)[0])
        except UnknownSite:
            continue
    if len(sites) != 1:
        raise ValueError(
            f"activations draws one site; these captures hold {', '.join(acts) or 'none'}. Choose one: acts['mlp_post']."
        )
    return sites.pop()
