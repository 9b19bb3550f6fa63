"""What a figure draws, as plain numbers and labels: what it is exported from."""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .._text import number
from . import mpl
from ._bins import bin_shares
from ._cells import Cells, CellText, cells, labels, numbers_inside, panels
from ._colour import Scale, scale
from ._curves import COLOURS, Curve, checked_curves
from ._guesses import read_guesses
from ._pattern import read_pattern
from ._picture import Picture
from ._points import checked_points


@dataclasses.dataclass(frozen=True)
class PlainGrids:
    """Matrices (row, col) by name, with one scale: `texts` stand in their cells, `tips` are shown on hover."""

    panels: dict[str, np.ndarray]
    texts: dict[str, list[list[str]]]
    tips: dict[str, list[list[str]]]
    rows: list[str]
    cols: list[str]
    axis_names: tuple[str, str]
    value: str
    title: str
    ramp: Scale
    upwards: bool = False
    "Whether the first row is at the bottom."


@dataclasses.dataclass(frozen=True)
class PlainSeries:
    """Curves, points or histograms: for each name x and y, the ends of an interval or of a bin, and a colour."""

    kind: str
    "`lines`, `points` or `bars`."
    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    ends: dict[str, tuple[np.ndarray, np.ndarray]]
    colours: dict[str, str]
    axis_names: tuple[str, str]
    title: str
    log: bool = False
    marks: Mapping[str, float | int] = dataclasses.field(default_factory=dict)
    levels: Mapping[str, float | int] = dataclasses.field(default_factory=dict)


Plain: TypeAlias = PlainGrids | PlainSeries


def exchanged(picture: Picture | None) -> Plain:
    """The numbers of a figure. Raises `ValueError` for one that is text, a table or a graph."""
    read = None if picture is None else _READERS.get(picture.function)
    if picture is None or read is None:
        raise ValueError(
            "Heat maps, attention matrices, lens tables, curves, points and histograms are exported; this figure is "
            "none of these. Save it as HTML: save('figure.html')."
        )
    bound = inspect.signature(picture.function).bind(*picture.arguments, **picture.options)
    bound.apply_defaults()
    return read(bound.arguments)


def required(package: str, module: str = "") -> Any:
    """A module of an optional package. Raises `ImportError` that says how to get it."""
    try:
        return importlib.import_module(f"{package}{module}")
    except ImportError as error:
        raise ImportError(
            f'Exporting to {package} needs it: pip install "jaxinterp[export]". Without it, '
            "figure.save('figure.html') writes a page, and figure.save('figure.svg') a drawing."
        ) from error


def _grids(call: Mapping[str, Any]) -> PlainGrids:
    several = isinstance(call["values"], Mapping)
    drawn = panels(call["values"], call["marks"]) if several else {"": cells(call["values"], call["marks"])}
    settings = call["settings"]
    ramp = scale(np.concatenate([one.values for one in drawn.values()]), settings.diverging, settings.limits)
    shape = next(iter(drawn.values())).values.shape
    rows, cols = labels(call["rows"], shape[0], "rows"), labels(call["cols"], shape[1], "cols")
    names, form = call["axis_names"], numbers_inside(list(drawn.values()), ramp)
    value = call["value"] + (f", cells in units of {form.unit}" if form is not None and form.unit else "")

    def tip(one: Cells, row: int, col: int) -> str:
        return f"{names[0]} {rows[row]}, {names[1]} {cols[col]}: {one.describe(row, col, settings.mark)}"

    return PlainGrids(
        {name: one.values for name, one in drawn.items()},
        {name: _written(one.values, form) for name, one in drawn.items()},
        {
            name: [[tip(one, i, j) for j in range(shape[1])] for i in range(shape[0])]
            for name, one in drawn.items()
        },
        rows,
        cols,
        names,
        value,
        call.get("title", ""),
        ramp,
    )


def _written(values: np.ndarray, form: CellText | None) -> list[list[str]]:
    return [["" if form is None else form.inside(float(v)) for v in row] for row in values]


def _attention(call: Mapping[str, Any]) -> PlainGrids:
    read = read_pattern(call["pattern"], call["tokens"], call["heads"], call["layers"], call["mask"])
    every = dict(zip(read.heads, read.weights, strict=True))
    tips = {
        name: [
            [f"{read.tokens[i]} reads {read.tokens[j]}: {number(w)}" for j, w in enumerate(row)]
            for i, row in enumerate(head)
        ]
        for name, head in every.items()
    }
    empty = {name: _written(head, None) for name, head in every.items()}
    ramp = scale(read.weights, False, (0.0, 1.0))
    return PlainGrids(
        every, empty, tips, read.tokens, read.tokens, ("query", "key"), "weight", call["title"], ramp
    )


def _lens(call: Mapping[str, Any]) -> PlainGrids:
    given = call["tokens"], call["read"], call["probs"], call["tokenizer"], call["layers"], call["values"]
    found = read_guesses(*given, call["value"], None, call["settings"])
    tips = [
        [
            "; ".join(f"{p} {number(q)}" for p, q in zip(*pair, strict=True))
            for pair in zip(*rows, strict=True)
        ]
        for rows in zip(found.top, found.probs, strict=True)
    ]
    texts = found.top[..., 0].tolist()
    axes = found.corner, "token"
    return PlainGrids(
        {"": found.shade},
        {"": texts},
        {"": tips},
        found.layers,
        found.tokens,
        axes,
        found.value,
        call["title"],
        found.ramp,
        upwards=True,
    )


def _lines(call: Mapping[str, Any]) -> PlainSeries:
    curves, xs = checked_curves(call["series"], call["x"], call["bands"])
    axes = call["x_axis"], call["y_axis"]
    bands: dict[str, Any] = {one.name: one.band for one in curves if one.band is not None}
    return PlainSeries(
        "lines",
        {one.name: xs for one in curves},
        {one.name: one.values for one in curves},
        bands,
        _colours(curves),
        axes,
        call["title"],
        call["log"],
        call["marks"] or {},
    )


def _colours(curves: list[Curve]) -> dict[str, str]:
    return {one.name: one.colour for one in curves}


def _points(call: Mapping[str, Any]) -> PlainSeries:
    points, _ = checked_points(call["series"], call["log"])
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(points)}
    x, y = ({name: pairs[:, axis] for name, pairs in points.items()} for axis in range(2))
    axes = call["x_axis"], call["y_axis"]
    return PlainSeries(
        "points", x, y, {}, colours, axes, call["title"], call["log"], {}, call["levels"] or {}
    )


def _bars(call: Mapping[str, Any]) -> PlainSeries:
    shares, ends = bin_shares(call["counts"], call["edges"])
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(shares)}
    middle, sides = (ends[:-1] + ends[1:]) / 2, (ends[:-1], ends[1:])
    return PlainSeries(
        "bars",
        dict.fromkeys(shares, middle),
        shares,
        dict.fromkeys(shares, sides),
        colours,
        (call["x_axis"], call["y_axis"]),
        call["title"],
        False,
        call["marks"] or {},
    )


_READERS = {
    mpl.heatmap: _grids,
    mpl.heatmaps: _grids,
    mpl.attention: _attention,
    mpl.lens_table: _lens,
    mpl.lines: _lines,
    mpl.scatter: _points,
    mpl.histogram: _bars,
}
