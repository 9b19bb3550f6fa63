"""Charts of altair from the numbers of a figure."""

import json
from typing import Any

import numpy as np

from ._exchange import Plain, PlainGrids, PlainSeries, required


def to_altair(plain: Plain) -> Any:
    """A chart of altair with the same numbers, labels, scale and colours."""
    alt = required("altair")
    chart = _grids(plain, alt) if isinstance(plain, PlainGrids) else _series(plain, alt)
    return chart.properties(title=plain.title) if plain.title else chart


def _grids(plain: PlainGrids, alt: Any) -> Any:
    rows = [
        {
            "panel": name,
            "row": i,
            "col": j,
            "value": float(v) if np.isfinite(v) else None,
            "text": plain.texts[name][i][j],
            "tip": plain.tips[name][i][j],
            "ink": plain.ramp.mark(v).ink,
        }
        for name, values in plain.panels.items()
        for (i, j), v in np.ndenumerate(values)
    ]
    low, high = plain.ramp.low, plain.ramp.high
    steps = np.linspace(low, high, 17).tolist()
    colours = alt.Scale(domain=steps, range=[plain.ramp.mark(v).hex for v in steps], clamp=True)
    base = alt.Chart().encode(
        x=alt.X("col:O", title=plain.axis_names[1], axis=_axis(plain.cols, alt)),
        y=alt.Y(
            "row:O",
            title=plain.axis_names[0],
            axis=_axis(plain.rows, alt),
            sort="descending" if plain.upwards else "ascending",
        ),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", scale=colours, title=plain.value), tooltip=alt.Tooltip("tip:N", title=" ")
    )
    text = base.mark_text(fontSize=9).encode(text="text:N", color=alt.Color("ink:N", scale=None))
    size = {"width": alt.Step(38), "height": alt.Step(24)}
    layers = alt.layer(cells, text).resolve_scale(color="independent").properties(**size)
    data = alt.Data(values=rows)
    if len(plain.panels) == 1:
        return layers.properties(data=data)
    order = list(plain.panels)
    return layers.facet(column=alt.Column("panel:N", title=None, sort=order), data=data)


def _series(plain: PlainSeries, alt: Any) -> Any:
    rows = [
        {"name": name, "x": float(x), "y": float(y)}
        | {end: float(ends[i]) for end, ends in zip(("low", "high"), plain.ends.get(name, ()), strict=False)}
        for name, ys in plain.y.items()
        for i, (x, y) in enumerate(zip(plain.x[name], ys, strict=True))
        if np.isfinite(y)
    ]
    rows = [{key: value for key, value in row.items() if value == value} for row in rows]  # no NaN in JSON
    colour = alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=list(plain.colours), range=list(plain.colours.values())),
        legend=alt.Legend() if len(plain.y) > 1 else None,
    )
    across = alt.Scale(type="log" if plain.log else "linear", zero=False)
    x = alt.X("low:Q" if plain.kind == "bars" else "x:Q", title=plain.axis_names[0], scale=across)
    tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", title=plain.axis_names[0]), alt.Tooltip("y:Q")]
    height = alt.Y("y:Q", title=plain.axis_names[1], axis=_levels(plain, alt))
    base = alt.Chart(alt.Data(values=rows)).encode(color=colour, tooltip=tips)
    if plain.kind == "bars":
        parts = [
            base.mark_bar(opacity=0.5).encode(
                x=x, x2="high:Q", y=alt.Y("y:Q", stack=None, title=plain.axis_names[1])
            )
        ]
    elif plain.kind == "points":
        parts = [base.mark_point().encode(x=x, y=height)]
    else:
        band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.18)
        parts = [band.encode(x=x, y="low:Q", y2="high:Q")] if plain.ends else []
        parts.append(base.mark_line(point=True).encode(x=x, y=height))
    if plain.marks:
        places = alt.Data(values=[{"x": float(at), "name": name} for name, at in plain.marks.items()])
        rule = alt.Chart(places).mark_rule(strokeDash=[4, 3], color="#6e7781")
        parts.append(rule.encode(x="x:Q", tooltip=alt.Tooltip("name:N")))
    return alt.layer(*parts)


def _axis(names: list[str], alt: Any) -> Any:
    """Labels by number: two equal tokens are two places."""
    return alt.Axis(
        labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
        labelAngle=0 if max(map(len, names)) < 4 else -45,
    )


def _levels(plain: PlainSeries, alt: Any) -> Any:
    if not plain.levels:
        return alt.Axis()
    names = json.dumps({str(float(at)): name for name, at in plain.levels.items()}, ensure_ascii=False)
    values = [float(at) for at in plain.levels.values()]
    return alt.Axis(values=values, labelExpr=f"{names}[datum.value] || datum.label")
