"""A training that goes on for more steps than it was begun with, and what its schedules make of that."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..typing import OptimizerLike, PyTree
from ._identity import BEGINNING, NEAR, PARTS, optimizer_print

PROBED = 512  # steps at which a schedule is compared, at most


class Schedules(NamedTuple):
    """What of a training follows from its number of steps.

    - `printed`: a function of a number of steps to `optimizer_print` of this training's optimizer there.
    - `warm`: None, or a function `(step, steps)` to the share of a coefficient in force at a step of so many.
    """

    printed: Callable[[int], list[float]]
    warm: Callable[[Any, int], Any] | None = None


def schedules_of(
    optimizer: OptimizerLike, params: PyTree, warm: Callable[[Any, int], Any] | None = None
) -> Schedules:
    """The schedules of an optimizer of optax for these parameters, of which only the shapes are kept."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    return Schedules(lambda steps: optimizer_print(optimizer, shapes, steps), warm)


def changes(schedules: Schedules, recorded: Any, at: int, earlier: int, steps: int) -> list[str]:
    """In what the first `at` steps of a run of `earlier` steps differ from those of a run of `steps`.

    - `recorded`: `optimizer_print` of the earlier run.

    Empty where one longer run would have taken the same steps.
    """
    found = _update_changes(schedules.printed(earlier), recorded, at, earlier)
    if schedules.warm is not None:
        each = np.unique(np.linspace(0, at - 1, min(at, PROBED)).astype(np.int32))
        was, now = (np.asarray([float(schedules.warm(step, n)) for step in each]) for n in (earlier, steps))
        if (other := ~np.isclose(was, now, NEAR, 0)).any():
            first = np.flatnonzero(other)[0]
            found.append(
                f"its sparsity coefficient at step {each[first]:,} would have been {now[first]:.3g} times its full "
                f"value, and was {was[first]:.3g} times"
            )
    return found


def _update_changes(mine: Sequence[float], recorded: Any, at: int, earlier: int) -> list[str]:
    """Where the updates of the same gradients differ, of the steps that were taken."""
    new, old = (np.asarray(each, np.float64).reshape(-1, 2) for each in (mine, recorded))
    if new.shape != old.shape:
        return ["its optimizer would have been another one"]
    found = []
    if not np.allclose(new[:BEGINNING], old[:BEGINNING], NEAR, 0, equal_nan=True):
        found.append("the updates of its first steps would have had other sizes")
    for part, (a, b) in zip(PARTS, zip(new[BEGINNING:], old[BEGINNING:], strict=True), strict=True):
        step = int(part * (earlier - 1))
        if step < at and not np.allclose(a, b, NEAR, 0, equal_nan=True):
            ratio = a.sum() / b.sum() if b.sum() else np.inf
            found.append(f"its updates at step {step:,} would have been {ratio:.3g} times as large")
    return found


def explained(where: Any, found: Sequence[str], at: int, earlier: int, steps: int) -> str:
    """What a run that goes on is not, in words."""
    return (
        f"{where} is the checkpoint of step {at:,} of a run of {earlier:,} steps. A run of {steps:,} steps with these "
        f"settings would have taken the first {at:,} in another way: {'; '.join(found)}."
    )
