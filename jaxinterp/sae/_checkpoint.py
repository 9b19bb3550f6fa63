"""Checkpoints of a training with orbax: whole or not at all, and the newest whole one counts."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np


class Checkpoints:
    """A folder of steps. Orbax writes each beside its place and then renames it."""

    def __init__(self, path: str | Path, about: dict[str, Any], keep: int = 2) -> None:
        self.path, self.about, self.keep = Path(path).absolute(), about, keep

    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=self.keep, create=True)
        return ocp.CheckpointManager(self.path, options=options)

    def save(self, step: int, state: Any, told: Any, judged: Any) -> None:
        """Writes step `step`, and returns when it is on disk."""
        import orbax.checkpoint as ocp

        record = {
            "about": self.about,
            "told": {name: np.concatenate(v).astype(float).tolist() for name, v in told.items()},
            "judged": judged,
        }
        with self._manager() as manager:
            if step in manager.all_steps():
                return
            leaves = ocp.args.StandardSave(_leaves(state))  # pyright: ignore[reportCallIssue]
            about = ocp.args.JsonSave(record)  # pyright: ignore[reportCallIssue]
            manager.save(step, args=ocp.args.Composite(state=leaves, record=about))
            manager.wait_until_finished()

    def restore(self, state: Any, told: Any, judged: Any) -> Any:
        """The newest state, with the histories up to it; what was given where there is none."""
        import orbax.checkpoint as ocp

        if not self.path.exists():
            return state, told, judged
        with self._manager() as manager:
            step = manager.latest_step()
            if step is None:
                return state, told, judged
            read = ocp.args.JsonRestore()  # pyright: ignore[reportCallIssue]
            record = manager.restore(step, args=ocp.args.Composite(record=read)).record
            self._check(record["about"])
            like = jax.tree.map(ocp.utils.to_shape_dtype_struct, _leaves(state))
            asked = ocp.args.StandardRestore(like)  # pyright: ignore[reportCallIssue]
            leaves = manager.restore(step, args=ocp.args.Composite(state=asked)).state
        tree = jax.tree.structure(state)
        state = jax.tree.unflatten(tree, [leaves[f"{i:04d}"] for i in range(tree.num_leaves)])
        told = {name: [np.asarray(v, np.float32)] for name, v in record["told"].items()}
        return state, told, record["judged"]

    def _check(self, found: dict[str, Any]) -> None:
        mine = json.loads(json.dumps(self.about))
        for name, value in mine.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{self.path} is the checkpoint of a run with {name}={found.get(name)!r}; this "
                    f"one has {name}={value!r}. Give another checkpoint=, or delete the folder."
                )


def _leaves(state: Any) -> dict[str, Any]:
    """Leaves by number: names of a tree depend on the optimiser's classes, numbers do not."""
    return {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
