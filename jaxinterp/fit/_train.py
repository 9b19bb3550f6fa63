"""Training of any parameters on any loss: several steps a dispatch, resumable to the bit."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .. import viz
from .._deprecations import respelled
from .._tabular import Tabular
from ..core._check import check_key
from ..data._files import fingerprint
from ..mesh._automatic import automatic, check_around
from ..mesh._rows import replicated
from ..stats._results import Record
from ..typing import IntLike, KeyLike, MeshLike, NumberedBatches, OptimizerLike, PyTree
from ._longer import schedules_of
from ._loop import History, Run, drive
from ._rows import Rows
from ._settings import OPTIONS, SettingsLike, check_counts, check_settings
from ._state import State, initial_state
from ._task import After, Loss, loss_task

PER_DISPATCH = 16


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult(Tabular):
    """The result of `ji.fit.train`.

    - `params`: the trained parameters; their average where `Settings.average` is set.
    - `history`: arrays by name: those of the steps `(step, ...)`, `"loss"` first, and those of
      `evaluate`, with `"evaluated"`, the steps at which it was called.
    - `state`: the `State` after the last step, from which you can continue by hand.

    ```python
    found = ji.fit.train(jnp.zeros(3), batches, loss, optax.adam(0.1), steps=100)
    found.params, found.history["loss"][-1], found.figure()
    ```
    """

    params: PyTree
    history: History
    state: State

    def records(self) -> list[Record]:
        """A row for each step: its number, and the numbers of the history that have no other axis."""
        history = {name: value for name, value in self.history.items() if name != "evaluated"}
        count = len(history["loss"])
        rows: list[Record] = [{"step": i + 1} for i in range(count)]
        for name, value in history.items():
            steps = range(1, count + 1)
            if value.shape != (count,):  # a number of `evaluate`, or one for each layer
                steps = self.history.get("evaluated", np.zeros(0)).astype(int).tolist()
            for step, number in zip(steps, value, strict=False):
                if not np.ndim(number):
                    rows[step - 1][name] = float(number)
        return rows

    def figure(self, *, title: str = "Training") -> viz.Figure:
        """The numbers of the history, step by step, a panel for each."""
        rows = self.records()
        names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
        panels = {what: {what: [row.get(what, np.nan) for row in rows]} for what in names}
        return viz.line_panels(panels, x=[row["step"] for row in rows], x_axis="step", title=title)


@respelled(**OPTIONS, batch="batches=ji.fit.Rows(arrays, batch_size, key=key)", seed="key=jax.random.key(0)")
def train(
    params: PyTree,
    batches: NumberedBatches,
    loss: Loss,
    optimizer: OptimizerLike,
    *,
    steps: IntLike,
    key: KeyLike | None = None,
    extra: PyTree = None,
    after: After | None = None,
    is_trained: PyTree = eqx.is_inexact_array,
    settings: SettingsLike | None = None,
    mesh: MeshLike | None = None,
) -> FitResult:
    r"""$\theta_{t+1} = \theta_t + \mathrm{opt}(\nabla L(\theta_t; x_t))$: the training loop of the library, for any loss.

    **Arguments:**

    - `params`: a tree, such as an `equinox.Module`. Leaves that are no arrays stay as they are.
    - `batches`: a function of the step number i to the batch of step i, a tree of arrays; an object
      with such a method `batch`; or `ji.fit.Rows(arrays, batch_size, key=key)`. Batch i must depend on
      i alone, so that a run that goes on reads the same batches.
    - `loss`: a function `(params, batch, now)` to a number and a dict of more numbers for the history;
      `now.step`, `now.key` and `now.extra` are the step number, a key of this step and `extra`. Give
      the same function object in each call: another one is compiled anew. An `equinox.Module` that is
      called may hold arrays, which are then data.
    - `optimizer`: any of optax, made for the leaves that are trained.
    - `steps`: how many steps.
    - `key`: a `jax.random.key`, from which `now.key` is folded; None: the loss is not random.
    - `extra`: a tree of arrays that is carried and saved beside the parameters, such as counts.
    - `after`: a function `(params, extra, now)` to new ones, called after each update: to project
      parameters, or to count.
    - `is_trained`: a function of a leaf to a bool, or a tree of bools. By default all floats are trained.
    - `settings`: how the training runs, reports and is saved: `ji.fit.Settings`.
    - `mesh`: with an axis "data", over which the rows of a batch are spread. Parameters are whole on
      every device unless they are placed on the mesh already.

    **Returns:** `FitResult`, with `.params` and `.history`.

    **Raises:** ValueError where the loss is not finite or returns anything else than a number and a dict,
    where nothing is trained, for an optimizer that is none of optax, and for a checkpoint of another run.

    ```python
    def loss(w, batch, now):
        x, y = batch
        return ((x @ w - y) ** 2).mean(), {}

    batches = ji.fit.Rows((x, y), 32, key=jax.random.key(0))
    found = ji.fit.train(jnp.zeros(3), batches, loss, optax.adam(0.1), steps=100)
    found.params, found.history["loss"]
    ```

    Laws: a run that was killed and begun again ends with the parameters of one that was not, bit for
    bit; so does one that was finished and is called again with more steps, where the optimizer does not
    depend on their number (`Settings.resume`); a second call of the same shapes compiles nothing; equal to `descend` on the same batches.
    """
    settings = check_settings(settings)
    check_counts(steps=steps)
    steps = int(steps)
    if key is not None:
        check_key(key, "ji.fit.train(params, batches, loss, optimizer, key={}, ...)")
    if mesh is not None:
        check_around()
        mesh = automatic(mesh)
    batch, read = as_batches(batches, mesh is None)
    task, arrays = loss_task(params, loss, optimizer, follow=after, key=key, which=is_trained)
    state = initial_state(arrays, optimizer, task.which, extra=extra, averaged=settings.average is not None)
    if mesh is not None:
        state = replicated(mesh, state)
    run = Run("training", [task], [state], batch, read=read, decay=settings.average, mesh=mesh)
    known: dict[str, Any] = {}
    schedules = None
    if settings.checkpoint is not None:
        schedules = schedules_of(optimizer, eqx.filter(arrays, task.is_trained(arrays)))
        known = {
            "params": described(arrays),
            "key": None if key is None else np.asarray(jax.random.key_data(key)).ravel().tolist(),
            "data": data_print(batches, batch),
            "optimizer": schedules.printed(steps),
        }
    about = {"steps": steps, "average": settings.average, **known}
    (history,) = drive(
        run, settings, steps=steps, per_dispatch=PER_DISPATCH, about=about, schedules=schedules
    )
    return FitResult(eqx.combine(run.params(0), task.static), history, run.states[0])


def as_batches(batches: Any, resident: bool) -> tuple[Callable[[int], PyTree], Any]:
    """A function of the step number to data, and the function in the program from these to a batch."""
    if isinstance(batches, Rows) and resident:
        return batches.rows, batches.read
    if callable(getattr(batches, "batch", None)):
        return batches.batch, None
    if callable(batches):
        return batches, None
    raise ValueError(
        "batches is a function of the step number to a batch, an object with such a method batch(i), or "
        f"ji.fit.Rows(arrays, batch_size, key=key); got {type(batches).__name__}. For one batch again "
        "and again: lambda i: batch."
    )


def data_print(batches: Any, batch: Callable[[int], PyTree]) -> Any:
    """What identifies the data: their own account, the content of arrays, or the first batch."""
    if callable(described := getattr(batches, "described", None)):
        return described()
    arrays = batches.read.arrays if isinstance(batches, Rows) else batch(0)
    order = [batches.rows.seed, batches.rows.batch_size] if isinstance(batches, Rows) else []
    return [*order, *(fingerprint(np.asarray(leaf)) for leaf in jax.tree.leaves(arrays))]


def described(arrays: PyTree) -> list[Any]:
    """The shapes of parameters and a fingerprint of their first values, as JSON."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(arrays)]
    return [[[*leaf.shape] for leaf in leaves], fingerprint(*leaves)]
