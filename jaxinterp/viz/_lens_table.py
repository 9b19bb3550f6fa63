"""What a lens reads at every layer and position: the top token, coloured by its probability."""

from collections.abc import Sequence

import numpy as np

from .._text import number, visible
from ..typing import ArrayLike
from . import mpl
from ._cells import labels
from ._colour import Mark
from ._figure import Figure
from ._guesses import checked_guesses
from ._picture import Picture
from ._render import render


def lens_table(
    tokens: Sequence[str],
    top_tokens: ArrayLike,
    probs: ArrayLike,
    *,
    layers: Sequence[object] | None = None,
    values: ArrayLike | None = None,
    value: str = "probability",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws a table (layer, pos) of top tokens; hovering a cell shows its best guesses.

    Cells are coloured by the probability of their top token, or by `values`: an entropy, a
    divergence from the output, the rank or probability of one token.

    **Arguments:**

    - `tokens`: the text that was read, one string per position.
    - `top_tokens`: strings (layer, pos) or, best first, (layer, pos, guess).
    - `probs`: the probabilities, of the same shape.
    - `layers`: labels of the rows, from the first layer to the last; the table is drawn with the
        last layer on top, as the residual stream is usually drawn.
    - `values`, `value`: numbers (layer, pos) to colour by, and what they are; shown on hover.
    - `diverging`, `limits`: the scale, as in `heatmap`; probabilities go from 0 to 1.

    **Returns:** a `Figure`.
    """
    options = {
        "layers": layers,
        "values": values,
        "value": value,
        "diverging": diverging,
        "limits": limits,
        "title": title,
    }
    inches = 2.5 + 0.75 * len(tokens), 1.5 + 0.3 * len(np.asarray(top_tokens))
    picture = Picture(mpl.lens_table, (tokens, top_tokens, probs), options, size=inches)
    top, probs, shade, ramp = checked_guesses(tokens, top_tokens, probs, values, diverging, limits)
    names = labels(layers, len(top), "layers")

    def cell(layer: int, pos: int) -> tuple[str, Mark, str]:
        guesses = zip(top[layer, pos], probs[layer, pos], strict=True)
        lines = [f"{names[layer]}, position {pos} ({visible(tokens[pos])})"]
        if values is not None:
            lines.append(f"{value}: {number(shade[layer, pos])}")
        lines += [f"{number(p)}  {visible(token)}" for token, p in guesses]
        return visible(top[layer, pos, 0]), ramp.mark(shade[layer, pos]), "\n".join(lines)

    html = render(
        "lens_table.html",
        title=title,
        caption=caption,
        tokens=[visible(token) for token in tokens],
        rows=[
            (names[layer], [cell(layer, pos) for pos in range(len(tokens))])
            for layer in reversed(range(len(top)))
        ],
        value=value,
        low=number(ramp.low),
        high=number(ramp.high),
        diverging=ramp.diverging,
    )
    return Figure(title or "Lens", html, picture=picture)
