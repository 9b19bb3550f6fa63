"""Several sets of curves over one axis, as panels of one drawing."""

from collections.abc import Mapping

from .._text import number
from ..typing import ArrayLike, IntLike
from ._curves import checked_curves
from ._figure import Figure
from ._lines import lines
from ._render import render

_W, _H, _HEAD = 640, 240, 40


def line_panels(
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    x: ArrayLike | None = None,
    title: str = "",
    x_axis: str = "x",
    y_axes: Mapping[str, str] | None = None,
    bands: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]] | None = None,
    log: bool = False,
    columns: IntLike = 2,
    caption: str = "",
) -> Figure:
    """Draws curves in several panels over the same `x`, each with its title and a legend.

    **Arguments:**

    - `panels`: series `{name: (point,)}` by the title of the panel.
    - `x`, `x_axis`, `log`: as in `lines`, shared by all panels.
    - `title`, `caption`: the title of the figure, and a sentence below it.
    - `y_axes`: the name of the vertical axis of a panel, by the panel's title; "y" by default.
    - `bands`: intervals as in `lines`, by the panel's title.
    - `columns`: how many panels stand side by side; 2 by default.

    **Returns:** a `Figure`.

    **Raises:** ValueError for no panel and for `y_axes` or `bands` of an unknown panel; the errors of `lines`.

    ```python
    ji.viz.line_panels({"loss": {"English": [3.0, 2.0]}, "heads": {"induction": [0.0, 0.9]}}, x_axis="step")
    ```
    """
    unknown = [name for name in (*(y_axes or {}), *(bands or {})) if name not in panels]
    if not panels or unknown:
        raise ValueError(
            f"line_panels draws panels by their titles, {', '.join(map(repr, panels)) or 'and there is none'}"
            + (f"; {unknown[0]!r} is none of them." if unknown else ".")
        )
    drawn = []
    for place, (name, series) in enumerate(panels.items()):
        down, across = divmod(place, int(columns))
        own = (bands or {}).get(name)
        figure = lines(
            series, x=x, title=name, x_axis=x_axis, y_axis=(y_axes or {}).get(name, "y"), bands=own, log=log
        )
        key, left = [], 52
        for curve in checked_curves(series, x, own)[0]:
            key.append((left, curve.colour, curve.name))
            left += 22 + 7 * len(curve.name)
        drawn.append((across * _W, down * (_H + _HEAD), name, key, figure.svg))
    wide = min(int(columns), len(drawn))
    width, height = wide * _W, -(-len(drawn) // int(columns)) * (_H + _HEAD)
    alt = f"{title or x_axis}: {number(len(drawn))} panels, {', '.join(panels)}."
    svg = render("line_panels.svg", alt=alt, title=title, drawn=drawn, width=width, height=height, head=_HEAD)
    html = render("line_panels.html", title=title, caption=caption, svg=svg)
    return Figure(title or "panels", html, svg=svg)
