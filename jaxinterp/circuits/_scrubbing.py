r"""Causal scrubbing: a hypothesis says which inputs an edge cannot tell apart, and the edge is tested on them."""

import dataclasses
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from .._arguments import as_int
from .._random import host_generator
from .._waiting import waiting
from ..core._run import run as run_model
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ..stats._intervals import mean_interval
from ..stats._results import Result
from ..typing import ClaimsLike, IntLike, KeyLike, MaskLike, MetricLike, ModelLike, TokensLike
from ._circuit import check_graph, check_known
from ._edge_mask import Changes, EdgeMask, cuts
from ._graph import Graph
from ._graph import graph as graph_of
from ._neurons import directions
from ._run import Experiment, experiment


@dataclasses.dataclass(frozen=True, eq=False)
class Scrubbed(Result):
    """How well a hypothesis explains the metric, from `ji.circuits.scrub`.

    - `value`, `low`, `high`: the mean metric over the resamples, and its interval.
    - `recovered`: `value`, rescaled so that `chance` is 0 and `clean` is 1.
    - `clean`: the metric of the model. `chance`: its mean where every edge carries the output on other prompts.
    - `values (resample,)`: the metric of each resample, the mean over prompts.

    ```python
    claims = {"who gives": (["1.1->logits"], tokens[:, 12])}
    answer = ji.metrics.log_prob(tokens[:, 12])
    found = ji.circuits.scrub(model, tokens, answer, claims, key=jax.random.key(0))
    found.value, (found.low, found.high), found.recovered
    ```
    """

    value: float
    low: float
    high: float
    recovered: float
    clean: float
    chance: float
    values: np.ndarray

    def records(self) -> list[dict[str, Any]]:
        """One row; the single resamples are left out."""
        fields = ("value", "low", "high", "recovered", "clean", "chance")
        return [{name: getattr(self, name) for name in fields}]


class OtherPrompt(EdgeMask):
    """Edges that carry what their senders write on another prompt of the batch, in the same run.

    - `order`: for each prompt the number of the other one. `cut` is 1 at the edges that are swapped, and
      `there` is None.
    """

    order: Int[Array, " batch"] | None = None

    def _mixed(self, cut: Num[Array, "sender slot *pos"], wrote: Changes) -> Float[Array, "..."]:
        # `wrote` is minus what the senders write, since they are compared with zero.
        order = cast(Array, self.order)
        neurons = None if wrote.neurons is None else wrote.neurons - jnp.take(wrote.neurons, order, axis=2)
        return super()._mixed(cut, Changes(wrote.vectors - jnp.take(wrote.vectors, order, axis=1), neurons))


@waiting("ji.circuits.scrub: compiling and running")
def scrub(
    model: ModelLike,
    tokens: TokensLike,
    metric: MetricLike,
    hypothesis: ClaimsLike,
    *,
    key: KeyLike,
    resamples: IntLike = 20,
    graph: Graph | None = None,
    mask: MaskLike | None = None,
) -> Scrubbed:
    r"""$x_v^{(i)} \leftarrow \sum_u u^{(\pi_e(i))}$, with $f_e(\pi_e(i)) = f_e(i)$: does an edge carry only what a hypothesis says?

    Causal scrubbing, Chan et al. 2022
    (https://www.alignmentforum.org/posts/JvZhhzycHu2Yd57RN/causal-scrubbing). A claim says that some edges carry a
    function f of the prompt and nothing else. Then each of these edges may carry the output of its sender on another
    prompt with the same f. Senders compute this output in the same run, in which earlier edges are swapped too.
    Edges without a claim carry the output on any other prompt. If the hypothesis holds, the metric stays.

    **Arguments:**

    - `model`: a model without edits of its own.
    - `tokens`: prompts `(prompt, pos)`.
    - `metric`: a metric with the answers of these prompts.
    - `hypothesis`: claims by name, `{"copied name": (edges, labels)}`. Labels are the values of f: a number or a
      text for each prompt, or a function of the tokens that returns them. Edges of one claim are swapped together;
      put edges that should be swapped independently into different claims.
    - `key`: a `jax.random.key` for the swaps.
    - `resamples`: how many times swaps are drawn, in one program; 20 by default.
    - `graph`: a graph with other options than `ji.circuits.graph(model)`.
    - `mask`: True at real tokens. Prompts are swapped only with prompts that are padded alike.

    **Returns:** a `Scrubbed`.

    **Raises:** ValueError for an edge in two claims, labels of another number, and a metric that is the same on
    swapped prompts.

    ```python
    claims = {"who gives": (["1.1->logits"], tokens[:, 12])}
    answer = ji.metrics.log_prob(tokens[:, 12])
    ji.circuits.scrub(model, tokens, answer, claims, key=jax.random.key(0)).recovered
    ```

    Laws: claims that tell all prompts apart, on all edges, recover 1; no claims recover 0.
    """
    chosen = graph_of(model) if graph is None else check_graph(graph, graph_of(model))
    setup, pair = experiment(model, tokens, tokens, chosen, mask=mask)
    if len(pair.batch) != 1 or pair.batch[0] < 2:
        raise ValueError(
            f"Prompts are swapped with each other: tokens are (prompt, pos), two or more; got {setup.tokens.shape}."
        )
    checked = pair.metric(metric)
    check_known("ji.circuits.scrub", setup, checked)
    draws = as_int(resamples, "resamples", 2)
    padding = np.zeros((pair.batch[0], 1)) if pair.mask is None else np.asarray(pair.mask)
    masks = np.zeros((len(hypothesis), chosen.size), bool)
    labels = [_classes(padding, None)]
    for row, (name, claim) in enumerate(hypothesis.items()):
        if not isinstance(claim, tuple) or len(claim) != 2:
            raise ValueError(f"A claim is (edges, labels): {{{name!r}: (['0.1->logits'], labels)}}.")
        edges, given = claim
        masks[row] = chosen.mask(edges).kept
        given = np.asarray(given(setup.tokens) if callable(given) else given)
        if given.shape[:1] != pair.batch:
            raise ValueError(
                f"The claim {name!r} has one label for each of the {pair.batch[0]} prompts; got the shape {given.shape}."
            )
        labels.append(_classes(padding, given))
    twice = np.flatnonzero(masks.sum(0) > 1)
    if twice.size:
        raise ValueError(f"The edge {chosen.edges[twice[0]]!r} is in two claims; one edge carries one thing.")
    rng = host_generator(key, "ji.circuits.scrub(model, tokens, metric, claims, key={})")
    orders = np.stack([[_swapped(rng, each) for each in labels] for _ in range(draws)]).astype(np.int32)
    found, chance, whole = _scrubbed(setup, jnp.asarray(orders), jnp.asarray(masks, jnp.float32), checked)
    found, chance = (np.asarray(each, np.float64) for each in (found, chance))
    gap = float(whole) - float(chance.mean())
    if not np.isfinite(gap) or abs(gap) <= 1e-6 * max(abs(float(whole)), 1e-6):
        raise ValueError(
            f"The metric is {float(whole):g} on the prompts, and {float(chance.mean()):g} where each reads another "
            "prompt, so there is nothing to recover. Give it the answers of each prompt, such as "
            "ji.metrics.log_prob(tokens[:, 1]), and prompts whose answers differ."
        )
    interval = mean_interval(found)
    recovered = (float(found.mean()) - float(chance.mean())) / gap
    return Scrubbed(
        float(found.mean()),
        float(interval.low),
        float(interval.high),
        recovered,
        float(whole),
        float(chance.mean()),
        found,
    )


def _classes(padding: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """A number for each prompt, equal where padding and labels are."""
    numbers = np.unique(padding, axis=0, return_inverse=True)[1].reshape(-1)
    if labels is None:
        return numbers
    kinds = np.unique(labels.reshape(len(labels), -1), axis=0, return_inverse=True)[1].reshape(-1)
    return numbers * len(kinds) + kinds


def _swapped(rng: np.random.Generator, classes: np.ndarray) -> np.ndarray:
    """A random order of the prompts in which each stands in the place of one of its class."""
    order = np.arange(len(classes))
    for one in np.unique(classes):
        members = np.flatnonzero(classes == one)
        order[members] = rng.permutation(members)
    return order


@on_mesh
@eqx.filter_jit
def _scrubbed(
    setup: Experiment,
    orders: Int[Array, "resample order batch"],
    masks: Float[Array, "claim edge"],
    metric: Metric,
) -> tuple[Array, Array, Array]:
    graph = setup.graph
    at = positions(metric)
    claimed = masks.sum(0)

    def value(order: Array, kept: Array, more: list[Any]) -> Array:
        there = {
            site: jnp.take(each, order, axis=0 if site in ("embed", "pos_embed") else 1)
            for site, each in (setup.there or {}).items()
        }
        other = eqx.tree_at(lambda one: one.there, setup, there)
        logits, _ = run_model(
            setup.model, setup.tokens, edits=[other.edit(kept), *more], mask=setup.real, logits=at
        )
        return metric.of(logits).mean()

    def one(order: Array) -> tuple[Array, Array]:
        swaps = [
            OtherPrompt(
                cut=cuts(1 - mask, graph),
                there=None,
                number=setup.number,
                before=None,
                out=directions(setup.model, graph),
                graph=graph,
                order=own,
            )
            for mask, own in zip(masks, order[1:], strict=True)
        ]
        return value(order[0], claimed, swaps), value(order[0], jnp.zeros(graph.size), [])

    found, chance = lax.map(one, orders)
    return found, chance, metric.of(setup.logits(jnp.ones(graph.size), at)).mean()
