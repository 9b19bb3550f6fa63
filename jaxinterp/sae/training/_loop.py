r"""The loop of every training: dispatches, and between them reports, evaluation and checkpoints."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ._checkpoint import Checkpoints

History = dict[str, np.ndarray]


class Run:
    """What the loop drives: one dictionary, or stacks of several. A subclass fills in all of this.

    - `state`: a tree of arrays, all that is carried from step to step;
    - `members`: for each dictionary its stack, and its column there (None: it is the stack);
    - `sites`: for each dictionary the site, or None; `renewals`: steps before which `renew` is due.
    """

    state: Any
    name: str
    members: list[tuple[int, int | None]]
    sites: list[Any]
    renewals: Iterable[int]

    def fetch(self, start: int, end: int) -> Any:
        """The batches of these steps; called in another thread, ahead of time."""
        raise NotImplementedError

    def renew(self, step: int) -> None:
        """Dead features drawn anew."""
        raise NotImplementedError

    def advance(self, start: int, end: int, data: Any) -> list[History]:
        """These steps: the numbers of each stack, `(step,)` or `(step, member)`."""
        raise NotImplementedError

    def result(self, member: int) -> Any:
        """A dictionary as it now is."""
        raise NotImplementedError

    def form(self, each: list[Any]) -> Any:
        """What there is of each dictionary, as the caller has them."""
        raise NotImplementedError


def drive(
    run: Run,
    *,
    steps: int,
    together: int,
    every: int,
    evaluate: Any,
    callback: Callable[[int, Any], Any] | None,
    checkpoint: str | Path | None,
    checkpoint_every: int,
    about: dict[str, Any],
    resume: str,
    progress: bool,
) -> list[History]:
    """Runs to the last step, from the newest checkpoint if there is one; the history of each."""
    told: list[dict[str, list[np.ndarray]]] = [{} for _ in {stack for stack, _ in run.members}]
    judged: list[dict[str, list[float]]] = [{} for _ in run.members]
    saved = None if checkpoint is None else Checkpoints(checkpoint, about, resume)
    from tqdm.auto import tqdm

    with contextlib.ExitStack() as held:
        if saved is not None:
            held.enter_context(saved.held())
        at = 0
        found = None if saved is None else saved.restore(run.state)
        if found is not None:
            at, run.state, told, judged = found
        ends = stops(at, steps, together, every, checkpoint_every if saved else 0, run.renewals)
        ahead = held.enter_context(ThreadPoolExecutor(1))
        bar = held.enter_context(
            tqdm(total=steps, initial=at, desc=run.name, delay=2.0, disable=not progress)
        )
        coming = ahead.submit(run.fetch, at, ends[0]) if ends else None
        for i, end in enumerate(ends):
            assert coming is not None
            data = coming.result()
            if i + 1 < len(ends):
                coming = ahead.submit(run.fetch, end, ends[i + 1])
            if at and at in run.renewals:
                run.renew(at)
            numbers = run.advance(at, end, data)
            for kept, some in zip(told, numbers, strict=True):
                for name, values in some.items():
                    kept.setdefault(name, []).append(values)
            bar.update(end - at)
            at = end
            if every and end % every == 0:
                last = report(run, numbers, end, evaluate, judged)
                if callback is not None:
                    callback(end, run.form(last))
                bar.set_postfix({n: f"{v:.4g}" for n, v in list(last[0].items())[:5]})
            if saved is not None and (end % checkpoint_every == 0 or end == steps):
                saved.save(end, run.state, told, judged)
    histories = []
    for (stack, column), values in zip(run.members, judged, strict=True):
        whole = {name: np.concatenate(parts) for name, parts in told[stack].items()}
        own = whole if column is None else {name: v[:, column] for name, v in whole.items()}
        histories.append(own | {name: np.asarray(v) for name, v in values.items()})
    return histories


def report(
    run: Run, numbers: list[History], step: int, evaluate: Any, judged: list[dict[str, list[float]]]
) -> list[dict[str, float]]:
    """The last numbers of each dictionary, and what `evaluate` says of it, which is also noted."""
    every = []
    for i, (stack, column) in enumerate(run.members):
        values = {name: np.atleast_1d(v[-1]) for name, v in numbers[stack].items()}
        last = {name: float(v[column or 0]) for name, v in values.items()}
        asked = evaluate.get(run.sites[i]) if isinstance(evaluate, Mapping) else evaluate
        if asked is not None:
            found = dict(asked(run.result(i), step))
            found = {name: float(v) for name, v in found.items() if not np.ndim(v)}
            for name, value in {**found, "evaluated": step}.items():
                judged[i].setdefault(name, []).append(value)
            last |= found
        every.append(last)
    return every


def stops(
    start: int, steps: int, together: int, every: int, saving: int, renewals: Iterable[int]
) -> list[int]:
    """Where dispatches end: every `together` steps, and wherever something else is due."""
    due = {steps, *range(together, steps, together), *renewals}
    for gap in (every, saving):
        if gap:
            due |= set(range(gap, steps, gap))
    return sorted(end for end in due if start < end <= steps)
