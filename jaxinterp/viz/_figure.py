"""A figure is a fragment of HTML with its title, that notebooks show and `page` assembles."""

import dataclasses
import functools
import os
import tempfile
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Figure:
    """Self-contained HTML made from arrays: nothing in it needs the network or the model.

    A notebook shows a figure that ends a cell. `save("figure.html")` writes a page of its own;
    figures that are one drawing (`heatmap`, `lines`) also `save("figure.svg")`.
    """

    title: str
    html: str = dataclasses.field(repr=False)
    svg: str | None = dataclasses.field(default=None, repr=False)

    def _repr_html_(self) -> str:
        return render("notebook.html", figure=self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the figure as `.html` or `.svg`, whole or not at all."""
        if Path(path).suffix != ".svg":
            from ._page import Chapter, page

            return write(path, page(self.title, [Chapter("", [self])]))
        if self.svg is None:
            raise ValueError(f"This figure is more than one drawing; save it as HTML: save({str(Path(path).with_suffix('.html'))!r}).")  # fmt: skip
        return write(path, self.svg)


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
        finalize=lambda value: plain(value) if type(value) is str else value,
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
    """Writes a file by renaming a finished one into place, so that no reader sees half of it."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into. Create it first.")  # fmt: skip
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path
