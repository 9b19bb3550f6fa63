"""Attention of many heads: small pictures to choose from, and the chosen one large or as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._text import number, shorten, width
from ..typing import IntLike, MaskLike, PatternLike
from . import mpl
from ._colour import scale
from ._figure import Figure
from ._packed import packed_pattern, png
from ._pattern import Pattern, read_pattern
from ._picture import Picture
from ._render import render

_CHAR, _LABEL, _PANELS = 6.7, 14, 16


def attention(
    pattern: PatternLike,
    tokens: Sequence[str],
    *,
    heads: Sequence[object] | None = None,
    layers: Sequence[object] | None = None,
    mask: MaskLike | None = None,
    selected: IntLike | tuple[int, int] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws attention weights as matrices: one small picture per head, the chosen head large.

    **Arguments:**

    - `pattern`: weights between 0 and 1 of one prompt, `(query, key)`, `(head, query, key)` or
      `(layer, head, query, key)`; or the captures of `pattern` by `ji.run`, which name their layers.
    - `tokens`: the prompt, one string per position.
    - `heads`, `layers`: names; numbers by default, and the layers of the captures.
    - `mask`: `(pos,)`, True at real tokens; padding is left out.
    - `selected`: which head is large at first: an index, or `(layer, head)`; by default the one that
      attends most sharply. A click on a small picture changes it.
    - `title`, `caption`: the title of the figure, and a sentence below it.

    **Returns:** a `Figure`. The pointer and the arrow keys show query, key and weight.

    **Raises:** ValueError for another shape, with the shapes that fit.

    ```python
    _, acts = ji.run(model, tokens, capture="pattern")
    ji.viz.attention(acts, tokenizer.tokens(tokens))
    ```
    """
    read = read_pattern(pattern, tokens, heads, layers, mask)
    head, count = read.chosen(selected), len(read.tokens)
    cell = float(np.clip(560 / count, 7, 26))
    every = max(1, int(np.ceil(11 / cell)))  # labels must not overlap: leave some out
    short = [shorten(token, _LABEL) if i % every == 0 else "" for i, token in enumerate(read.tokens)]
    side = cell * count
    margin = 12 + _CHAR * max(map(width, short))
    html = render(
        "attention.html",
        title=title,
        caption=caption,
        chooser=_chooser(read, head, every_layer=True),
        cell=cell,
        side=side,
        left=margin,
        above=10 + 0.71 * margin,
        width=margin + side + 0.71 * margin,
        short=short,
        data=_data(read) | {"cell": cell},
    )
    return Figure(title or "Attention", html, picture=_picture(read, head))


def attention_text(
    pattern: PatternLike,
    tokens: Sequence[str],
    *,
    heads: Sequence[object] | None = None,
    layers: Sequence[object] | None = None,
    mask: MaskLike | None = None,
    selected: IntLike | tuple[int, int] | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws the prompt as text, coloured by the attention from and to a chosen token.

    The pointer, the arrow keys and a click choose a token. Tokens that it attends to are blue, and tokens
    that attend to it are orange. Heads are chosen by small pictures of their weights, by layer. Where several
    heads are chosen, their mean is shown.

    **Arguments:** those of `attention`; `selected` is the head that is shown at first.

    **Returns:** a `Figure`.

    **Raises:** ValueError for another shape, with the shapes that fit.

    ```python
    _, acts = ji.run(model, tokens, capture="pattern")
    ji.viz.attention_text(acts, tokenizer.tokens(tokens), selected=(1, 3))
    ```
    """
    read = read_pattern(pattern, tokens, heads, layers, mask)
    head, last = read.chosen(selected), len(read.tokens) - 1
    ramp = scale(read.weights, False, (0.0, 1.0))
    html = render(
        "attention_text.html",
        title=title,
        caption=caption,
        chooser=_chooser(read, head, every_layer=False),
        # What shows before the script runs: the last token, and what it attends to.
        tokens=[
            (text, ramp.mark(weight), f"{pos}: {number(weight)}", "↵" in text)
            for text, pos, weight in zip(read.tokens, read.positions, read.weights[head, last], strict=True)
        ],
        last=last,
        data=_data(read),
    )
    return Figure(title or "Attention", html, picture=_picture(read, head))


def _data(read: Pattern) -> dict[str, Any]:
    names = {"tokens": read.tokens, "positions": read.positions, "names": read.heads}
    return names | packed_pattern(read.weights)


def _chooser(read: Pattern, head: int, *, every_layer: bool) -> dict[str, Any]:
    """The small pictures, grouped by layer; all layers at first, or that of the chosen head."""
    names = list(dict.fromkeys(read.layers))
    return {
        "layers": names if len(names) > 1 else [],
        "shown": "" if every_layer or len(names) == 1 else read.layers[head],
        "heads": list(zip(read.heads, read.layers, map(png, read.weights), strict=True)),
        "selected": head,
        "side": 72 if len(read.heads) <= 16 else 48,
    }


def _picture(read: Pattern, head: int) -> Picture:
    """Every head beside the others, or the chosen one alone where they are too many for that."""
    side = 1.2 + float(np.clip(0.16 * len(read.tokens), 1.6, 6.0))
    count = len(read.heads)
    if count > _PANELS:
        chosen = (read.weights[head], read.tokens)
        return Picture(mpl.attention, chosen, {"title": read.heads[head]}, size=(side, side))
    return Picture(
        mpl.attention, (read.weights, read.tokens), {"heads": read.heads}, count, (side, side), True
    )
