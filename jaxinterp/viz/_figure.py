"""A figure: a title and a fragment of HTML, which notebooks show and `page` puts into a document."""

import dataclasses
from pathlib import Path

from ..typing import AltairChart, PathLike, PlotlyFigure
from ._altair import to_altair
from ._exchange import exchanged
from ._page import Chapter, page
from ._picture import Picture
from ._place import PAGES, PICTURES, check_page, check_parent, ending, write_whole
from ._plotly import to_plotly
from ._render import render, scripts_of
from .mpl._axes import library


@dataclasses.dataclass(frozen=True)
class Figure:
    """Self-contained HTML made from arrays: nothing in it needs the network or the model.

    A notebook shows a figure that ends a cell. `save("figure.html")` writes a page of its own. `save("figure.png")`
    writes a picture through matplotlib, for the figures that `viz.mpl` can draw.

    ```python
    figure = ji.viz.heatmap(heat, axis_names=("layer", "position"))
    figure.save("heat.html")
    figure.save("heat.png")
    ```
    """

    title: str
    html: str = dataclasses.field(repr=False)
    svg: str | None = dataclasses.field(default=None, repr=False)
    picture: Picture | None = dataclasses.field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        return render("notebook.html", figure=self, scripts=scripts_of(self.html))

    def save(self, path: PathLike) -> Path:
        """Writes the figure in the format that the ending of the name says, whole or not at all.

        The formats are `.html`, `.svg`, and `.png`, `.pdf` and the others of matplotlib, which need
        `pip install "jaxinterp[viz]"`.

        **Returns:** the path.

        **Raises:** `ValueError` for another ending, and for a picture of a figure that is text or a
        table.
        """
        kind = ending(path)
        if kind in PAGES:
            return write(path, page(self.title, [Chapter("", [self])]))
        if kind == ".svg" and self.svg is not None:
            return write(path, self.svg)
        page_name = _check_ending(path)
        if self.picture is None:
            raise ValueError(f"This figure is not one drawing; save it as HTML: save({page_name!r}).")
        check_parent(path)  # before anything is drawn
        return write_whole(path, self.picture.draw(kind[1:]))

    def to_plotly(self) -> PlotlyFigure:
        """The figure as one of plotly, with the same numbers, labels, scale and colours.

        Heat maps, attention matrices, lens tables, curves, points and histograms are exported. Needs
        `pip install "jaxinterp[export]"`.

        **Raises:** `ValueError` for another figure, and `ImportError` where plotly is not installed.
        """
        return to_plotly(exchanged(self.picture))

    def to_altair(self) -> AltairChart:
        """The figure as a chart of altair; see `to_plotly`."""
        return to_altair(exchanged(self.picture))


def check_figure(path: PathLike) -> Path:
    """Checks that a figure can be saved under a name. Call it before a long computation.

    **Returns:** the path.

    **Raises:** ValueError where the ending is neither of a page nor of a picture, FileNotFoundError where the folder
    does not exist, ImportError for a picture that needs matplotlib where that is not installed.

    ```python
    path = ji.viz.check_figure("heat.png")
    ji.viz.heatmap(heat).save(path)
    ```
    """
    _check_ending(path)
    if ending(path) not in (*PAGES, ".svg"):
        library()
    return check_parent(path)


def _check_ending(path: PathLike) -> str:
    """The name of a page instead. Raises `ValueError` for a name that is neither of a page nor of a picture."""
    page_name = str(Path(path).with_suffix(".html"))
    if ending(path) not in (*PAGES, *PICTURES):
        raise ValueError(
            f"A figure is saved as .html, or as a picture ({', '.join(PICTURES)}); got {Path(path).name!r}. Write save({page_name!r})."
        )
    return page_name


def write(path: PathLike, text: str) -> Path:
    """Writes a page as `.html` or an SVG drawing as `.svg`, whole or not at all.

    **Arguments:**

    - `path`: the name of the file.
    - `text`: the page, such as `page` returns it, or the text of an SVG drawing.

    **Returns:** the path.

    **Raises:** ValueError for a name with another ending, FileNotFoundError where its folder does not exist.

    ```python
    ji.viz.write("report.html", ji.viz.page("Report", [ji.viz.Chapter("Effects", [ji.viz.heatmap(heat)])]))
    ```
    """
    if not text.startswith("<svg"):
        check_page(path)
    elif ending(path) != ".svg":
        raise ValueError(f"This is an SVG drawing: write it to {str(Path(path).with_suffix('.svg'))!r}.")
    return write_whole(path, text.encode())
