"""A text whose tokens are shaded by a number each."""

from collections.abc import Sequence

import numpy as np

from .._text import number, visible
from ..typing import ArrayLike
from ._colour import scale
from ._figure import Figure
from ._render import render


def token_strip(
    tokens: Sequence[str],
    values: ArrayLike,
    *,
    title: str = "",
    value: str = "value",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws tokens as running text, each shaded by its value. The pointer on a token shows position and value.

    **Arguments:**

    - `tokens`: the strings of the tokens.
    - `values`: numbers `(pos,)`. NaN leaves a token unshaded.
    - `title`, `caption`: the title of the figure, and a sentence below it.
    - `value`: the name of the values.
    - `diverging`, `limits`: as in `HeatmapSettings`.

    **Returns:** a `Figure`.

    ```python
    loss = ji.lens.summary(model, tokens).cross_entropy[-1]
    ji.viz.token_strip(tokenizer.tokens(tokens)[1:], loss[:-1], value="nats")
    ```
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(tokens),) or not len(tokens):
        raise ValueError(
            f"token_strip takes one value per token; got {len(tokens)} tokens and values of the shape {values.shape}."
        )
    ramp = scale(values, diverging, limits)
    html = render(
        "token_strip.html",
        title=title,
        caption=caption,
        value=value,
        low=number(ramp.low),
        high=number(ramp.high),
        diverging=ramp.diverging,
        tokens=[
            # A line break is shown and also breaks the line, so that code and verse stay readable.
            (visible(token), ramp.mark(v), f"{pos}: {number(v)}", "\n" in token)
            for pos, (token, v) in enumerate(zip(tokens, values, strict=True))
        ],
    )
    return Figure(title or value, html)
