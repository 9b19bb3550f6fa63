"""Answers by condition in a file: a call that was stopped goes on from it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._disk import write_whole
from .._read import read_json
from ..core import intervene
from ..corpus._fingerprint import fingerprint
from ..corpus._model_hash import model_hash


class KeptAnswers:
    """Answers by condition, in memory and, if asked for, in a JSON file that is whole at every moment."""

    def __init__(self, path: Any, identity: Callable[[], str]) -> None:
        self.path = None if path is None else Path(path)
        self.answers: dict[str, list[str]] = {}
        if self.path is None:
            return
        self.identity = identity()
        if self.path.exists():
            found = read_json(self.path, max_bytes=2**28)
            if not isinstance(found, dict) or found.get("about") != self.identity:
                raise ValueError(
                    f"{self.path} holds answers of another call: another model, other prompts, edits or steps. "
                    "Give another out=, or delete the file."
                )
            self.answers = {
                str(name): [str(each) for each in texts] for name, texts in found["answers"].items()
            }

    def of(self, name: str) -> list[str]:
        return self.answers.get(name, [])

    def add(self, name: str, texts: list[str]) -> None:
        self.answers[name] = [*self.of(name), *texts]
        if self.path is not None:
            value = {"about": self.identity, "answers": self.answers}
            write_whole(self.path, json.dumps(value, ensure_ascii=True, indent=1).encode())


def answers_identity(model: Any, texts: Sequence[str], conditions: Any, steps: int, stop: Any) -> str:
    edited = [model_hash(intervene(model, edits)) for edits in conditions.values()]
    return fingerprint(list(texts), list(conditions), edited, steps, np.asarray(-1 if stop is None else stop))
