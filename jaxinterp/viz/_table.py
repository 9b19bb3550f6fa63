"""A plain table."""

import numbers
from collections.abc import Iterable

from .._text import number, plain
from ._figure import Figure
from ._render import render


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    title: str = "",
    caption: str = "",
    folded: bool = False,
) -> Figure:
    """Draws a table with `rows` under `columns`. Numbers are set to the right, with three digits.

    Integers are written in full. Text is shown as it is: pass tokens through `visible` to see their blanks.

    **Arguments:**

    - `columns`: the headings.
    - `rows`: the cells of each row.
    - `title`, `caption`: the title of the figure, and a sentence below it.
    - `folded`: whether the rows are hidden until a click on the title; False by default.

    **Returns:** a `Figure`.

    ```python
    ji.viz.table(["token", "logit"], [[ji.viz.visible(" Mary"), 14.2], [ji.viz.visible(" John"), 11.9]])
    ```
    """
    headings, body = list(columns), [[_cell(value) for value in row] for row in rows]
    if any(len(row) != len(headings) for row in body):
        raise ValueError(f"Each row holds one value for each of the {len(headings)} columns {headings}.")
    html = render("table.html", title=title, caption=caption, columns=headings, rows=body, folded=folded)
    return Figure(title or "Table", html)


def _cell(value: object) -> tuple[str, bool]:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return plain(str(value)), False
    return (str(value) if isinstance(value, numbers.Integral) else number(float(value))), True
