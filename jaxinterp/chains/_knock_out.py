"""How many heads a chain of reasoning needs: all others get what they do on the corrupt prompt."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, check_key
from .._random import host_generator
from ..core import run
from ..core._intervene import config_of
from ..patching._kept_cells import kept_heads
from ..stats import share_interval
from ..stats._results import Record, Result
from ..tasks import Pairs
from ..typing import ArrayLike, IntLike, KeyLike, ModelLike
from ._by_task import TasksLike, answers, by_name
from ._task_heads import TaskHeads


@dataclasses.dataclass(frozen=True, eq=False)
class KnockOut(Result):
    """The accuracy of a model with only k clean heads; made by `knock_out`.

    - `tasks`: the names of the tasks.
    - `counts (k,)`: how many heads are left clean.
    - `accuracy (task, k)`: how often the right answer has a larger logit than the wrong one; chance is one half.
    - `first (task, k)`: how often the right answer is the likeliest of all tokens.
    - `random (task, k)`: the accuracy with as many random heads, a mean over `orders` orders; None without a key.
    - `full (task,)`: the accuracy of the whole model.
    - `prompts`: how many prompts a task has, the fewest of all tasks.

    Each row of `records()` has the interval of its accuracy, `low` to `high`: Wilson's at 95%, of `prompts` prompts.

    ```python
    curve = ji.chains.knock_out(model, tasks, heads, counts=[0, 5, 20])
    curve.accuracy, curve.full                          # (task, 3), (task,)
    ```
    """

    tasks: list[str]
    counts: np.ndarray
    accuracy: np.ndarray
    first: np.ndarray
    random: np.ndarray | None
    full: np.ndarray
    prompts: int

    def records(self) -> list[Record]:
        """A row for each task and number of heads."""
        low, high = share_interval(self.accuracy * self.prompts, self.prompts)
        return [
            {
                "task": name,
                "heads": int(count),
                "accuracy": float(self.accuracy[t, k]),
                "low": float(low[t, k]),
                "high": float(high[t, k]),
                "first": float(self.first[t, k]),
                "random": None if self.random is None else float(self.random[t, k]),
                "full": float(self.full[t]),
            }
            for t, name in enumerate(self.tasks)
            for k, count in enumerate(self.counts)
        ]

    def figure(self, *, title: str = "Accuracy with k heads") -> viz.Figure:
        """The mean over tasks by the number of heads, beside heads at random and a coin."""
        series = {"best heads": self.accuracy.mean(0), "a coin": np.full(len(self.counts), 0.5)}
        if self.random is not None:
            series["heads at random"] = self.random.mean(0)
        return viz.lines(series, x=self.counts, x_axis="heads left clean", y_axis="accuracy", title=title)


def knock_out(
    model: ModelLike,
    tasks: TasksLike,
    heads: TaskHeads | ArrayLike,
    *,
    counts: Sequence[IntLike] | None = None,
    key: KeyLike | None = None,
    orders: IntLike = 1,
) -> KnockOut:
    r"""$\mathrm{acc}(k)$ of $M(x \mid z_h \leftarrow z_h(x'), h \notin \text{top } k)$: the accuracy with only k clean heads.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312). All heads but the first k of an order get their output on the
    corrupt prompt, at all positions. MLPs are computed anew.

    **Arguments:**

    - `model`, `tasks`: as in `task_heads`; each prompt has one right and one wrong token.
    - `heads`: the result of `task_heads`, or your own order, pairs (layer, head) `(n, 2)`, the best first.
    - `counts`: numbers of heads, rising; 0, 1, 2, 4, ... and all of them by default.
    - `key`: a `jax.random.key`, which draws random orders for the control. None (the default): no control.
    - `orders`: how many random orders; 1 by default.

    **Returns:** `KnockOut`.

    **Raises:** ValueError for heads that the model lacks or that stand twice in the order, and for counts beyond their
    number.

    ```python
    heads = ji.chains.task_heads(model, tasks, method="attribution")
    curve = ji.chains.knock_out(model, tasks, heads, counts=[0, 5, 20], key=jax.random.key(0))
    curve.accuracy.mean(0), curve.random.mean(0)
    ```

    Laws: with all heads clean it is the model on clean prompts; with none clean, a model of attention alone answers as on
    corrupt prompts.
    """
    named, config = by_name(tasks), config_of(model)
    shape = config.layers, config.heads
    order = heads.order() if isinstance(heads, TaskHeads) else np.asarray(heads)
    if order.ndim != 2 or order.shape[1] != 2 or not np.issubdtype(order.dtype, np.integer):
        raise ValueError(
            f"heads are pairs (layer, head), the best first: [(5, 1), (4, 0)]; got the shape {order.shape} of "
            f"{order.dtype}."
        )
    if (order < 0).any() or (order >= np.array(shape)).any() or len(np.unique(order, axis=0)) < len(order):
        raise ValueError(f"heads are different ones of {shape[0]} layers with {shape[1]} heads each.")
    if counts is None:
        counts = [0, *(2**i for i in range(20) if 2**i < len(order)), len(order)]
    sizes = np.array([as_int(count, "counts", 0) for count in counts])
    if not len(sizes) or (np.diff(sizes) <= 0).any() or sizes[-1] > len(order):
        raise ValueError(f"counts rise, up to the {len(order)} heads of the order; got {sizes.tolist()}.")
    several = [order]
    if key is not None:
        rng = host_generator(check_key(key, "ji.chains.knock_out(..., key={})"))
        every = np.stack(np.unravel_index(np.arange(shape[0] * shape[1]), shape), 1)
        several += [rng.permutation(every)[: len(order)] for _ in range(as_int(orders, "orders", 1))]
    masks = np.zeros((len(several), len(sizes), *shape), bool)
    for each, mask in zip(several, masks, strict=True):
        for size, row in zip(sizes, mask, strict=True):
            row[tuple(each[:size].T)] = True
    whole = np.ones((1, *shape), bool)
    flat = np.concatenate([masks.reshape(-1, *shape), whole])
    found = np.stack([_scores(model, pairs, flat) for pairs in named.values()])  # (task, mask, 2)
    curves = found[:, :-1].reshape(len(named), len(several), len(sizes), 2)
    return KnockOut(
        list(named),
        sizes,
        curves[:, 0, :, 0],
        curves[:, 0, :, 1],
        curves[:, 1:, :, 0].mean(1) if key is not None else None,
        found[:, -1, 0],
        min(len(pairs) for pairs in named.values()),
    )


def _scores(model: ModelLike, pairs: Pairs, masks: np.ndarray) -> np.ndarray:
    """Accuracy against the wrong answer, and among all tokens, of each mask of heads `(mask, 2)`."""
    _, acts = run(model, pairs.corrupt, capture=["z"], mask=pairs.mask, logits=False)
    both = answers(pairs)
    clean, real, ids, kept = (jnp.asarray(x) for x in (pairs.clean, pairs.mask, both, masks))
    right, wrong, top = _masked(model, clean, real, ids, kept, acts["z"])
    right, wrong, top = (np.asarray(each, np.float64) for each in (right, wrong, top))
    lead = (right > wrong) + (right == wrong) / 2
    return np.stack([lead.mean(1), (right >= top).mean(1)], 1)


@eqx.filter_jit
def _masked(
    model: ModelLike, tokens: Array, mask: Array, both: Array, masks: Array, corrupt: Array
) -> tuple[Array, Array, Array]:
    def one(keep: Array) -> tuple[Array, Array, Array]:
        logits, _ = run(model, tokens, edits=[kept_heads(corrupt, keep)], mask=mask, logits=-1)
        right, wrong = (jnp.take_along_axis(logits, ids[:, None], 1)[:, 0] for ids in both)
        return right, wrong, logits.max(-1)

    return jax.lax.map(one, masks)
