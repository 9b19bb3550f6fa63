"""Training state in one file, written all or nothing."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from .._disk import write_whole
from ..data._identity import check_identity

IDENTITY = ("model", "data", "optimizer")  # what a training may be made to go on without


def save_state(
    path: Path, about: dict[str, Any], done: int, state: Any, history: dict[str, list[np.ndarray]]
) -> None:
    """A line of JSON (what is trained, how far), then histories and every leaf of the state."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(file: Any) -> None:
        file.write(json.dumps({**about, "done": done}).encode() + b"\n")
        for values in history.values():
            np.save(file, np.stack(values), allow_pickle=False)
        eqx.tree_serialise_leaves(file, state)

    write_whole(path, write)


def load_state(path: Path, like: Any) -> tuple[int, Any, dict[str, list[np.ndarray]]]:
    """How many steps are done, the state, and the history of them."""
    with path.open("rb") as file:
        done = json.loads(file.readline())["done"]
        history = {name: list(np.load(file)) for name in ("loss", "grad_norm")}
        state = eqx.tree_deserialise_leaves(file, like)
    return done, state, history


def check_matches(path: Path, about: dict[str, Any], resume: str) -> None:
    """A checkpoint of another training is not gone on with."""
    with path.open("rb") as file:
        try:
            found = json.loads(file.readline())
        except ValueError:
            found = {}
    for name, value in about.items():
        if name not in IDENTITY and found.get(name) != value:
            raise ValueError(
                f"{path} was written with {name}={found.get(name)!r}, and this training has "
                f"{name}={value!r}. Give another checkpoint=, or delete the file to start anew."
            )
    check_identity(path, found, about, IDENTITY, resume)
