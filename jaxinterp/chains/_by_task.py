"""One task or several by name, checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._text import shown
from ..tasks import Pairs

if TYPE_CHECKING:
    TasksLike: TypeAlias = Pairs | Mapping[str, Pairs]
    "Pairs of one task, or of several by name."
else:
    TasksLike = Any


def by_name(tasks: TasksLike) -> dict[str, Pairs]:
    """Tasks by name; one alone has the name of its prompts."""
    if isinstance(tasks, Pairs):
        return {tasks.kinds[0] if len(set(tasks.kinds)) == 1 else tasks.name: tasks}
    if (
        not isinstance(tasks, Mapping)
        or not tasks
        or not all(isinstance(each, Pairs) for each in tasks.values())
    ):
        raise ValueError(
            "Tasks are pairs of prompts, or several by name: {name: ji.tasks.ontology(tokenizer, 8, key=key, "
            f"subtask=i) for i, name in enumerate(ji.tasks.SUBTASKS)}}; got {shown(tasks)}."
        )
    return {str(name): pairs for name, pairs in tasks.items()}


def answers(pairs: Pairs) -> np.ndarray:
    """The right and the wrong token of each pair, `(2, n)`; each is one."""
    right, wrong = np.asarray(pairs.correct), np.asarray(pairs.wrong)
    if right.ndim != 1 or wrong.ndim != 1:
        raise ValueError(
            f"The answers of {pairs.name!r} are sets, of the shapes {right.shape} and {wrong.shape}; here each prompt "
            "has one right and one wrong token, as those of ji.tasks.ontology and ji.tasks.ioi."
        )
    return np.stack([right, wrong])
