"""Heads that write the answer: what each puts into the stream, read through the unembedding."""

import dataclasses

import numpy as np

from .. import viz
from .._arguments import as_int, as_number
from ..core._check import logit_count
from ..core._intervene import config_of
from ..lens import attention_lens
from ..stats import mean_interval, share_interval
from ..stats._results import Record, Result
from ..typing import FloatLike, IntLike, ModelLike
from ._by_task import TasksLike, answers, by_name


@dataclasses.dataclass(frozen=True, eq=False)
class AnswerWriters(Result):
    """The heads that write the answer, prompt by prompt; made by `answer_writers`.

    - `tasks`: the names of the tasks.
    - `share (task, layer, head)`: the share of the prompts on which a head writes the right answer.
    - `wrong (task, layer, head)`: the same for the wrong answer, which also stands in the context.
    - `chance`: the share for a head that writes tokens at random.
    - `count (task, layer)`: how many heads of a layer write the answer, a mean over prompts.
    - `first (task,)`: the first layer with a head that writes the answer, a mean over the prompts that have one; NaN
      where no prompt has one. `first_low`, `first_high`: its interval, NaN for fewer than two such prompts.
    - `writing (task, n, layer, head)`: True where a head writes the answer of a prompt; a list of arrays.

    Each row of `records()` has the interval of its share, `low` to `high`: Wilson's at 95%, over prompts.

    ```python
    writers = ji.chains.answer_writers(model, tasks)
    writers.share.shape, writers.heads(0.5)             # (task, layer, head), and heads (n, 2)
    ```
    """

    tasks: list[str]
    share: np.ndarray
    wrong: np.ndarray
    chance: float
    count: np.ndarray
    first: np.ndarray
    first_low: np.ndarray
    first_high: np.ndarray
    writing: list[np.ndarray]

    def heads(self, least: FloatLike = 0.5) -> np.ndarray:
        """The heads `(n, 2)` that write the answer on a share `least` of the prompts of a task or more."""
        most = self.share.max(0)
        chosen = np.argwhere(most >= as_number(least, "least", 0, 1))
        return chosen[np.argsort(-most[tuple(chosen.T)], kind="stable")]

    def records(self) -> list[Record]:
        """A row for each task and head."""
        ends = [share_interval(each.sum(0), len(each)) for each in self.writing]
        return [
            {
                "task": self.tasks[task],
                "layer": layer,
                "head": head,
                "share": float(self.share[task, layer, head]),
                "low": float(ends[task][0][layer, head]),
                "high": float(ends[task][1][layer, head]),
                "wrong": float(self.wrong[task, layer, head]),
                "chance": self.chance,
            }
            for task, layer, head in np.ndindex(*self.share.shape)
        ]

    def figure(self, *, title: str = "Heads that write the answer") -> viz.Figure:
        """How many heads of each layer write the answer, and the wrong one: means over tasks."""
        return viz.lines(
            {"right": self.count.mean(0), "wrong": self.wrong.sum(-1).mean(0)},
            x_axis="layer",
            y_axis="heads",
            title=title,
        )


def answer_writers(model: ModelLike, tasks: TasksLike, *, top: IntLike = 1) -> AnswerWriters:
    r"""$\text{answer} \in \mathrm{top}_k\big(z_{\ell,h} W_O \tfrac{g}{s} W_U\big)$: the heads that write the answer into the stream.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312). The output of each head at the last token of the clean prompt is
    divided by the scale of the last norm and read through the unembedding.

    **Arguments:**

    - `model`, `tasks`: as in `task_heads`; each prompt has one right and one wrong token.
    - `top`: k. A head writes the answer where it is among the k tokens that the head raises most; 1 by default.

    **Returns:** `AnswerWriters`.

    **Raises:** ValueError for answers that are sets of tokens, and for a `top` beyond the vocabulary.

    ```python
    tasks = {"5 induction": ji.tasks.ontology(tokenizer, 2, key=key, subtask=5, shots=0)}
    writers = ji.chains.answer_writers(model, tasks)
    writers.heads(0.5), writers.first
    ```

    Law: where `top` is the size of the vocabulary, every head is a writer.
    """
    named, size = by_name(tasks), as_int(top, "top", 1)
    right, wrong = [], []
    for pairs in named.values():
        read = attention_lens(model, pairs.clean, top=size, mask=pairs.mask)
        ids = np.moveaxis(np.asarray(read.ids), 0, 1)  # (n, layer, head, top)
        for found, answer in zip((right, wrong), answers(pairs), strict=True):
            found.append((ids == answer[:, None, None, None]).any(-1))
    first, low, high = np.array([_first(writing) for writing in right]).T
    return AnswerWriters(
        list(named),
        np.stack([each.mean(0) for each in right]),
        np.stack([each.mean(0) for each in wrong]),
        size / logit_count(config_of(model)),
        np.stack([each.sum(-1).mean(0) for each in right]),
        first,
        low,
        high,
        right,
    )


def _first(writing: np.ndarray) -> tuple[float, float, float]:
    """The first layer with a writer: its mean over prompts, and both ends of its interval."""
    layers = writing.any(-1)
    found = layers.argmax(-1)[layers.any(-1)].astype(np.float64)
    if len(found) < 2:
        return float(found.mean()) if len(found) else np.nan, np.nan, np.nan
    interval = mean_interval(found)
    return float(interval.mean), float(interval.low), float(interval.high)
