"""Directions of features, panel by panel: arrows in the plane, and norms as bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._text import number
from ..typing import ArrayLike
from . import mpl
from ._colour import Scale, scale
from ._curves import COLOURS
from ._figure import Figure
from ._picture import Picture
from ._points import checked_directions
from ._render import render

_SIDE, _BARS, _HEAD, _GAP, _COLS = 112.0, 36.0, 20.0, 14.0, 5


def directions(
    panels: Mapping[str, ArrayLike],
    *,
    shade: Mapping[str, ArrayLike] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws the rows of each panel: the norms as bars, and rows of two numbers also as arrows from one point.

    Arrows of norm 1 end at the circle. The pointer on an arrow or a bar shows its numbers.

    **Arguments:**

    - `panels`: directions `(feature, dimension)` by name.
    - `shade`: numbers `(feature,)` by the same names, for instance interference. Bars are darker where they are
      larger, on one scale from 0.
    - `title`: the title of the figure.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    **Raises:** ValueError for a panel that is no matrix, and for shades of other names or sizes.

    ```python
    ji.viz.directions({"pentagon": [[1, 0], [0.31, 0.95], [-0.81, 0.59], [-0.81, -0.59], [0.31, -0.95]]})
    ```
    """
    rows, shades = checked_directions(panels, shade)
    every = np.concatenate([*shades.values()]) if shades else np.zeros(1)
    colours = scale(np.append(every, 0.0), diverging=False)
    longest = max(float(np.linalg.norm(values, axis=1).max()) for values in rows.values())
    reach = max(1.0, longest) * 1.05
    flat = any(values.shape[1] == 2 for values in rows.values())
    height = _HEAD + (_SIDE if flat else 0) + _BARS + _GAP
    drawn = []
    for i, (name, values) in enumerate(rows.items()):
        left, top = _GAP + (i % _COLS) * (_SIDE + _GAP), (i // _COLS) * height
        drawn.append(_panel(name, values, shades.get(name), colours, reach, (left, top, flat)))
    across = min(len(rows), _COLS)
    svg = render(
        "directions.svg",
        alt=f"{title or 'Directions of features'}: "
        + "; ".join(
            f"{name}, {int((np.linalg.norm(values, axis=1) > 0.5).sum())} of {len(values)} norms above 1/2"
            for name, values in rows.items()
        )
        + ".",
        title=title or "Directions of features",
        panels=drawn,
        side=_SIDE,
        unit=_SIDE / 2 / reach,
        width=_GAP + across * (_SIDE + _GAP),
        height=height * -(-len(rows) // _COLS),
    )
    html = render("directions.html", title=title, caption=caption, svg=svg)
    options = {"shade": shade, "title": title}
    picture = Picture(mpl.directions, (panels,), options, len(rows), (2.4, 2.6), several=True)
    return Figure(title or "Directions of features", html, svg=svg, picture=picture)


def _panel(
    name: str,
    values: np.ndarray,
    shade: np.ndarray | None,
    colours: Scale,
    reach: float,
    place: tuple[float, float, bool],
) -> dict[str, Any]:
    left, top, flat = place
    norms = np.linalg.norm(values, axis=1)
    middle = (left + _SIDE / 2, top + _HEAD + _SIDE / 2)
    unit, floor = _SIDE / 2 / reach, top + _HEAD + (_SIDE if flat else 0) + _BARS
    tips = [
        f"{name}, feature {i}: norm {number(norm)}"
        + ("" if shade is None else f", interference {number(shade[i])}")
        for i, norm in enumerate(norms)
    ]
    marks = [colours.mark(one) for one in (norms * 0 if shade is None else shade)]
    step = _SIDE / len(values)
    bars = [
        {
            "x": round(left + i * step, 2),
            "y": round(floor - _BARS * norm / reach, 2),
            "width": round(max(step * 0.8, 0.3), 2),
            "height": round(_BARS * norm / reach, 2),
            "mark": marks[i],
            "tip": tips[i],
        }
        for i, norm in enumerate(norms)
    ]
    arrows = [
        (round(middle[0] + unit * x, 1), round(middle[1] - unit * y, 1), i % len(COLOURS), tips[i])
        for i, (x, y) in enumerate(values if values.shape[1] == 2 else ())
    ]
    return {
        "name": name,
        "left": left,
        "top": top,
        "middle": middle if arrows else None,
        "arrows": [(x, y, c, COLOURS[c], tip) for x, y, c, tip in arrows],
        "bars": bars,
        "floor": floor,
    }
