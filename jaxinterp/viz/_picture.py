"""A figure as a picture: the same arguments, drawn by the function of that name in `viz.mpl`."""

import dataclasses
import io
from collections.abc import Callable, Mapping
from typing import Any

from .mpl._axes import library


@dataclasses.dataclass(frozen=True)
class Picture:
    """A call of a function of `viz.mpl` that is made when a file is written.

    - `function`, `arguments`, `options`: the call `function(*arguments, ax=..., **options)`.
    - `panels`: the number of axes that it draws on, at most four in a row.
    - `size`: of one panel, width and height in inches.
    - `several`: whether the function takes a list of axes, not one.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    panels: int = 1
    size: tuple[float, float] = (6.4, 4.0)
    several: bool = False

    def draw(self, kind: str) -> bytes:
        """The contents of a file of a kind such as "png" or "pdf"."""
        matplotlib = library()
        cols = min(self.panels, 4)
        rows = -(-self.panels // cols)
        figure = matplotlib.figure.Figure(
            figsize=(self.size[0] * cols, self.size[1] * rows), layout="constrained"
        )
        panels = list(figure.subplots(rows, cols, squeeze=False).flat)
        for unused in panels[self.panels :]:
            unused.remove()
        ax = panels[: self.panels] if self.several else panels[0]
        self.function(*self.arguments, ax=ax, **self.options)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=160)
        return file.getvalue()
