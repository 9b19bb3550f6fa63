"""Numbers of a model, checkpoint by checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from .. import viz
from .._text import shown
from ..stats._results import Record, Result, flattened
from ..typing import PyTree


@dataclass(frozen=True, eq=False)
class Trajectory(Result):
    """The results of a function for each checkpoint; made by `ModelSeries.map`.

    - `labels`: the names of the checkpoints, `steps`: the numbers in them, where each has one, or 0, 1, 2 ...
    - `values`: a tree of arrays `(checkpoint, ...)`: the results of the function, stacked.

    ```python
    series = ji.neurons.checkpoints([model, edited], labels=["step0", "step100"])
    found = series.map(lambda model: jnp.linalg.norm(model.w_embed))
    found.labels, found.values, found.figure()
    ```
    """

    labels: tuple[str, ...]
    steps: np.ndarray
    values: PyTree

    def records(self) -> list[Record]:
        """One dict for each checkpoint: numbers as numbers, arrays as lists."""
        columns = _columns(self.values)
        rows = []
        for i, label in enumerate(self.labels):
            row: Record = {"checkpoint": label, "step": int(self.steps[i])}
            rows.append(row | {name: np.asarray(x[i]).tolist() for name, x in columns.items()})
        return rows

    def figure(self, *, title: str = "Over training", y_axis: str = "value", log: bool = False) -> viz.Figure:
        """A curve over steps for each number that the function returns.

        **Arguments:**

        - `title`, `y_axis`: texts.
        - `log`: whether equal ratios of steps are equally far; steps are then positive.

        **Raises:** ValueError where the function returns no numbers, but arrays.
        """
        curves = {name: x for name, x in _columns(self.values).items() if x.ndim == 1}
        if not curves:
            raise ValueError(
                "A curve is of one number for each checkpoint; this function returns arrays. See .values."
            )
        return viz.lines(curves, x=self.steps, title=title, x_axis="step", y_axis=y_axis, log=log)


def check_alike(found: Sequence[PyTree], labels: Sequence[str]) -> None:
    """Raises ValueError where what a function returns of the last checkpoint is no tree of numbers and arrays, or has
    other shapes than that of the first one."""
    first, last = (
        {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (found[0], found[-1])
    )
    for name, x in last.items():
        if x.dtype.kind in "OSUmM":
            raise ValueError(
                "A function of a model returns a tree of numbers and arrays; "
                f"{f'the part {name}' if name else 'its result'} is of another kind. Return what you need of it: "
                "{'loss': found.loss}."
            )
    shapes = [{name: x.shape for name, x in each.items()} for each in (first, last)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"A function returns arrays of the same shapes for every checkpoint; of {labels[len(found) - 1]!r} they "
            f"are {shown(shapes[1])}, and of {labels[0]!r} {shown(shapes[0])}."
        )


def _columns(values: PyTree) -> dict[str, np.ndarray]:
    """The stacked arrays by name."""
    if isinstance(values, dict | Result):
        return {name: np.asarray(x) for name, x in flattened(values)}
    leaves = jax.tree_util.tree_leaves_with_path(values)
    key = lambda path: jax.tree_util.keystr(path, simple=True, separator=".") or "value"
    return {key(path): np.asarray(x) for path, x in leaves}
