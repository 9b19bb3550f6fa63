"""Which heads a step of reasoning needs: each is restored alone in the corrupt run."""

import dataclasses

import numpy as np

from .. import viz
from .._arguments import check_choice
from ..core import run
from ..metrics import kl, measure
from ..patching import attribution, sweep
from ..stats._intervals import MeanInterval, check_level, interval_reach
from ..stats._results import Record, Result
from ..tasks import Pairs
from ..typing import BytesLike, FloatLike, ModelLike
from ._by_task import TasksLike, by_name


@dataclasses.dataclass(frozen=True, eq=False)
class TaskHeads(Result):
    """The share of the clean distribution that each head alone restores; made by `task_heads`.

    - `tasks`: the names of the tasks.
    - `score (task, layer, head)`: 1 where a head alone restores the clean distribution, 0 where it changes nothing.
    - `low`, `high`: the interval of each score over prompts; NaN for one prompt.
    - `kl (task,)`: the KL between the clean and the corrupt distribution in nats. The score is a share of it.
    - `by_prompt`: how each prompt moves the score, a list of arrays `(n, layer, head)` whose mean is the score.

    ```python
    heads = ji.chains.task_heads(model, tasks, method="attribution")
    heads.score.shape, heads.order()[0]                 # (task, layer, head), and the best head
    over = heads.mean()
    over.low, over.high                                 # the interval of the mean over tasks, (layer, head)
    ```
    """

    tasks: list[str]
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kl: np.ndarray
    by_prompt: list[np.ndarray]

    def mean(self, *, level: FloatLike = 0.95) -> MeanInterval:
        r"""$\bar s \pm t_{n-1}\, \mathrm{SE}$: the mean score over tasks with its interval over prompts, `(layer, head)`.

        Tasks stay as they are, and prompts are the sample. Where all tasks have n prompts, prompt i of each of them may
        ask the same question, so these are averaged first. Else tasks are independent: their variances add, and
        n is the smallest number of prompts. The ends are NaN where a task has one prompt.

        **Arguments:**

        - `level`: the coverage that the interval aims at; 0.95 by default.
        """
        level, sizes = check_level(level), [len(each) for each in self.by_prompt]
        if len(set(sizes)) == 1:
            error = standard_error(np.mean(self.by_prompt, 0))
        else:
            squares = np.square([standard_error(each) for each in self.by_prompt])
            error = np.sqrt(squares.sum(0)) / len(sizes)
        middle, half = self.score.mean(0), error * interval_reach(level, min(sizes))[1]
        return MeanInterval(middle, middle - half, middle + half, level)

    def order(self) -> np.ndarray:
        """Pairs (layer, head) from the highest mean score over tasks down, `(layer * head, 2)`."""
        mean = self.score.mean(0)
        return np.stack(np.unravel_index(np.argsort(-mean, axis=None, kind="stable"), mean.shape), 1)

    def records(self) -> list[Record]:
        """A row for each task and head."""
        return [
            {
                "task": self.tasks[task],
                "layer": layer,
                "head": head,
                "score": float(self.score[task, layer, head]),
                "low": float(self.low[task, layer, head]),
                "high": float(self.high[task, layer, head]),
            }
            for task, layer, head in np.ndindex(*self.score.shape)
        ]

    def figure(self, task: str | None = None, *, title: str = "") -> viz.Figure:
        """A heat map of one task, or of the mean over all."""
        values = self.score.mean(0) if task is None else self.score[self.tasks.index(task)]
        return viz.heatmap(
            values,
            axis_names=("layer", "head"),
            value="score",
            title=title or task or "Mean score over tasks",
        )


def task_heads(
    model: ModelLike,
    tasks: TasksLike,
    *,
    method: str = "exact",
    level: FloatLike = 0.95,
    max_bytes: BytesLike = "auto",
    progress: bool = True,
) -> TaskHeads:
    r"""$\frac{KL_{noise} - KL_{patched}}{KL_{noise}}$: the share of the clean distribution that one head restores.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312). The corrupt prompt is run with the output `z` of one head, at
    all positions, from the clean run. KL is from the clean run's distribution at the last token, and the ratio is of
    means over prompts.

    **Arguments:**

    - `model`: any model of the protocol.
    - `tasks`: pairs of prompts, or several by name, such as those of `ji.tasks.ontology` for each sub-task.
    - `method`: "exact" (the default), or "attribution": all heads from one backward pass, to first order.
    - `level`: the coverage of the intervals; 0.95 by default. They are intervals of a ratio of means, by linearisation.
    - `max_bytes`, `progress`: as in `ji.patching.sweep`.

    **Returns:** `TaskHeads`.

    **Raises:** ValueError for no tasks, and for prompts whose corrupt run equals the clean one.

    ```python
    tasks = {"5 induction": ji.tasks.ontology(tokenizer, 2, key=key, subtask=5, shots=0)}
    heads = ji.chains.task_heads(model, tasks, method="attribution")
    heads.order()[:10]
    ```

    Laws: a head whose output is the same in both runs has the score 0; padding changes nothing.
    """
    check_choice(method, "method", ("exact", "attribution"))
    level, named = check_level(level), by_name(tasks)
    found = [_one(model, name, pairs, method, level, max_bytes, progress) for name, pairs in named.items()]
    parts, nats = zip(*found, strict=True)
    score = np.stack([each.mean(0) for each in parts])
    half = np.stack([standard_error(each) * interval_reach(level, len(each))[1] for each in parts])
    return TaskHeads(list(named), score, score - half, score + half, np.array(nats), list(parts))


def standard_error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean of `values (n, ...)`; NaN for one value."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.std(0, ddof=1) / np.sqrt(len(values))


def _one(
    model: ModelLike, name: str, pairs: Pairs, method: str, level: float, max_bytes: BytesLike, progress: bool
) -> tuple[np.ndarray, float]:
    """The score of each prompt by linearisation of the ratio of means `(n, layer, head)`, and the KL."""
    reference, _ = run(model, pairs.clean, mask=pairs.mask, logits=-1)
    metric = kl(reference, pos=-1)
    noise = np.asarray(measure(model, pairs.corrupt, metric, mask=pairs.mask), np.float64)
    if noise.mean() < 1e-9:
        raise ValueError(
            f"On the prompts of {name!r} the corrupt run predicts what the clean one does, so there is nothing to "
            "restore. Choose prompts on which the answers differ."
        )
    options = {"site": "z", "over": ("layer", "head"), "mask": pairs.mask, "per_example": True}
    if method == "exact":
        patched = sweep(
            model, pairs.clean, pairs.corrupt, metric, max_bytes=max_bytes, progress=progress, **options
        )
    else:
        patched = attribution(model, pairs.clean, pairs.corrupt, metric, **options)
    left = np.asarray(patched, np.float64)  # (layer, head, n)
    share = left.mean(-1, keepdims=True) / noise.mean()
    each = 1 - share - (left - share * noise) / noise.mean()
    return np.moveaxis(each, -1, 0), float(noise.mean())
