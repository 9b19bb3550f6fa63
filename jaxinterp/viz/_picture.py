"""A figure as a picture: the same arguments, drawn by the function of that name in `viz.mpl`."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Picture:
    """A call of `viz.mpl` that waits to be made: `name(*arguments, **options)`.

    `panels` are the axes that it draws on, at most four in a row; `size` of each is in inches.
    """

    name: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    panels: int = 1
    size: tuple[float, float] = (6.4, 4.0)

    def draw(self, kind: str) -> bytes:
        """The file of a picture, of a kind such as "png" or "pdf"."""
        from . import mpl
        from .mpl._axes import library

        matplotlib = library()
        cols = min(self.panels, 4)
        rows = -(-self.panels // cols)
        figure = matplotlib.figure.Figure(
            figsize=(self.size[0] * cols, self.size[1] * rows), layout="constrained"
        )
        found = list(figure.subplots(rows, cols, squeeze=False).flat)
        for unused in found[self.panels :]:
            unused.remove()
        ax = found[: self.panels] if self.name in ("heatmaps", "attention") else found[0]
        getattr(mpl, self.name)(*self.arguments, ax=ax, **self.options)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=160)
        return file.getvalue()
