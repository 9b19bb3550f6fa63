"""Templates of this package, filled: the one place where text becomes HTML or SVG."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import number, plain
from ._contrast import flips

if TYPE_CHECKING:
    import jinja2
    import markupsafe


_SCRIPTS = {
    'class="ji-attention': "attention.js",
    'class="ji-activations"': "activations.js",
    'class="ji-graph"': "graph.js",
    " data-sort>": "records.js",
    'class="ji-code"': "code.js",
}
"What stands in a figure that needs a script."


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
    environment.globals.update(flips=flips())
    environment.filters.update(number=number, lines=_attribute_lines)
    return environment


def _attribute_lines(text: str) -> "markupsafe.Markup":
    """Text of several lines for an attribute, escaped; a bare line break would read as a space."""
    import markupsafe

    return markupsafe.Markup("&#10;").join(map(plain, text.split("\n")))


def render(template: str, **values: Any) -> str:
    """Fills a template of this package; every text that goes in is escaped."""
    return _environment().get_template(template).render(**values)


def scripts_of(fragment: str) -> list[str]:
    """The scripts that a fragment of HTML needs: one for each kind of interactive figure in it."""
    return ["tips.js", *(name for mark, name in _SCRIPTS.items() if mark in fragment)]
