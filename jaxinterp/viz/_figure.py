"""A figure is a fragment of HTML with its title, that notebooks show and `page` assembles."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from ._picture import Picture
from ._place import PAGES, PICTURES, check_page, check_parent, ending, write_whole


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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the figure as what the name ends in, whole or not at all.

        `.html`; `.svg`; and `.png`, `.pdf` and what else matplotlib writes, which needs
        `pip install "jaxinterp[viz]"`.

        **Raises:** `ValueError` for another ending, and for a picture of a figure that is text or a
        table.
        """
        kind = ending(path)
        if kind in PAGES:
            from ._page import Chapter, page

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


@functools.cache
def _environment():
    import jinja2

    from ._text import number, plain

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every text that goes in loses its control characters; what is already HTML is Markup.
        finalize=lambda value: value if hasattr(value, "__html__") else plain(str(value)),
    )
    environment.filters.update(number=number, lines=_attribute_lines)
    return environment


def _attribute_lines(text: str) -> Any:
    """Text of several lines for an attribute, escaped; a bare line break would read as a space."""
    import markupsafe

    from ._text import plain

    return markupsafe.Markup("&#10;").join(map(plain, text.split("\n")))


def render(template: str, **values: Any) -> str:
    """Fills a template of this package; every text that goes in is escaped."""
    return _environment().get_template(template).render(**values)


def write(path: str | os.PathLike[str], text: str) -> Path:
    """Writes a page (or an SVG drawing) under a name that says so, whole or not at all."""
    if not text.startswith("<svg"):
        check_page(path)
    elif ending(path) != ".svg":
        raise ValueError(f"This is an SVG drawing: write it to {str(Path(path).with_suffix('.svg'))!r}.")
    return write_whole(path, text.encode())
