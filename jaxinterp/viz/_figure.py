"""A figure: a title and a fragment of HTML, which notebooks show and `page` puts into a document."""

import dataclasses
from pathlib import Path

from ..typing import PathLike
from ._page import Chapter, page
from ._picture import Picture
from ._place import PAGES, PICTURES, check_page, check_parent, ending, write_whole
from ._render import render


@dataclasses.dataclass(frozen=True)
class Figure:
    """Self-contained HTML made from arrays: nothing in it needs the network or the model.

    A notebook shows a figure that ends a cell. `save("figure.html")` writes a page of its own, and
    `save("figure.png")` a picture, through matplotlib, of those that `viz.mpl` draws too.
    """

    title: str
    html: str = dataclasses.field(repr=False)
    svg: str | None = dataclasses.field(default=None, repr=False)
    picture: Picture | None = dataclasses.field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        return render("notebook.html", figure=self)

    def save(self, path: PathLike) -> Path:
        """Writes the figure as what the name ends in, whole or not at all.

        `.html`; `.svg`; and `.png`, `.pdf` and what else matplotlib writes, which needs
        `pip install "jaxinterp[viz]"`.

        **Raises:** `ValueError` for another ending, and for a picture of a figure that is text or a
        table.
        """
        kind = ending(path)
        if kind in PAGES:
            return write(path, page(self.title, [Chapter("", [self])]))
        if kind == ".svg" and self.svg is not None:
            return write(path, self.svg)
        page_name = str(Path(path).with_suffix(".html"))
        if kind not in PICTURES:
            raise ValueError(
                f"A figure is saved as .html, or as a picture ({', '.join(PICTURES)}); got {Path(path).name!r}. Write save({page_name!r})."
            )
        if self.picture is None:
            raise ValueError(f"This figure is not one drawing; save it as HTML: save({page_name!r}).")
        check_parent(path)  # before anything is drawn
        return write_whole(path, self.picture.draw(kind[1:]))


def write(path: PathLike, text: str) -> Path:
    """Writes a page (or an SVG drawing) under a name that says so, whole or not at all."""
    if not text.startswith("<svg"):
        check_page(path)
    elif ending(path) != ".svg":
        raise ValueError(f"This is an SVG drawing: write it to {str(Path(path).with_suffix('.svg'))!r}.")
    return write_whole(path, text.encode())
