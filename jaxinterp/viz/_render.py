"""Templates of this package, filled: the one place where text becomes HTML or SVG."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import number, plain

if TYPE_CHECKING:
    import jinja2
    import markupsafe


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Control characters of every text are made visible; what is already HTML is Markup.
        finalize=lambda value: value if hasattr(value, "__html__") else plain(str(value)),
    )
    environment.filters.update(number=number, lines=_attribute_lines)
    return environment


def _attribute_lines(text: str) -> "markupsafe.Markup":
    """Text of several lines for an attribute, escaped; a bare line break would read as a space."""
    import markupsafe

    return markupsafe.Markup("&#10;").join(map(plain, text.split("\n")))


def render(template: str, **values: Any) -> str:
    """Fills a template of this package; every text that goes in is escaped."""
    return _environment().get_template(template).render(**values)
