"""Series over one shared x, each with its colour and, where it has one, its interval."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from .._text import number
from ..typing import ArrayLike

COLOURS = ("#0b5eaa", "#be410f", "#23803a", "#8250df", "#8a5a00")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One series with its colour and, where it has one, its interval."""

    name: str
    values: np.ndarray
    colour: str
    band: tuple[np.ndarray, np.ndarray] | None

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.values, *(self.band or ()))

    def describe(self, i: int) -> str:
        text = number(self.values[i])
        return (
            text if self.band is None else f"{text} ({number(self.band[0][i])} to {number(self.band[1][i])})"
        )


def checked_curves(
    series: Mapping[str, ArrayLike],
    x: ArrayLike | None,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None,
) -> tuple[list[Curve], np.ndarray]:
    """The curves and their shared `x`. Raises `ValueError` where lengths differ."""
    curves = {name: np.asarray(values, dtype=float) for name, values in series.items()}
    sizes = {name: values.shape for name, values in curves.items()}
    if not curves or len(set(sizes.values())) > 1 or any(v.ndim != 1 or not v.size for v in curves.values()):
        raise ValueError(f"lines draws one-dimensional series of one length; got {sizes}.")
    count = next(iter(sizes.values()))[0]
    xs = np.arange(count, dtype=float) if x is None else np.asarray(x, dtype=float)
    if xs.shape != (count,):
        raise ValueError(f"x holds one value per point of the series ({count}); got the shape {xs.shape}.")
    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, band in (bands or {}).items():
        if name not in curves:
            raise ValueError(
                f"bands names {name!r}, which is no series; there are {', '.join(map(repr, curves))}."
            )
        arrays = [np.asarray(end, dtype=float) for end in band]
        if [end.shape for end in arrays] != [(count,)] * 2 or (arrays[0] > arrays[1]).any():
            raise ValueError(
                f"A band is a pair (low, high) with low <= high at each of the {count} points; that of {name!r} has the shapes {[end.shape for end in arrays]}."
            )
        ends[name] = arrays[0], arrays[1]
    colours = _cycle(len(curves))
    return [
        Curve(name, values, colour, ends.get(name))
        for (name, values), colour in zip(curves.items(), colours, strict=True)
    ], xs


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
