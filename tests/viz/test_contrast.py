"""Text is readable: every text colour has a contrast of at least 4.5 with its ground, in light and dark pages."""

import re
from pathlib import Path

import numpy as np
import pytest

from jaxinterp import viz
from jaxinterp.viz._colour import scale
from jaxinterp.viz._contrast import THEMES, contrast, flips, linear, mixed
from jaxinterp.viz._curves import COLOURS

TEMPLATES = Path(viz.__file__).parent / "templates"
STYLE = (TEMPLATES / "style.css").read_text()
SERIES = [f"c{i}" for i in range(5)]


def variables(theme: str) -> dict[str, str]:
    """The colours of a theme, by name without `--ji-`."""
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)", 1)
    text = light if theme == "light" else dark[: dark.index("\n}")]
    found = dict(re.findall(r"--ji-([\w-]+): (#[0-9a-f]{6})", text))
    assert {"bg", "ink", "soft", "panel", "on", "on-strong", *SERIES} <= set(found)
    return found


@pytest.mark.quick
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_ink_of_the_style_sheet_reads(theme: str) -> None:
    colours = variables(theme)
    assert {name: colours[name] for name in THEMES[theme]} == THEMES[theme]
    for ground in ("bg", "panel", "zero"):
        for ink in ("ink", "soft", *SERIES):
            got = contrast(linear(colours[ink]), linear(colours[ground]))
            assert got >= 4.5, f"--ji-{ink} on --ji-{ground}: {got:.2f}"
    assert contrast(linear(colours["low"]), linear(colours["bg"])) >= 4.5
    assert contrast(linear(colours["on"]), linear(colours["none"])) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_cell_reads(theme: str) -> None:
    """At each share of the mixed colour, the ink that its classes ask for."""
    colours, which = variables(theme), ["light", "dark"].index(theme)
    ramp = scale(np.array([-1.0, 1.0]))
    for value in np.linspace(-1, 1, 801):
        mark = ramp.mark(value)
        ground = mixed(colours[mark.side], colours["zero"], mark.percent)
        strong = ("ji-strong", "ji-strong-dark")[which] in mark.css.split()
        assert strong == (mark.percent > flips()[mark.side][which])
        got = contrast(linear(colours["on-strong" if strong else "on"]), ground)
        assert got >= 4.5, f"{value:.3f} in the {theme} theme: {got:.2f}"


def test_colours_without_a_style_sheet_read() -> None:
    """A saved drawing, and matplotlib: on white paper, and in cells."""
    white, ramp = linear("#ffffff"), scale(np.array([-1.0, 1.0]))
    for value in (*np.linspace(-1, 1, 401), np.nan):
        mark = ramp.mark(value)
        assert contrast(linear(mark.ink), linear(mark.hex)) >= 4.5
    text = "".join(path.read_text() for path in TEMPLATES.glob("*.svg"))
    inks = {
        ink for tag in re.findall(r"<(?:text|g)\b[^>]*", text) for ink in re.findall(r'fill="(#\w{6})"', tag)
    }
    for ink in {*inks, *COLOURS}:
        assert contrast(linear(ink), white) >= 4.5, ink
    tip = re.search(r"\.ji-tip {[^}]*background: (#\w{6}); color: (#\w{6})", STYLE)
    assert tip and contrast(linear(tip[1]), linear(tip[2])) >= 4.5


def test_contrast_is_that_of_the_definition() -> None:
    black, white = linear("#000000"), linear("#ffffff")
    assert contrast(black, white) == pytest.approx(21) and contrast(white, white) == 1
    # The mix at both ends is the colour itself; half way it is what CSS Color 4 computes.
    assert mixed("#0b5eaa", "#f3f5f7", 100) == pytest.approx(linear("#0b5eaa"), abs=1e-5)
    assert mixed("#0b5eaa", "#f3f5f7", 0) == pytest.approx(linear("#f3f5f7"), abs=1e-5)
    assert mixed("#ffffff", "#000000", 50) == pytest.approx((0.125,) * 3, abs=1e-4)
