"""Texts in rows, their tokens shaded on one scale: where a neuron or a feature fires."""

from collections.abc import Iterable, Sequence

import numpy as np

from .._text import number, plain, visible
from ..typing import ArrayLike
from ._colour import scale
from ._figure import Figure
from ._render import render


def contexts(
    rows: Iterable[tuple[str, Sequence[str], ArrayLike]],
    *,
    title: str = "",
    value: str = "activation",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws rows of text whose tokens are shaded by a value, all on one scale.

    Tokens are shown as they are: markup in them is text, and blanks and control characters are made visible. The
    pointer on a token shows its value.

    **Arguments:**

    - `rows`: a `(label, tokens, values)` for each row. A value of NaN leaves its token unshaded.
    - `title`, `caption`: the title of the figure, and a sentence below it.
    - `value`: the name of the values.
    - `diverging`, `limits`: as in `HeatmapSettings`.

    **Returns:** a `Figure`.

    ```python
    ji.viz.contexts([("first", [" the", " cat"], [0.0, 2.0]), ("second", [" a", " dog"], [0.5, 1.0])])
    ```
    """
    arrays, given = [], list(rows)
    for number_of, (_, tokens, values) in enumerate(given):
        array = np.asarray(values, float)
        if array.shape != (len(tokens),) or not len(tokens):
            raise ValueError(
                f"contexts takes one value per token; row {number_of} has {len(tokens)} tokens and values of the shape {array.shape}."
            )
        arrays.append(array)
    if not arrays:
        raise ValueError("contexts draws at least one row: (label, tokens, values).")
    ramp = scale(np.concatenate(arrays), diverging, limits)
    html = render(
        "contexts.html",
        title=title,
        caption=caption,
        value=value,
        low=number(ramp.low),
        high=number(ramp.high),
        diverging=ramp.diverging,
        rows=[
            (
                plain(label),
                [
                    (visible(token), ramp.mark(v), number(v), "\n" in token)
                    for token, v in zip(tokens, array, strict=True)
                ],
            )
            for (label, tokens, _), array in zip(given, arrays, strict=True)
        ],
    )
    return Figure(title or value, html)
