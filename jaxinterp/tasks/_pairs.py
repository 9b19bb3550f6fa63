"""`Pairs`: clean and corrupt prompts with their answers, aligned token by token."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from .._text import line
from ..typing import ArrayLike, IndexLike


class TooFewExamples(ValueError):
    """The tokenizer admits fewer examples than were requested. The message says why, and how many there are.

    ```python
    try:
        ji.tasks.greater_than(tokenizer, 50, key=jax.random.key(0))
    except ji.tasks.TooFewExamples as error:
        print(error)  # the embedded tokenizer writes "32" as two tokens
    ```
    """


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    r"""$n$ pairs (clean, corrupt) of equal length, their answers, and the position of each role.

    `pairs[:8]` holds the first eight pairs and is a `Pairs` again.

    ```python
    pairs = ji.tasks.ioi(tokenizer, 100, key=jax.random.key(0))
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
    ji.metrics.measure(model, pairs.clean, metric, mask=pairs.mask)             # (100,)
    ```
    """

    name: str
    "The task."
    clean: Int[np.ndarray, "n pos"]
    "Token ids of the prompts."
    corrupt: Int[np.ndarray, "n pos"]
    "Token ids of the prompts in which the tokens that decide the answer are changed."
    correct: Int[np.ndarray, "n *right"]
    "The answer to the clean prompt, or a set of them, -1 where a set is smaller."
    wrong: Int[np.ndarray, "n *other"]
    "The answer that `correct` is compared with, in the same form."
    mask: Bool[np.ndarray, "n pos"]
    "True at real tokens; all True unless the builder was called with `pad`."
    positions: dict[str, Any]
    "For each named role the column of its last token, int32 (n,); the same in clean and corrupt."
    texts: list[str]
    "The clean prompts."
    corrupt_texts: list[str]
    "The corrupt prompts."
    kinds: list[str]
    "Which template each pair follows."
    dropped: list[tuple[str, str]]
    "The texts that were left out: (text, reason)."
    corruption: str = ""
    "How the corrupt prompts differ."
    metric: str = "logit_diff"
    "The metric of `ji.metrics` that takes `correct` and `wrong`."
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    "Further arrays, one entry per pair, that some tasks give."

    @property
    def pos(self) -> int | Int[np.ndarray, "n 1"]:
        """The position at which a metric reads the answer: -1, or the last real column of each prompt (n, 1)."""
        return -1 if self.mask[:, -1].all() else self.positions["END"][:, None]

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, which: IndexLike) -> "Pairs":
        if isinstance(which, int | np.integer):
            raise ValueError(f"Pairs stay batches: write pairs[{which}:{which + 1}].")
        rows = np.arange(len(self))[which]
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[rows] for name in ("clean", "corrupt", "correct", "wrong", "mask")},
            positions={name: value[rows] for name, value in self.positions.items()},
            about={name: value[rows] for name, value in self.about.items()},
            **{name: [getattr(self, name)[i] for i in rows] for name in ("texts", "corrupt_texts", "kinds")},
        )

    def reasons(self) -> Mapping[str, int]:
        """How many texts were left out for each reason, most frequent first."""
        return dict(collections.Counter(reason for _, reason in self.dropped).most_common())

    def __repr__(self) -> str:
        lengths = self.mask.sum(1)
        size = f"{lengths.max()} tokens"
        if lengths.min() < self.mask.shape[1]:
            side = "right" if self.mask[:, 0].all() else "left"
            size = f"{lengths.min()} to {lengths.max()} tokens, padded on the {side}"
        changed = ((self.clean != self.corrupt) & self.mask).sum(1)
        rows = [
            ("clean", repr(self.texts[0])),
            ("corrupt", repr(self.corrupt_texts[0])),
            (
                "corruption",
                f"{self.corruption}: changes {_range(changed)} token{'' if changed.max() == 1 else 's'}",
            ),
            ("positions", ", ".join(f"{name} {_range(value)}" for name, value in self.positions.items())),
            ("templates", _counts(collections.Counter(self.kinds))),
            ("dropped", f"{len(self.dropped)}" + (": " + _counts(self.reasons()) if self.dropped else "")),
            (
                "metric",
                f"ji.metrics.{self.metric}(pairs.correct, pairs.wrong"
                f"{'' if isinstance(self.pos, int) else ', pos=pairs.pos'})",
            ),
        ]
        head = f"{self.name}: {len(self)} pairs of {size}"
        return "\n".join([line(head), *(line(f"  {name:<11}{value}") for name, value in rows)])


def _range(values: ArrayLike) -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return f"{low}" if low == high else f"{low}..{high}"


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:6]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
