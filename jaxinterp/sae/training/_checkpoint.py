"""Checkpoints of a training with orbax: whole or not at all, and the newest whole one counts."""

import contextlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..._disk import remove_tree, sole
from ..._read import TABLE, Rule, check, integer, list_of, read_json, table_of
from ...data._identity import apart, check_identity

_SHAPE = list_of(integer(), most=16)
RECORD = {
    "about": TABLE,
    "state": list_of(_SHAPE),
    "told": list_of(table_of(_SHAPE)),
    "judged": Rule("anything", lambda v: True),
}
PARTIAL = ".orbax-checkpoint-tmp"
IDENTITY = ("data", "optimizer")  # what a run may be made to go on without


class Checkpoints:
    """A folder of steps. Orbax writes each beside its place and then renames it."""

    def __init__(self, path: str | Path, about: dict[str, Any], resume: str = "same", keep: int = 2) -> None:
        self.path, self.keep, self.resume = Path(path).absolute(), keep, resume
        self.about = json.loads(json.dumps(about))

    def held(self) -> Any:
        """For as long as a run lasts: two trainings on one folder would undo each other's steps."""
        self.path.mkdir(parents=True, exist_ok=True)
        first = jax.process_index() == 0
        return sole(self.path, f"trains into {self.path}") if first else contextlib.nullcontext()

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep, create=True)
        return ocp.CheckpointManager(self.path, options=options)

    def save(self, step: int, state: Any, told: Any, judged: Any) -> None:
        """Writes step `step`, and returns when it is on disk."""
        whole = [{name: np.concatenate(v) for name, v in each.items()} for each in told]
        record = {
            "about": self.about,
            "state": [[*np.shape(leaf)] for leaf in jax.tree.leaves(state)],
            "told": [{name: [*v.shape] for name, v in each.items()} for each in whole],
            "judged": judged,
        }
        self._clear()
        try:
            self._write(step, _leaves(state), _leaves(whole), record)
        except Exception as error:  # what a full disk raises depends on who was writing
            self._clear()
            there = max(self._steps(), default=None)
            stays = "none is whole before it" if there is None else f"that of step {there} stays"
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self.path}; {stays}. Make "
                "room on the disk (or mend what is below), and call again with the same arguments: "
                f"the run goes on from there. {type(error).__name__}: {error}"
            ) from error

    def _write(self, step: int, state: Any, told: Any, record: Any) -> None:
        import orbax.checkpoint as ocp

        with self._manager() as manager:
            if step in manager.all_steps():
                return
            args = {
                "state": ocp.args.StandardSave(state),  # pyright: ignore[reportCallIssue]
                "told": ocp.args.StandardSave(told),  # pyright: ignore[reportCallIssue]
                "record": ocp.args.JsonSave(record),  # pyright: ignore[reportCallIssue]
            }
            manager.save(step, args=ocp.args.Composite(**args))
            manager.wait_until_finished()

    def restore(self, state: Any) -> Any:
        """Step, state and histories of the newest checkpoint; None where there is none."""
        if not self._steps():
            return None
        try:
            return self._read(state)
        except ValueError as error:
            if str(self.path) in str(error):
                raise
            problem: Exception = error
        except Exception as error:  # what orbax and its stores raise for damage is a dozen kinds
            problem = error
        raise ValueError(
            f"{self.path}: its newest checkpoint cannot be restored ({type(problem).__name__}: "
            f"{str(problem)[:300]}): files are missing or corrupt. Delete the folder of its step, and the "
            "run goes on from the one before."
        ) from problem

    def _read(self, state: Any) -> Any:
        import orbax.checkpoint as ocp

        with self._manager() as manager:
            step = manager.latest_step()
            where = self.path / str(step) / "record" / "metadata"
            record = read_json(where, constants=True)
            check(where, record, RECORD, required=RECORD)
            self._check(record, state)
            like = [{n: np.zeros(s, np.float32) for n, s in each.items()} for each in record["told"]]
            shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, _leaves(state))
            asked = {
                "state": ocp.args.StandardRestore(shapes),  # pyright: ignore[reportCallIssue]
                "told": ocp.args.StandardRestore(_leaves(like)),  # pyright: ignore[reportCallIssue]
            }
            found = manager.restore(step, args=ocp.args.Composite(**asked))
        told = jax.tree.map(lambda v: [np.asarray(v)], _back(like, found.told))
        return step, _back(state, found.state), told, record["judged"]

    def _steps(self) -> list[int]:
        there = self.path.iterdir() if self.path.is_dir() else ()
        return [int(folder.name) for folder in there if folder.name.isdecimal() and len(folder.name) < 16]

    def _clear(self) -> None:
        """What was half-written when a run was killed, or its disk full."""
        for left in self.path.glob(f"*{PARTIAL}*"):
            if jax.process_index() == 0:
                remove_tree(left)

    def _check(self, record: Any, state: Any) -> None:
        found, mine = dict(record["about"]), dict(self.about)
        settings = [{n: v for n, v in each.items() if n not in IDENTITY} for each in (found, mine)]
        if (one := apart(settings[0], settings[1])) is not None:
            name, was, now = one
            raise ValueError(
                f"{self.path} is the checkpoint of a run with {name}={was!r}; this one has "
                f"{name}={now!r}. Give another checkpoint=, or delete the folder."
            )
        if record["state"] != [[*np.shape(leaf)] for leaf in jax.tree.leaves(state)]:
            raise ValueError(
                f"{self.path} is the checkpoint of a run with another optimiser: its state has other "
                "arrays. Give the same optimizer=, another checkpoint=, or delete the folder."
            )
        check_identity(self.path, found, mine, IDENTITY, self.resume)


def _leaves(tree: Any) -> dict[str, Any]:
    """Leaves by number: names of a tree depend on the optimiser's classes, numbers do not."""
    return {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _back(tree: Any, leaves: dict[str, Any]) -> Any:
    structure = jax.tree.structure(tree)
    order = [leaves[f"{i:04d}"] for i in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, order)
