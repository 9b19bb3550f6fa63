"""Figures with the lines that made them: what the page shows is cut out of the chapter that ran.

Marked lines of a chapter are lines of Python like any other, so the linter and the type checker read them too. Values that
the run chose, such as a prompt, are written above them as assignments.
"""

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from .. import viz
from ..viz._code import code_block
from ._chapter import Table

FIRST = """\
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji
from jaxinterp.tour import PIECES  # {"English": [...], ...}: short texts of six kinds

model, tokenizer = ji.load({name})
bos = tokenizer.bos_id is not None  # whether texts begin with a marker
"""


@dataclasses.dataclass(frozen=True)
class CodedFigure:
    """A figure or table and the code that made it, which ends in `figure = ...`.

    The code goes on from `first_lines` and from what the same chapter showed before.
    """

    figure: viz.Figure | Table
    code: str

    @property
    def title(self) -> str:
        return self.figure.title

    def blocks(self, before: str = "") -> list[viz.Figure]:
        """The figure, and the code below it. `before` is put above the code."""
        drawn = self.figure.figure() if isinstance(self.figure, Table) else self.figure
        return [drawn, code_block(before + self.code, title=f"Code of “{self.title}”", first=bool(before))]


def first_lines(name: str) -> str:
    """What stands before the code of every chapter."""
    return FIRST.replace("{name}", repr(name))


def shown(chapter: Callable[..., Any], marks: str, figure: viz.Figure | Table, **given: Any) -> CodedFigure:
    """`figure` with the lines of `chapter` that made it, below assignments of `given`.

    The lines stand between `# <mark>` and `# </mark>`; several marks are parted by blanks.
    """
    lines = inspect.getsource(chapter).splitlines()
    code = [f"{name} = {value!r}" for name, value in given.items()]
    for mark in marks.split():
        begin, end = (_place(lines, f"# <{slash}{mark}>") for slash in ("", "/"))
        code.append(textwrap.dedent("\n".join(lines[begin + 1 : end])))
    return CodedFigure(figure, "\n".join([*code, ""]))


def _place(lines: Sequence[str], mark: str) -> int:
    found = [number for number, line in enumerate(lines) if line.strip() == mark]
    if len(found) != 1:
        raise ValueError(f"A chapter has the line {mark!r} once; found {len(found)} of them.")
    return found[0]
