r"""Learned masks: edges or nodes are closed by gradient descent, as long as the metric stays."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, check_choice, check_key
from .._settings import takes_settings
from ..fit import Settings, sweep
from ..metrics import Metric
from ..patching._gradients import positions
from ..stats._results import Result
from ..typing import FloatLike, IntLike, KeyLike, MaskLike, MetricLike, ModelLike, StrLike, TokensLike
from ._circuit import Circuit, check_graph, check_known
from ._evaluate import faithful_gap
from ._graph import Graph
from ._graph import graph as graph_of
from ._hard_concrete import START, edge_mask, expected, open_probability, sample, score_count
from ._run import Experiment, experiment, values

RAMP = 0.6
"The share of the steps over which a target is approached."
OF, GOALS = ("edges", "nodes"), ("match", "min", "max")


@dataclasses.dataclass(frozen=True)
class PruneSettings:
    r"""How `ji.circuits.prune` learns masks.

    - `of`: `"edges"`, one score for each edge; or `"nodes"`, one for the queries, keys and values of each
      head and for each MLP (subnetwork probing).
    - `goal`: `"match"` keeps the metric equal to that of the whole model: $\overline{(m(C) - m(M))^2} \,/\,
      \overline{(m(\emptyset) - m(M))^2}$, means over prompts. `"min"` and `"max"` minimise and maximise the
      metric itself.
    - `steps`, `learning_rate`: those of Adam; each step uses all prompts.
    - `fit`: how the training runs and is saved: `ji.fit.Settings`.

    ```python
    settings = ji.circuits.PruneSettings(of="nodes", steps=200, learning_rate=0.1)
    ```
    """

    of: str = "edges"
    goal: str = "match"
    steps: int = 300
    learning_rate: float = 0.05
    fit: Settings = Settings(progress=True)

    def __post_init__(self) -> None:
        check_choice(self.of, "of", OF)
        check_choice(self.goal, "goal", GOALS)
        as_int(self.steps, "steps", 1)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is above 0; got {self.learning_rate!r}.")


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedMasks(Result):
    """The masks that `ji.circuits.prune` has learned: a row for each penalty (or target) and instance.

    - `circuit`: the edges whose expected mask is above 0.5, `mask (n, edge)`.
    - `expected (n, edge)`: the expected mask of every edge.
    - `penalty (n,)`, `target (n,)`, `instance (n,)`: the settings of each; the penalty is NaN where a target is
      given, and the target where it is not.
    - `kept (n,)`: how many edges are kept.
    - `history`: arrays `(n, step)` by name: `"loss"`, `"fit"` (the part of the loss from the metric) and `"open"`
      (the expected share of open masks).

    ```python
    few = ji.circuits.PruneSettings(steps=50)
    ji.circuits.prune(jax.random.key(0), model, clean, corrupt, metric, penalty=[0.1, 1.0], settings=few).records()
    ```
    """

    circuit: Circuit
    expected: np.ndarray
    penalty: np.ndarray
    target: np.ndarray
    instance: np.ndarray
    kept: np.ndarray
    history: dict[str, np.ndarray]

    def records(self) -> list[dict[str, Any]]:
        """A row for each circuit: its settings, its size, and the last numbers of the history."""
        last = {name: value[:, -1] for name, value in self.history.items()}
        columns = {name: getattr(self, name) for name in ("penalty", "target", "instance", "kept")} | last
        return [{name: value[row].item() for name, value in columns.items()} for row in range(len(self.kept))]

    def figure(self, *, title: str = "Learning which edges to keep") -> viz.Figure:
        """The history of the first five circuits, step by step: a panel for each of its numbers."""
        settings = zip(self.penalty, self.target, self.instance, strict=True)
        names = [
            f"{'target' if np.isnan(p) else 'penalty'} {viz.number(t if np.isnan(p) else p)}, {i}"
            for p, t, i in settings
        ][:5]
        panels = {what: dict(zip(names, rows, strict=False)) for what, rows in self.history.items()}
        return viz.line_panels(panels, title=title, x_axis="step", y_axes={what: what for what in panels})


class MaskLoss(eqx.Module):
    """The loss of learned masks: how far the metric is off, and how many masks are open."""

    setup: Experiment
    metric: Metric
    whole: Array
    gap: Array
    goal: str = eqx.field(static=True)
    of: str = eqx.field(static=True)
    aimed: bool = eqx.field(static=True)
    ramp: float = eqx.field(static=True)
    """How many steps the target takes from all masks to the share that is asked for."""

    def __call__(self, params: dict[str, Array], batch: Any, now: Any) -> tuple[Array, dict[str, Array]]:
        mask = edge_mask(sample(now.key, params["scores"]), self.setup.graph, self.of)
        value = self.metric.of(self.setup.logits(mask, positions(self.metric)))
        if self.goal == "match":
            fit = jnp.square((value - self.whole) / self.gap).mean()
        else:
            fit = value.mean() * (1 if self.goal == "min" else -1)
        share = open_probability(params["scores"]).mean()
        if self.aimed:
            # Descent on the scores and ascent on the two multipliers, by one gradient.
            way = jnp.minimum(1, now.step.astype(share.dtype) / self.ramp)
            # Below the target nothing presses, so that what the metric needs can open again.
            off = jax.nn.relu(share - (1 - way * (1 - now.member["target"])))
            dual = jax.lax.stop_gradient(params["dual"])
            still = jax.lax.stop_gradient(off)
            rise = params["dual"][0] * still + params["dual"][1] * still**2
            pressure = dual[0] * off + dual[1] * off**2
            loss = fit + pressure - (rise - jax.lax.stop_gradient(rise))
        else:
            loss = fit + now.member["penalty"] * share
        return loss, {"fit": fit, "open": share}


@takes_settings
def prune(
    key: KeyLike,
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    penalty: FloatLike | Sequence[FloatLike] = 1.0,
    target: FloatLike | Sequence[FloatLike] | None = None,
    instances: IntLike = 1,
    graph: Graph | None = None,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    settings: PruneSettings = PruneSettings(),
) -> LearnedMasks:
    r"""$\min_s\, \mathbb E_{m \sim p_s}\big[L(m)\big] + \lambda\, \overline{P_s(m > 0)}$: masks of edges or nodes that are learned.

    Subnetwork probing, Cao et al. 2021 (https://arxiv.org/abs/2104.03514), and edge pruning, Bhaskar et al. 2024
    (https://arxiv.org/abs/2406.16778). Each mask follows the hard concrete distribution: it is often exactly 0 or 1,
    and it has a gradient. All penalties and instances train in one program.

    **Arguments:**

    - `key`: a `jax.random.key`, of the noise of the masks.
    - `model`, `clean`, `corrupt`, `metric`, `ablate`, `mask`: as in `ji.circuits.evaluate`.
    - `penalty`: the weight of the share of open masks; several train side by side.
    - `target`: the largest share of open masks, in place of a penalty. The penalty is then
      $\lambda_1 (r - t)_+ + \lambda_2 (r - t)_+^2$, where r is the share of open masks, both multipliers rise until
      the target is met, and t falls from 1 to the target over the first 60% of the steps. Several train side by side.
    - `instances`: how many masks are trained for each penalty or target.
    - `graph`: a graph with other options than `ji.circuits.graph(model)`.
    - `settings`: what is masked, the goal, and the training: `PruneSettings`.

    **Returns:** a `LearnedMasks`.

    **Raises:** ValueError where the metric is the same on clean and corrupt prompts.

    Memory is about `layers * senders * prompts * pos * d` numbers for each penalty and instance.

    ```python
    found = ji.circuits.prune(jax.random.key(0), model, clean, corrupt, metric, penalty=[0.1, 1.0])
    ji.circuits.evaluate(model, found.circuit, clean, corrupt, metric).faithfulness
    ```

    Laws: without a penalty the metric stays; the larger the penalty, the fewer edges are kept.
    """
    check_key(key, "ji.circuits.prune({}, model, clean, corrupt, metric)")
    chosen = graph_of(model) if graph is None else check_graph(graph, graph_of(model))
    setup, pair = experiment(model, clean, corrupt, chosen, ablate=ablate, mask=mask)
    checked = pair.metric(metric)
    check_known("ji.circuits.prune", setup, checked)
    ends = jnp.stack([jnp.ones(chosen.size), jnp.zeros(chosen.size)])
    whole, none = values(setup, ends, checked, 1)
    gap = jnp.sqrt(jnp.square(whole - none).mean())
    if not float(gap) > 1e-6 * float(jnp.abs(whole).max()):
        faithful_gap(float(whole.mean()), float(none.mean()))  # raises
    aims = np.atleast_1d(np.asarray(penalty if target is None else target, np.float64))
    if aims.ndim != 1 or not aims.size or not np.isfinite(aims).all() or (aims < 0).any():
        raise ValueError(
            f"penalty and target are numbers of 0 or more, or lists of these; got {aims.tolist()}."
        )
    if target is not None and (aims > 1).any():
        raise ValueError(f"target is a share of masks, from 0 to 1; got {aims.tolist()}.")
    repeats = as_int(instances, "instances", 1)
    name = "penalty" if target is None else "target"
    members = [{name: jnp.asarray(aim, jnp.float32)} for aim in aims.tolist() for _ in range(repeats)]
    start: dict[str, Array] = {"scores": jnp.full(score_count(chosen, settings.of), START, jnp.float32)}
    if target is not None:
        start["dual"] = jnp.zeros(2, jnp.float32)
    loss = MaskLoss(
        setup, checked, whole, gap, settings.goal, settings.of, target is not None, RAMP * settings.steps
    )
    found = sweep(
        [start] * len(members),
        _no_data,
        loss,
        optax.adam(settings.learning_rate),
        steps=settings.steps,
        members=members,
        keys=jax.random.split(key, len(members)),
        settings=settings.fit,
    )
    spread = jax.vmap(lambda scores: edge_mask(expected(scores), chosen, settings.of))
    share = np.asarray(spread(jnp.stack([one.params["scores"] for one in found])))
    nothing = np.full(len(members), np.nan)
    each = np.repeat(aims, repeats)
    history = {key: np.stack([one.history[key] for one in found]) for key in ("loss", "fit", "open")}
    return LearnedMasks(
        Circuit(jnp.asarray(share > 0.5), chosen),
        share,
        each if target is None else nothing,
        nothing if target is None else each,
        np.tile(np.arange(repeats), len(aims)),
        (share > 0.5).sum(1),
        history,
    )


def _no_data(step: int) -> Array:
    """All prompts are in the loss."""
    return jnp.zeros(())
