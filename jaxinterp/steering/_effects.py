"""What edits do to a metric at several strengths, and what they cost on other text."""

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._arguments import as_floats
from .._waiting import waiting
from ..core import add, run
from ..metrics import Metric
from ..stats import mean_interval
from ..stats._results import Record, Result
from ..typing import ArrayLike, BatchLike, EditsLike, IntLike, MetricLike, ModelLike, StrLike, ValueLike
from ._interventions import as_direction
from ._prompts import Prompts, as_prompts, layer_place, metric_of
from ._trials import measured, wide_logits

if TYPE_CHECKING:
    from ..viz import Figure


@dataclasses.dataclass(frozen=True, eq=False)
class SideEffects(Result):
    """The change of the loss on other texts, in nats per text; made by `side_effects`.

    - `before (n,)`, `after (n,)`: the loss of the next token, without and with the edits.
    - `kl (n,)`: the KL from the predictions without the edits to those with them, a mean over positions.

    ```python
    cost = ji.steering.side_effects(model, ji.steering.ablate(direction), tokenizer(texts))
    (cost.after - cost.before).mean(), cost.kl.mean()
    ```
    """

    before: np.ndarray
    after: np.ndarray
    kl: np.ndarray

    def figure(self, *, title: str = "Loss of other texts") -> "Figure":
        """The loss with the edits over the loss without them, a point for each text."""
        from ..viz import scatter

        return scatter(
            {"text": (self.before, self.after)}, title=title, x_axis="nats without", y_axis="nats with"
        )

    def summary(self) -> list[Record]:
        """A row for `before`, `after`, their `difference`, and `kl`: the mean and its interval of 95%."""
        values = {
            "before": self.before,
            "after": self.after,
            "difference": self.after - self.before,
            "kl": self.kl,
        }
        return [{"measure": name, **interval_of(each)} for name, each in values.items()]


@waiting("ji.steering.side_effects: compiling and running")
def side_effects(model: ModelLike, edits: EditsLike, texts: BatchLike) -> SideEffects:
    r"""$-\overline{\log p_e(x_{t+1})}$ and $\overline{D_\mathrm{KL}(p \,\|\, p_e)}$: the cost of edits on other texts.

    Section 4.3 of Arditi et al. 2024 (https://arxiv.org/abs/2406.11717). Take texts that have nothing to do with the
    edits.

    **Arguments:**

    - `model`: a model, with or without edits of its own; both runs have these.
    - `edits`: the edits whose cost is measured.
    - `texts`: tokens `(n, pos)`, or a pair of tokens and mask.

    **Returns:** `SideEffects`. Texts are run one at a time, so that only the logits of one text are in memory.

    ```python
    cost = ji.steering.side_effects(model, ji.steering.ablate(direction), tokenizer(texts))
    cost.summary()
    ```

    Laws: without edits both losses are equal and KL is 0; padding changes nothing.
    """
    prompts = _texts(model, texts)
    run(model, prompts.tokens[:1], edits=edits, mask=prompts.mask[:1], logits=-1)  # what is wrong raises here
    found = _side_effects(model, edits, (prompts.tokens, prompts.mask))
    return SideEffects(*(np.asarray(each) for each in found))


def _texts(model: ModelLike, texts: BatchLike) -> Prompts:
    prompts = as_prompts(texts, "texts", model)
    if not jnp.issubdtype(prompts.tokens.dtype, jnp.integer):
        raise ValueError(
            "The loss of texts is that of their tokens: give token ids (n, pos), not embeddings."
        )
    if prompts.mask.sum(-1).min() < 2:
        raise ValueError("A text needs two tokens at least, of which the second is predicted.")
    return prompts


@eqx.filter_jit
def _side_effects(model: Any, edits: Any, texts: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    def one(text: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        tokens, mask = (each[None] for each in text)
        logs = [
            jax.nn.log_softmax(wide_logits(run(model, tokens, edits=each, mask=mask)[0][0, :-1]))
            for each in ((), edits)
        ]
        counted = (text[1][1:] & text[1][:-1]).astype(logs[0].dtype)
        mean = lambda x: (jnp.where(counted > 0, x, 0)).sum() / counted.sum()
        nats = [-jnp.take_along_axis(log, text[0][1:, None], -1)[:, 0] for log in logs]
        kl = (jnp.exp(logs[0]) * (logs[0] - logs[1])).sum(-1)
        return mean(nats[0]), mean(nats[1]), mean(kl)

    return lax.map(one, texts)


@dataclasses.dataclass(frozen=True, eq=False)
class StrengthSweep(Result):
    """A metric at several strengths of a direction; made by `strengths`.

    - `strengths (s,)`: factors of the direction.
    - `values (s, n)`: the metric of each prompt.
    - `loss (s, m)`, `kl (s, m)`: the cost on other texts, as `after` and `kl` of `SideEffects`; None without texts.

    ```python
    sweep = ji.steering.strengths(planted.model, planted.direction, planted.harmless, score, [0, 1, 2], layer=2)
    sweep.values.mean(1)                                # (3,)
    ```
    """

    strengths: np.ndarray
    values: np.ndarray
    loss: np.ndarray | None = None
    kl: np.ndarray | None = None

    def records(self) -> list[Record]:
        """A row for each strength: the mean of the metric with its interval, and the cost on other texts."""
        rows: list[Record] = []
        for i, strength in enumerate(self.strengths):
            row: Record = {"strength": float(strength), **interval_of(self.values[i])}
            if self.loss is not None and self.kl is not None:
                row |= {"loss": float(self.loss[i].mean()), "kl": float(self.kl[i].mean())}
            rows.append(row)
        return rows

    def figure(self) -> "Figure":
        """The mean of the metric over strengths, with its interval."""
        from ..viz import lines

        rows = self.records()
        mean = np.array([row["mean"] for row in rows])
        ends = tuple(np.array([row[end] for row in rows]) for end in ("low", "high"))
        bands = None if np.isnan(ends).any() else {"metric": (ends[0], ends[1])}
        return lines({"metric": mean}, x=self.strengths, x_axis="strength", y_axis="metric", bands=bands)


@waiting("ji.steering.strengths: compiling and running")
def strengths(
    model: ModelLike,
    direction: ValueLike,
    prompts: BatchLike,
    metric: MetricLike,
    factors: ArrayLike,
    *,
    layer: IntLike,
    site: StrLike = "resid_pre",
    texts: BatchLike | None = None,
) -> StrengthSweep:
    r"""$m\big(M(x \mid h_\ell \mathrel{+}= c\, r)\big)$ for every factor c, in one compiled program.

    This is contrastive activation addition, Rimsky et al. 2023 (https://arxiv.org/abs/2312.06681). There r is a
    difference of means over pairs of answers.

    **Arguments:**

    - `model`, `prompts`: a model; tokens `(n, pos)`, or a pair of tokens and mask.
    - `direction`: `(d,)`.
    - `metric`: a metric of `ji.metrics`, or a function of all logits.
    - `factors (s,)`: the strengths c; 0 leaves the model as it is.
    - `layer`, `site`: where the direction is added, at all positions.
    - `texts`: other texts on which the cost is measured, as in `side_effects`.

    **Returns:** `StrengthSweep`.

    ```python
    sweep = ji.steering.strengths(planted.model, planted.direction, planted.harmless, score, [0, 1, 2], layer=2)
    sweep.records()
    ```

    Laws: each row is a run with `ji.add(site, c * direction, layer=layer)`; the layer is traced, so another layer compiles
    nothing.
    """
    given = as_prompts(prompts, "prompts", model)
    vector = as_direction(direction)
    several = jnp.atleast_1d(jnp.asarray(as_floats(np.asarray(factors, float), "factors")))
    if several.ndim != 1 or not len(several) or not np.isfinite(several).all():
        raise ValueError(
            f"factors are numbers (s,), none of them NaN or infinite, such as [-1, 0, 1, 2]; got {np.asarray(several).tolist()}."
        )
    place, checked = layer_place(layer, model, "strengths"), metric_of(metric, model, given)
    run(model, given.tokens[:1], edits=[add(site, vector, layer=place)], mask=given.mask[:1], logits=-1)
    values = _values(model, vector, (given.tokens, given.mask), checked, several, place, site)
    costs: tuple[Any, ...] = (None, None)
    if texts is not None:
        other = _texts(model, texts)
        costs = _costs(model, vector, (other.tokens, other.mask), several, place, site)
    return StrengthSweep(
        np.asarray(several),
        np.asarray(values),
        *(None if each is None else np.asarray(each) for each in costs),
    )


@eqx.filter_jit
def _values(
    model: Any, vector: Array, prompts: Any, metric: Metric, factors: Array, layer: Array, site: str
) -> Float[Array, "s n"]:
    return lax.map(
        lambda c: measured(model, prompts, metric, [add(site, c * vector.astype(c.dtype), layer=layer)]),
        factors,
    )


@eqx.filter_jit
def _costs(
    model: Any, vector: Array, texts: Any, factors: Array, layer: Array, site: str
) -> tuple[Array, Array]:
    return lax.map(
        lambda c: _side_effects(model, [add(site, c * vector.astype(c.dtype), layer=layer)], texts)[1:],
        factors,
    )


def interval_of(values: np.ndarray) -> Record:
    """Mean and Student's interval of 95%; NaN ends for a single value."""
    if len(values) < 2:
        return {"mean": float(values.mean()), "low": float("nan"), "high": float("nan")}
    found = mean_interval(values)
    return {"mean": float(found.mean), "low": float(found.low), "high": float(found.high)}
