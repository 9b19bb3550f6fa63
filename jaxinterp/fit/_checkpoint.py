"""Checkpoints of a training with orbax: each is whole or absent, and the newest whole one counts."""

import contextlib
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .._disk import remove_tree, sole
from .._read import TABLE, Rule, check, integer, list_of, read_json, table_of
from ..typing import PathLike, PyTree
from ._identity import check_identity, difference
from ._longer import Schedules, changes, explained

SHAPE = list_of(integer(), most=16)
RECORD = {
    "about": TABLE,
    "state": list_of(SHAPE),
    "history": list_of(table_of(SHAPE)),
    "metrics": Rule("anything", lambda value: True),
    "ended": Rule("a bool", lambda value: isinstance(value, bool)),
}
PARTIAL = ".orbax-checkpoint-tmp"
IDENTITY = ("model", "data", "optimizer")  # what `resume="force"` lets differ

Numbers = dict[str, list[np.ndarray]]
"The numbers of one task by name: one array for each dispatch, steps on the first axis."
Metrics = dict[str, list[float]]
"What `evaluate` returned for one member, by name: one number for each evaluation."


class Saved(NamedTuple):
    """A checkpoint as it was read; `ended` where a callback ended the training."""

    step: int
    states: PyTree
    history: list[Numbers]
    metrics: list[Metrics]
    ended: bool


class Checkpoints:
    """A folder of steps. Orbax writes each beside its place and renames it when it is whole.

    - `path`: the folder.
    - `about`: what makes this training what it is, as JSON; a checkpoint of another one is refused.
    - `resume`: "same", "longer" or "force", see `Settings`.
    - `schedules`: what follows from the number of steps: a run of fewer steps may go on. None: it may not.
    - `keep`: how many checkpoints stay.
    """

    def __init__(
        self,
        path: PathLike,
        about: dict[str, Any],
        resume: str = "same",
        schedules: Schedules | None = None,
        keep: int = 2,
    ) -> None:
        self.path, self.keep, self.resume = Path(path).absolute(), keep, resume
        self.about, self.schedules = json.loads(json.dumps(about)), schedules

    def lock(self) -> Any:
        """A context for the length of a run: two trainings on one folder would destroy each other's steps."""
        if self.path.is_file():
            raise ValueError(
                f"{self.path} is a file, and a checkpoint is a folder. Files are checkpoints of an earlier "
                "version, which cannot be read any more. Give another checkpoint=, or delete the file."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        first = jax.process_index() == 0
        return sole(self.path, f"trains into {self.path}") if first else contextlib.nullcontext()

    def save(
        self, step: int, states: PyTree, history: list[Numbers], metrics: list[Metrics], ended: bool = False
    ) -> None:
        """Writes step `step`, and returns when it is on disk."""
        whole = [{name: np.concatenate(v) for name, v in each.items()} for each in history]
        record = {
            "about": self.about,
            "state": [[*np.shape(leaf)] for leaf in jax.tree.leaves(states)],
            "history": [{name: [*v.shape] for name, v in each.items()} for each in whole],
            "metrics": metrics,
            "ended": ended,
        }
        self._remove_partial()
        try:
            self._write(step, by_number(states), by_number(whole), record)
        except Exception as error:  # a full disk raises other errors in each writer
            self._remove_partial()
            there = max(self._steps(), default=None)
            stays = "none is whole before it" if there is None else f"that of step {there} stays"
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self.path}; {stays}. Make "
                "room on the disk (or mend what is below), and call again with the same arguments: "
                f"the run goes on from there. {type(error).__name__}: {error}"
            ) from error

    def restore(self, states: PyTree) -> Saved | None:
        """The newest checkpoint, with arrays like `states`; None where there is none."""
        if not self._steps():
            return None
        try:
            return self._read(states)
        except ValueError as error:
            if str(self.path) in str(error):
                raise
            problem: Exception = error
        except Exception as error:  # orbax and its stores raise a dozen kinds for damage
            problem = error
        raise ValueError(
            f"{self.path}: its newest checkpoint cannot be restored ({type(problem).__name__}: "
            f"{str(problem)[:300]}): files are missing or corrupt. Delete the folder of its step, and the "
            "run goes on from the one before."
        ) from problem

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep, create=True)
        return ocp.CheckpointManager(self.path, options=options)

    def _write(self, step: int, states: PyTree, history: PyTree, record: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        with self._manager() as manager:
            if step in manager.all_steps():
                return
            args = {
                "state": ocp.args.StandardSave(states),  # pyright: ignore[reportCallIssue]
                "history": ocp.args.StandardSave(history),  # pyright: ignore[reportCallIssue]
                "record": ocp.args.JsonSave(record),  # pyright: ignore[reportCallIssue]
            }
            manager.save(step, args=ocp.args.Composite(**args))
            manager.wait_until_finished()

    def _read(self, states: PyTree) -> Saved:
        import orbax.checkpoint as ocp

        with self._manager() as manager:
            step = manager.latest_step()
            where = self.path / str(step) / "record" / "metadata"
            record = read_json(where, constants=True)
            if isinstance(record, dict) and "told" in record:
                raise ValueError(
                    f"{self.path} is the checkpoint of an earlier version, which cannot be read any more. "
                    "Give another checkpoint=, or delete the folder to start anew."
                )
            check(where, record, RECORD, required=RECORD)
            self._check_about(record, states, step)
            like = [{n: np.zeros(s, np.float32) for n, s in each.items()} for each in record["history"]]
            shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, by_number(states))
            request = {
                "state": ocp.args.StandardRestore(shapes),  # pyright: ignore[reportCallIssue]
                "history": ocp.args.StandardRestore(by_number(like)),  # pyright: ignore[reportCallIssue]
            }
            found = manager.restore(step, args=ocp.args.Composite(**request))
        history = jax.tree.map(lambda v: [np.asarray(v)], like_tree(like, found.history))
        return Saved(step, like_tree(states, found.state), history, record["metrics"], record["ended"])

    def _check_about(self, record: Any, states: PyTree, step: int) -> None:
        found, mine = dict(record["about"]), dict(self.about)
        schedules = self.schedules if "optimizer" in found and not record["ended"] else None
        earlier = self._earlier(found)
        longer = schedules is not None and earlier is not None
        if longer:
            found["steps"] = mine["steps"]
        settings = [{n: v for n, v in each.items() if n not in IDENTITY} for each in (found, mine)]
        if (one := difference(settings[0], settings[1])) is not None:
            name, was, now = one
            raise ValueError(
                f"{self.path} is the checkpoint of a run with {name}={was!r}; this one has "
                f"{name}={now!r}. Give another checkpoint=, or delete the folder."
            )
        if record["state"] != [[*np.shape(leaf)] for leaf in jax.tree.leaves(states)]:
            raise ValueError(
                f"{self.path} is the checkpoint of a run with another optimizer: its state has other "
                "arrays. Give the same optimizer=, another checkpoint=, or delete the folder."
            )
        names = [name for name in IDENTITY if name in mine and not (longer and name == "optimizer")]
        check_identity(self.path, found, mine, names, self.resume)
        if schedules is not None and earlier is not None:
            self._check_longer(schedules, found["optimizer"], step, earlier)

    def _earlier(self, found: dict[str, Any]) -> int | None:
        """How many steps the run of a checkpoint was begun with, where this one has more."""
        earlier, steps = found.get("steps"), self.about.get("steps")
        if not isinstance(earlier, int) or not isinstance(steps, int):
            return None
        return earlier if 0 < earlier < steps else None

    def _check_longer(self, schedules: Schedules, recorded: Any, step: int, earlier: int) -> None:
        """Refuses to go on where one longer run would have been another one; or warns, unless `resume` is "same"."""
        steps = self.about["steps"]
        found = changes(schedules, recorded, step, earlier, steps)
        if not found:
            return
        text = explained(self.path, found, step, earlier, steps)
        if self.resume == "same":
            raise ValueError(
                f"{text} To go on all the same, with the schedule of {steps:,} steps from step {step:,} on: "
                'ji.fit.Settings(resume="longer"). For one longer run give another checkpoint=.'
            )
        warnings.warn(
            f"{text} The training goes on, with the schedule of {steps:,} steps from step {step:,} on. One longer run "
            "starts in another folder for checkpoints.",
            stacklevel=2,
        )

    def _steps(self) -> list[int]:
        there = self.path.iterdir() if self.path.is_dir() else ()
        return [int(folder.name) for folder in there if folder.name.isdecimal() and len(folder.name) < 16]

    def _remove_partial(self) -> None:
        """Removes what is half-written, after a run was killed or its disk was full."""
        for left in self.path.glob(f"*{PARTIAL}*"):
            if jax.process_index() == 0:
                remove_tree(left)


def by_number(tree: PyTree) -> dict[str, Any]:
    """Leaves by number: names of a tree depend on the optimizer's classes, numbers do not."""
    return {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def like_tree(tree: PyTree, leaves: dict[str, Any]) -> PyTree:
    """The leaves of `by_number` as a tree like `tree`."""
    structure = jax.tree.structure(tree)
    order = [leaves[f"{i:04d}"] for i in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, order)
