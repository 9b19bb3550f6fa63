"""The loop of every training: dispatches, and between them evaluation, callbacks and checkpoints."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..corpus._progress import advance, progress_bar
from ..mesh._rows import steps_on
from ..typing import PyTree
from ._checkpoint import Checkpoints, Metrics, Numbers
from ._checks import check_finite, evaluated
from ._longer import Schedules
from ._now import done_now
from ._settings import Settings, Stop
from ._state import State
from ._step import Task, Whole, run_steps

History = dict[str, np.ndarray]
"Numbers by name: those of the steps `(step, ...)`, and those of `evaluate` with `evaluated`, the steps."


class Run:
    """Tasks that are trained side by side in one program, and how results are read from their states.

    - `name`: for the progress bar.
    - `tasks`: each has one state; the states of a task may hold several members on a leading axis.
    - `batch`: a function of the step number to the data of that step, a tree of arrays.
    - `read`: an `equinox.Module`, a function inside the program from these data to a batch.
    - `members`: for each member its task, and its place on the leading axis (None: it is the task).
    - `labels`: for each member the key of its `evaluate`, where that is a mapping.
    - `mesh`: rows of the data are spread over its axis "data".
    - `renewals`: steps before which `renew` changes the states.
    - `reads_ahead`: whether another thread fetches data. Not those that devices exchange (`done_now`).
    """

    def __init__(
        self,
        name: str,
        tasks: Sequence[Task],
        states: Sequence[State],
        batch: Callable[[int], PyTree],
        *,
        read: Any = None,
        members: Sequence[tuple[int, int | None]] = ((0, None),),
        labels: Sequence[Any] | None = None,
        decay: float | int | None = None,
        mesh: Any = None,
        renewals: Iterable[int] = (),
        reads_ahead: bool = True,
    ) -> None:
        self.name, self.tasks, self.states, self.batch = name, list(tasks), list(states), batch
        self.members = list(members)
        self.labels = [None] * len(self.members) if labels is None else list(labels)
        self.mesh, self.renewals, self.reads_ahead = mesh, set(renewals), reads_ahead
        read = Whole() if read is None else read
        self.fixed = read, self.tasks, jnp.float32(0 if decay is None else decay)

    def params(self, member: int) -> PyTree:
        """The parameters of a member: their average where there is one."""
        task, column = self.members[member]
        state = self.states[task]
        found = state.params
        if state.average is not None:
            found = eqx.combine(state.average, found)
        pick = jnp.copy if column is None else lambda leaf: leaf[column]
        return jax.tree.map(pick, found)  # the buffers of the state go to the next step

    def result(self, member: int) -> Any:
        """What `evaluate` and the caller get of a member."""
        return self.params(member)

    def arranged(self, values: list[Any]) -> Any:
        """A value for each member, as the caller gets them; by default the only one, or a list."""
        return values[0] if self.members == [(0, None)] else values

    def renew(self, step: int) -> None:
        """Changes the states before `step`, for each step in `renewals`."""
        raise NotImplementedError

    def advance(self, data: PyTree) -> list[dict[str, np.ndarray]]:
        """The steps of these data: the numbers of each task, `(step, ...)` or `(step, member, ...)`."""
        with contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh):
            self.states, numbers = run_steps(self.fixed, self.states, jax.tree.map(jnp.asarray, data))
        return jax.device_get(numbers)

    def fetch(self, start: int, end: int) -> list[tuple[int, int, PyTree]]:
        """The data of these steps on one axis, in as few parts as their shapes allow.

        Called ahead of time, in another thread where `reads_ahead`.
        """
        batches = [self.batch(i) for i in range(start, end)]
        forms = [_form(batch) for batch in batches]
        cuts = [0, *(i for i in range(1, len(forms)) if forms[i] != forms[i - 1]), len(forms)]
        return [(start + a, start + b, self._stacked(batches[a:b])) for a, b in itertools.pairwise(cuts)]

    def _stacked(self, batches: list[PyTree]) -> PyTree:
        def stack(*leaves: Any) -> Any:
            if self.mesh is not None:
                return steps_on(self.mesh, leaves)
            if all(isinstance(leaf, np.ndarray) for leaf in leaves):
                return np.stack(leaves)
            return jnp.stack([jnp.asarray(leaf) for leaf in leaves])

        return jax.tree.map(stack, *batches)


def _form(batch: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(batch)
    return structure, [(np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves]


def drive(
    run: Run,
    settings: Settings,
    *,
    steps: int,
    per_dispatch: int,
    about: dict[str, Any],
    schedules: Schedules | None = None,
) -> list[History]:
    """Runs to the last step, from the newest checkpoint if there is one.

    - `per_dispatch`: steps of one dispatch where `settings.steps_per_dispatch` is None.
    - `about`: what makes this training what it is, as JSON, for its checkpoints.
    - `schedules`: what of it follows from `steps`: with it a run of fewer steps goes on.

    Returns the history of each member.
    """
    history: list[Numbers] = [{} for _ in run.tasks]
    metrics: list[Metrics] = [{} for _ in run.members]
    every, saving, at = settings.every, 0, 0
    saved = None
    if settings.checkpoint is not None:
        saved = Checkpoints(settings.checkpoint, about, settings.resume, schedules)
        saving = settings.checkpoint_every
    with contextlib.ExitStack() as stack:
        if saved is not None:
            stack.enter_context(saved.lock())
            if (found := saved.restore(run.states)) is not None:
                at, run.states, history, metrics, ended = found
                steps = at if ended else steps
        size = settings.steps_per_dispatch or per_dispatch
        ends = dispatch_ends(at, steps, size, every, saving, run.renewals)
        ahead = stack.enter_context(ThreadPoolExecutor(1))
        bar = stack.enter_context(
            progress_bar(steps, run.name, unit="it", progress=settings.progress, initial=at)
        )
        fetched = functools.partial(ahead.submit if run.reads_ahead else done_now, run.fetch)
        coming = fetched(at, ends[0]) if ends else None
        for i, end in enumerate(ends):
            assert coming is not None
            parts = coming.result()
            if i + 1 < len(ends):
                coming = fetched(end, ends[i + 1])
            if at and at in run.renewals:
                run.renew(at)
            numbers: list[dict[str, np.ndarray]] = []
            for start, _, data in parts:
                numbers = run.advance(data)
                check_finite(numbers, start, many=len(run.members) > 1)
                for parts_of, new in zip(history, numbers, strict=True):
                    for name, values in new.items():
                        parts_of.setdefault(name, []).append(values)
            advance(bar, end - at)
            at, ended = end, False
            if every and end % every == 0:
                last = report(run, numbers, end, settings.evaluate, metrics)
                if settings.callback is not None:
                    try:
                        settings.callback(end, run.arranged(last))
                    except Stop:
                        ended = True
                bar.set_postfix({n: f"{v:.4g}" for n, v in list(last[0].items())[:5]})
            if saved is not None and (end % saving == 0 or end == steps or ended):
                saved.save(end, run.states, history, metrics, ended)
            if ended:
                break
    return histories(run, history, metrics)


def histories(run: Run, history: list[Numbers], metrics: list[Metrics]) -> list[History]:
    """The numbers of each member, whole."""
    joined = [{name: np.concatenate(parts) for name, parts in each.items()} for each in history]
    found = []
    for (task, column), values in zip(run.members, metrics, strict=True):
        own = joined[task]
        own = own if column is None else {name: v[:, column] for name, v in own.items()}
        found.append(own | {name: np.asarray(v) for name, v in values.items()})
    return found


def report(
    run: Run, numbers: list[dict[str, np.ndarray]], step: int, evaluate: Any, metrics: list[Metrics]
) -> list[dict[str, float]]:
    """The last numbers of each member, with what `evaluate` returns for it, which goes to `metrics`.

    A number with axes, such as a loss per layer, is reported as its mean. A number of `evaluate` that
    has the name of one of the training, as `loss`, is `evaluated_loss`: neither replaces the other.
    """
    found = []
    for i, (task, column) in enumerate(run.members):
        values = {n: v[-1] if column is None else v[-1][column] for n, v in numbers[task].items()}
        last = {name: float(np.mean(v)) for name, v in values.items()}
        function = evaluate.get(run.labels[i]) if isinstance(evaluate, Mapping) else evaluate
        if function is not None:
            new = evaluated(function(run.result(i), step))
            new = {
                f"evaluated_{name}" if name in last or name == "evaluated" else name: float(v)
                for name, v in new.items()
                if not np.ndim(v)
            }
            for name, value in {**new, "evaluated": step}.items():
                metrics[i].setdefault(name, []).append(value)
            last |= new
        found.append(last)
    return found


def dispatch_ends(
    start: int, steps: int, per_dispatch: int, every: int, saving: int, renewals: Iterable[int]
) -> list[int]:
    """Where dispatches end: after each `per_dispatch` steps, and wherever something else is due.

    The ends do not depend on `start`, so that a run that goes on has the dispatches of one that did not stop.
    """
    due = {steps, *range(per_dispatch, steps, per_dispatch), *renewals}
    for gap in (every, saving):
        if gap:
            due |= set(range(gap, steps, gap))
    return sorted(end for end in due if start < end <= steps)
