"""Steering vectors by gradient descent through an edit."""

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_number
from ..core import add, run
from ..core._intervene import config_of
from ..fit import train
from ..fit._settings import SettingsLike
from ..metrics import Metric
from ..stats._results import Record, Result
from ..typing import BatchLike, FloatLike, IntLike, MetricLike, ModelLike, OptimizerLike, StrLike, ValueLike
from ._interventions import as_direction
from ._prompts import as_prompts, layer_place, metric_of
from ._trials import measured

if TYPE_CHECKING:
    from ..viz import Figure


@dataclasses.dataclass(frozen=True, eq=False)
class Learned(Result):
    """A learned steering vector with the curves of its training; made by `learn`.

    - `direction (d,)`: the vector that is added.
    - `metric (steps,)`: the mean metric over the prompts before each update.
    - `loss (steps,)`: the number that is minimised, before each update.

    ```python
    found = ji.steering.learn(planted.model, planted.harmless, score, optax.adam(0.1), layer=2, steps=50)
    found.metric[0], found.metric[-1]
    ```
    """

    direction: np.ndarray
    metric: np.ndarray
    loss: np.ndarray

    def records(self) -> list[Record]:
        """A row for each step."""
        rows = zip(self.metric.tolist(), self.loss.tolist(), strict=True)
        return [{"step": i, "metric": metric, "loss": loss} for i, (metric, loss) in enumerate(rows, 1)]

    def figure(self) -> "Figure":
        """The metric over steps."""
        from ..viz import lines

        return lines(
            {"metric": self.metric}, x=np.arange(1, len(self.metric) + 1), x_axis="step", y_axis="metric"
        )


class Objective(eqx.Module):
    """$\\lambda \\lVert v \\rVert^2 - \\bar m$ of a vector; the batch are tokens and mask."""

    model: Any
    metric: Metric
    layer: Array
    penalty: Array
    site: str = eqx.field(static=True)

    def __call__(self, vector: Array, batch: Any, now: Any) -> Any:
        value = measured(self.model, batch, self.metric, [add(self.site, vector, layer=self.layer)]).mean()
        cost = self.penalty.astype(value.dtype) * jnp.square(vector).sum().astype(value.dtype)
        return cost - value, {"metric": value}


def learn(
    model: ModelLike,
    prompts: BatchLike,
    metric: MetricLike,
    optimizer: OptimizerLike,
    *,
    layer: IntLike,
    steps: IntLike,
    site: StrLike = "resid_pre",
    start: ValueLike | None = None,
    penalty: FloatLike = 0.0,
    settings: SettingsLike | None = None,
) -> Learned:
    r"""$\arg\max_v\; \overline{m}\big(M(x \mid h_\ell \mathrel{+}= v)\big) - \lambda \lVert v \rVert^2$: a steering vector by gradient through the edit.

    Subramani et al. 2022 (https://arxiv.org/abs/2205.05124). Every step reads all prompts.

    **Arguments:**

    - `model`: a model, which stays as it is.
    - `prompts`: tokens `(n, pos)`, or a pair of tokens and mask.
    - `metric`: the number to make large: a metric of `ji.metrics`, or a function of all logits. It may have an answer
      for each prompt.
    - `optimizer`: an optimizer of optax.
    - `layer`, `site`: where the vector is added, at all positions.
    - `steps`: how many updates.
    - `start (d,)`: the first vector; None (the default) for zeros.
    - `penalty`: $\lambda$; 0 by default.
    - `settings`: `ji.fit.Settings`: reports and checkpoints of the training loop.

    **Returns:** `Learned`.

    **Raises:** ValueError for a layer that the model lacks, a start of another width, and a negative penalty.

    ```python
    score = ji.metrics.log_odds(tokenizer.token_id(" Mary"))
    found = ji.steering.learn(model, tokenizer(texts), score, optax.adam(0.1), layer=2, steps=100)
    edit = ji.add("resid_pre", found.direction, layer=2)
    ```

    Laws: with one step of `optax.sgd(1.0)` from zeros it is the gradient of the mean metric at the site, summed over
    positions; the model's weights do not change.
    """
    given = as_prompts(prompts, "prompts", model)
    checked = metric_of(metric, model, given)
    weight = as_number(penalty, "penalty", 0, float("inf"))
    width = config_of(model).d
    vector = jnp.zeros(width, jnp.float32) if start is None else as_direction(start, width)
    place = layer_place(layer, model, "learn")
    run(model, given.tokens[:1], edits=[add(site, vector, layer=place)], mask=given.mask[:1], logits=-1)
    objective = Objective(model, checked, place, jnp.asarray(weight, vector.dtype), site)
    batch = (given.tokens, given.mask)
    found = train(vector, lambda step: batch, objective, optimizer, steps=steps, settings=settings)
    history = {name: np.asarray(found.history[name]) for name in ("metric", "loss")}
    return Learned(np.asarray(found.params), history["metric"], history["loss"])
