"""Walks of ACDC on disk: each threshold's trail is a file, and a walk that begins again replays it."""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._disk import write_whole
from .._read import TEXT, check, parse_json, read_npz
from ..corpus._fingerprint import fingerprint
from ..corpus._model_hash import model_hash
from ..metrics import Metric
from ._acdc_walk import Trail
from ._run import Experiment

EVERY = 10.0
"Seconds between two writes."


@dataclass
class Log:
    """A folder of trails of one experiment: `trail-0.01.npz` and its like."""

    folder: Path
    identity: str
    written: float = field(default_factory=time.monotonic)

    def trails(self) -> list[Trail]:
        """Every trail of the folder, the longest first. **Raises:** ValueError for those of another experiment."""
        found = []
        for path in sorted(self.folder.glob("trail-*.npz")):
            arrays = read_npz(path)
            text = bytes(arrays.get("about", np.zeros(0, np.uint8)))
            about = check(
                path, parse_json(text, f"The record in {path}"), {"identity": TEXT}, required=("identity",)
            )
            if about["identity"] != self.identity:
                raise ValueError(
                    f"{path} is of another experiment: another model, other prompts, another metric, graph, ablation "
                    "or order. Give another checkpoint= folder, or delete this one to begin anew."
                )
            values, gone = (arrays.get(name, np.zeros(0)) for name in ("values", "gone"))
            if (
                values.dtype != np.float64
                or gone.dtype != bool
                or values.shape != gone.shape
                or values.ndim != 1
            ):
                raise ValueError(f"{path} holds no trail of ACDC. Delete it to begin anew.")
            found.append(Trail(values, gone))
        return sorted(found, key=lambda trail: -len(trail.values))

    def save(self, threshold: float, trail: Trail, *, now: bool = False) -> None:
        """Writes a trail, at most every ten seconds."""
        if not now and time.monotonic() - self.written < EVERY:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        about = np.frombuffer(json.dumps({"identity": self.identity}).encode(), np.uint8)
        write = lambda file: np.savez(file, about=about, values=trail.values, gone=trail.gone)
        write_whole(self.folder / f"trail-{threshold!r}.npz", write)
        self.written = time.monotonic()


def identity(setup: Experiment, metric: Metric, ablate: str, sequence: np.ndarray) -> str:
    """What two calls must share for one to use the values of the other."""
    parts: list[Any] = [model_hash(setup.model), np.asarray(setup.tokens)]
    parts += [np.asarray(leaf) for leaf in jax.tree.leaves((setup.real, setup.there))]
    parts += [np.asarray(leaf) for leaf in jax.tree.leaves(metric)]
    names = [
        metric.name,
        getattr(metric.fn, "__qualname__", ""),
        ablate,
        repr(dataclasses.astuple(setup.graph)),
        sequence,
    ]
    return fingerprint(*parts, *names)
