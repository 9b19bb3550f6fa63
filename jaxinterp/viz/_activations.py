"""Texts coloured by the activations of a unit: a neuron or a feature, chosen by the reader."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._text import number
from ..typing import IntLike, MaskLike, TokenTextsLike, UnitValuesLike
from ._activation_arrays import Activations, read_activations
from ._colour import scale
from ._figure import Figure
from ._render import render

_ABSENT = -32768
_LARGEST = 32767


def activations(
    values: UnitValuesLike,
    tokens: TokenTextsLike,
    *,
    layers: Sequence[object] | None = None,
    units: Sequence[object] | None = None,
    mask: MaskLike | None = None,
    selected: IntLike | tuple[int, int] | None = None,
    value: str = "activation",
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws texts whose tokens are coloured by the activation of one unit, a neuron or a feature.

    The reader chooses the unit and its layer. One list names the tokens on which the unit fires most
    strongly; another names the units that fire most strongly at the chosen token. A click on an entry chooses it.

    **Arguments:**

    - `values`: `(pos, unit)` or `(layer, pos, unit)` of one text; `(text, pos, unit)`,
      `(layer, text, pos, unit)` or a list of arrays, of several texts; or the captures of one site by `ji.run`.
    - `tokens`: the strings of one text, or of each text.
    - `layers`, `units`: their names; numbers by default, and the layers of captures.
    - `mask`: `(pos,)` or `(text, pos)`, True at real tokens; padding is left out.
    - `selected`: the unit that is shown at first, or `(layer, unit)`, counted along the axes given. By
      default the one that fires most strongly.
    - `value`: the name of the numbers.
    - `title`, `caption`: the title of the figure, and a sentence below it.

    **Returns:** a `Figure`. Numbers in it have five digits.

    **Raises:** ValueError for other shapes, and for more than four million numbers.

    ```python
    _, acts = ji.run(model, tokens, capture="mlp_post")
    ji.viz.activations(acts, tokenizer.tokens(tokens), value="neuron")
    _, acts = ji.run(model, tokens, capture=["resid_post[2]"])
    features = ji.sae.load("tiny").encode(acts["resid_post[2]"])[:, [7, 8]]
    ji.viz.activations(features, tokenizer.tokens(tokens), units=[7, 8])
    ```
    """
    read = read_activations(values, tokens, layers, units, mask)
    layer, unit = read.chosen(selected)
    shown = [one[layer, :, unit] for one in read.arrays]
    ramp = scale(np.concatenate(shown))
    html = render(
        "activations.html",
        title=title,
        caption=caption,
        value=value,
        layers=read.layers if len(read.layers) > 1 else [],
        layer=layer,
        unit=unit,
        count=len(read.units),
        named=units is not None,
        name=read.units[unit],
        low=number(ramp.low),
        high=number(ramp.high),
        diverging=ramp.diverging,
        texts=[
            [
                (token, ramp.mark(v), f"{pos}: {number(v)}", "↵" in token)
                for token, v, pos in zip(text, one, places, strict=True)
            ]
            for text, one, places in zip(read.texts, shown, read.positions, strict=True)
        ],
        data=_packed(read) | {"value": value, "named": units is not None},
    )
    return Figure(title or value, html)


def _packed(read: Activations) -> dict[str, Any]:
    """All numbers as 16-bit shares of the largest of their unit: (layer, unit, token of all texts)."""
    every = np.concatenate(read.arrays, 1).swapaxes(1, 2)
    most = np.max(np.abs(np.where(np.isfinite(every), every, 0)), -1)
    shares = every / np.where(most > 0, most, 1)[..., None] * _LARGEST
    whole = np.where(np.isfinite(every), np.rint(np.nan_to_num(shares)), _ABSENT).astype("<i2")
    return {
        "texts": read.texts,
        "positions": read.positions,
        "layers": read.layers,
        "units": read.units,
        "most": [[float(f"{one:.6g}") for one in row] for row in most],
        "shares": base64.b64encode(whole.tobytes()).decode(),
    }
