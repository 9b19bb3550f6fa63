"""Figures of plotly from the numbers of a figure."""

import html
from typing import Any

import numpy as np

from ._exchange import Plain, PlainGrids, PlainSeries, required


def to_plotly(plain: Plain) -> Any:
    """A `plotly.graph_objects.Figure` with the same numbers, labels, scale and colours."""
    go = required("plotly", ".graph_objects")
    figure = _grids(plain, go) if isinstance(plain, PlainGrids) else _series(plain, go)
    return figure.update_layout(title=_text(plain.title) or None, template="plotly_white")


def _grids(plain: PlainGrids, go: Any) -> Any:
    names = list(plain.panels)
    make = required("plotly", ".subplots").make_subplots
    figure = make(1, len(names), subplot_titles=[_text(name) for name in names] if any(names) else None)
    steps = np.linspace(0, 1, 33)
    colours = [
        [float(s), plain.ramp.mark(plain.ramp.low + s * (plain.ramp.high - plain.ramp.low)).hex]
        for s in steps
    ]
    for place, name in enumerate(names, 1):
        trace = go.Heatmap(
            z=[[None if not np.isfinite(v) else float(v) for v in row] for row in plain.panels[name]],
            text=_escaped(plain.texts[name]),
            texttemplate="%{text}",
            hovertext=_escaped(plain.tips[name]),
            hoverinfo="text",
            zmin=plain.ramp.low,
            zmax=plain.ramp.high,
            colorscale=colours,
            showscale=place == len(names),
            colorbar={"title": {"text": _text(plain.value), "side": "right"}},
            xgap=1,
            ygap=1,
        )
        figure.add_trace(trace, 1, place)
        figure.update_xaxes(title=_text(plain.axis_names[1]), row=1, col=place, **_ticks(plain.cols))
        shown = {"title": _text(plain.axis_names[0])} if place == 1 else {}
        turned = {} if plain.upwards else {"autorange": "reversed"}
        figure.update_yaxes(row=1, col=place, **shown, **turned, **_ticks(plain.rows))
    return figure


def _series(plain: PlainSeries, go: Any) -> Any:
    figure = go.Figure()
    for name, y in plain.y.items():
        x, colour, label = plain.x[name].tolist(), plain.colours[name], _text(name)
        values = [None if not np.isfinite(v) else float(v) for v in y]
        if plain.kind == "bars":
            low, high = plain.ends[name]
            widths = (high - low).tolist()
            figure.add_trace(
                go.Bar(x=x, y=values, width=widths, name=label, marker_color=colour, opacity=0.5)
            )
            continue
        if name in plain.ends:
            low, high = (end.tolist() for end in plain.ends[name])
            edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            figure.add_trace(go.Scatter(x=x, y=low, **edge))
            shade = f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, 0.18)"
            figure.add_trace(go.Scatter(x=x, y=high, fill="tonexty", fillcolor=shade, **edge))
        mode = "markers" if plain.kind == "points" else "lines"
        figure.add_trace(
            go.Scatter(x=x, y=values, mode=mode, name=label, marker_color=colour, line_color=colour)
        )
    for name, at in plain.marks.items():
        figure.add_vline(x=float(at), line_dash="dash", line_color="#6e7781")
        place = float(np.log10(at)) if plain.log else float(at)  # annotations count decades on such an axis
        figure.add_annotation(x=place, y=1, yref="paper", xanchor="left", text=_text(name), showarrow=False)
    figure.update_xaxes(title=_text(plain.axis_names[0]), type="log" if plain.log else "linear")
    levels = {"tickvals": list(plain.levels.values()), "ticktext": [_text(name) for name in plain.levels]}
    figure.update_yaxes(title=_text(plain.axis_names[1]), **(levels if plain.levels else {}))
    return figure.update_layout(barmode="overlay", showlegend=len(plain.y) > 1)


def _ticks(names: list[str]) -> dict[str, Any]:
    """Places of labels by number: two equal tokens are two places."""
    return {"tickvals": list(range(len(names))), "ticktext": [_text(name) for name in names]}


def _escaped(rows: list[list[str]]) -> list[list[str]]:
    return [[_text(text) for text in row] for row in rows]


def _text(text: str) -> str:
    """Plotly reads some markup in text."""
    return html.escape(text, quote=False)
