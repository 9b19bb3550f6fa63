"""What a lens reads at every layer and position: the top token, coloured by its probability."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._colour import scale
from ._figure import Figure, render
from ._heatmap import labels
from ._text import number, visible


def lens_table(
    tokens: Sequence[str],
    top_tokens: Any,
    probs: Any,
    *,
    layers: Sequence[object] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws a table (layer, pos) of top tokens; hovering a cell shows its best guesses.

    **Arguments:**

    - `tokens`: the text that was read, one string per position.
    - `top_tokens`: strings (layer, pos) or, best first, (layer, pos, guess).
    - `probs`: the probabilities, of the same shape.
    - `layers`: labels of the rows, from the first layer to the last; the table is drawn with the
        last layer on top, as the residual stream is usually drawn.

    **Returns:** a `Figure`.
    """
    top, probs = np.asarray(top_tokens, dtype=object), np.asarray(probs, dtype=float)
    if top.ndim == 2:
        top, probs = top[..., None], probs[..., None]
    if top.ndim != 3 or top.shape != probs.shape or top.shape[1] != len(tokens) or 0 in top.shape:
        raise ValueError(
            "lens_table takes top_tokens and probs of one shape (layer, pos) or (layer, pos, guess), "
            f"with one position per token; got {np.shape(top_tokens)}, {probs.shape} and {len(tokens)} tokens."
        )  # fmt: skip
    names = labels(layers, len(top), "layers")
    ramp = scale(probs, False, (0.0, 1.0))
    rows = [
        (
            names[layer],
            [
                (
                    visible(top[layer, pos, 0]),
                    ramp.mark(probs[layer, pos, 0]),
                    [(visible(token), number(p)) for token, p in zip(top[layer, pos], probs[layer, pos], strict=True)],
                )
                for pos in range(len(tokens))
            ],
        )
        for layer in reversed(range(len(top)))
    ]  # fmt: skip
    html = render(
        "lens_table.html",
        title=title,
        caption=caption,
        tokens=[visible(token) for token in tokens],
        rows=rows,
    )
    return Figure(title or "Lens", html)
