"""Training state in one file, written all or nothing."""

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from .._disk import write_whole
from .._read import check, integer, npy_header, open_regular, parse_json, shown
from ..data._identity import check_identity

MAX_BYTES = 2**24  # of the line that says what is trained

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
    try:
        with open_regular(path) as file:
            done = check(path, _said(path, file), {"done": integer()}, required=("done",))["done"]
            history = {name: list(_array(file, None)) for name in ("loss", "grad_norm")}
            state = eqx.tree_deserialise_leaves(file, like, filter_spec=_array)
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy and Equinox raise what the bytes make of them
        raise ValueError(
            f"{path} is no checkpoint of this training, or is damaged ({type(error).__name__}: "
            f"{str(error)[:200]}). Give another checkpoint=, or delete the file to start anew."
        ) from error
    return done, state, history


def check_matches(path: Path, about: dict[str, Any], resume: str) -> None:
    """A checkpoint of another training is not gone on with."""
    with open_regular(path) as file:
        found = _said(path, file)
    for name, value in about.items():
        if name not in IDENTITY and found.get(name) != value:
            raise ValueError(
                f"{path} was written with {name}={shown(found.get(name))}, and this training has "
                f"{name}={value!r}. Give another checkpoint=, or delete the file to start anew."
            )
    check_identity(path, found, about, IDENTITY, resume)


def _said(path: Path, file: Any) -> dict[str, Any]:
    """The line of JSON that a checkpoint begins with."""
    line = file.readline(MAX_BYTES)
    return check(path, parse_json(line, f"The first line of {path}", constants=True), {}, required=())


def _array(file: Any, like: Any) -> Any:
    """The array that begins here, or the leaf as it is where none was written."""
    if like is not None and not eqx.is_array_like(like):
        return like
    at = file.tell()
    npy_header(file, os.fstat(file.fileno()).st_size - file.tell())
    file.seek(at)
    return np.load(file) if like is None else eqx.default_deserialise_filter_spec(file, like)
