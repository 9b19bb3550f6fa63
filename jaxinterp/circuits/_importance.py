r"""Importance of nodes from one gradient: head importance score for pruning (HISP)."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_bool
from .._waiting import waiting
from ..core._grads import site_grads
from ..core._run import run
from ..patching._pairs import make_pair
from ..stats._results import Result
from ..typing import BoolLike, MaskLike, MetricLike, ModelLike, TokensLike
from ._graph import Graph


@dataclasses.dataclass(frozen=True, eq=False)
class NodeImportance(Result):
    """How much each node matters, from `ji.circuits.node_importance`.

    - `head (layer, head)`: the importance of the outputs of heads.
    - `q (layer, head)`, `k`, `v (layer, kv_head)`: the importance of queries, keys and values.
    - `mlp (layer,)`: the importance of the outputs of MLPs; None without MLPs.

    ```python
    importance = ji.circuits.node_importance(model, clean, metric)
    circuit = ji.circuits.select(importance.scores(graph), n=50)
    ```
    """

    head: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mlp: np.ndarray | None

    def scores(self, graph: Graph) -> "SenderScores":
        """The importance of its sender for every edge, for `ji.circuits.select` and `roc`; embeddings have the largest."""
        if graph.neurons:
            raise ValueError(
                "Importance is that of heads and MLPs, not of neurons; give a graph without them: ji.circuits.graph(model)."
            )
        by_name = {f"{layer}.{head}": value for (layer, head), value in np.ndenumerate(self.head)}
        by_name |= {} if self.mlp is None else {f"mlp{layer}": value for layer, value in enumerate(self.mlp)}
        most = max(by_name.values())
        values = np.asarray([by_name.get(name, most) for name in graph.senders])
        return SenderScores(np.repeat(values[graph.pairs[:, 0]], graph.pos or 1), graph)

    def records(self) -> list[dict[str, Any]]:
        """A row for each node."""
        kinds = {"head": self.head, "q": self.q, "k": self.k, "v": self.v}
        rows = [
            {"kind": kind, "layer": layer, "head": head, "importance": float(value)}
            for kind, each in kinds.items()
            for (layer, head), value in np.ndenumerate(each)
        ]
        mlps = () if self.mlp is None else enumerate(self.mlp.tolist())
        return [*rows, *({"kind": "mlp", "layer": i, "head": None, "importance": value} for i, value in mlps)]

    def figure(self, *, title: str = "Importance of nodes") -> viz.Figure:
        """Heat maps (layer, head) of what heads write and read; heads that share keys have them once."""
        heads = self.head.shape[1]
        kinds = {"head": self.head, "q": self.q, "k": self.k, "v": self.v}
        wide = {
            kind: np.pad(each, ((0, 0), (0, heads - each.shape[1])), constant_values=np.nan)
            for kind, each in kinds.items()
        }
        return viz.heatmaps(wide, axis_names=("layer", "head"), value="importance", title=title)


@dataclasses.dataclass(frozen=True, eq=False)
class SenderScores:
    """Scores of edges `values (edge,)` that are those of their senders."""

    values: np.ndarray
    graph: Graph


@waiting("ji.circuits.node_importance: compiling and running")
def node_importance(
    model: ModelLike,
    clean: TokensLike,
    metric: MetricLike,
    *,
    corrupt: TokensLike | None = None,
    mask: MaskLike | None = None,
    normalise: BoolLike = True,
) -> NodeImportance:
    r"""$I = \mathbb E_x \big| \sum_{t, d} \frac{\partial m}{\partial o}\, (o - o') \big|$: how much each node matters, to first order.

    $o$ is the output of a node, and $o'$ its output on the corrupt prompts, or 0. Michel et al. 2019
    (https://arxiv.org/abs/1905.10650); for queries, keys, values and MLPs as in Conmy et al. 2023
    (https://arxiv.org/abs/2304.14997). All nodes cost one forward and one backward pass.

    **Arguments:**

    - `model`, `clean`, `metric`, `mask`: as in `ji.circuits.evaluate`.
    - `corrupt`: prompts whose activations are $o'$; None stands for $o' = 0$.
    - `normalise`: whether the importances of a kind are divided by their L2 norm in each layer; True by default.
      MLPs, one for each layer, are divided by their norm over layers.

    **Returns:** a `NodeImportance`.

    ```python
    importance = ji.circuits.node_importance(model, clean, metric)
    importance.head.shape                                   # (layer, head)
    ```

    **Raises:** ValueError where no node has any importance: for a metric that is constant, a KL at its reference, and
    corrupt prompts that are the clean ones.

    Law: without `normalise` it is the mean over prompts of the size of the attribution of each node.
    """
    pair = make_pair(model, clean, clean if corrupt is None else corrupt, mask, "noise")
    names = [site for site in ("z", "q", "k", "v", "mlp_out") if site in pair.shapes]
    _, acts, grads = site_grads(model, pair.target, pair.metric(metric), at=names, mask=pair.mask)
    there = None
    if corrupt is not None:
        _, there = run(model, pair.source, capture=names, mask=pair.mask, logits=False)

    scale = as_bool(normalise, "normalise")

    def importance(site: str) -> np.ndarray:
        change = acts[site] if there is None else acts[site] - there[site]
        if pair.mask is not None:
            after = change.ndim - 1 - len(pair.batch) - 1
            real = jnp.asarray(pair.mask).reshape(1, *pair.batch, pair.pos, *(1,) * after)
            change = jnp.where(jnp.broadcast_to(real, change.shape), change, 0)
        product = np.asarray(change, np.float64) * np.asarray(grads[site], np.float64)
        first = 1 + len(pair.batch)
        axes = (first, product.ndim - 1)
        found = np.abs(product.sum(axes)).reshape(pair.layers, -1, *product.shape[first + 1 : -1]).mean(1)
        if not scale:
            return found
        norm = np.linalg.norm(found, axis=-1, keepdims=True)
        return found / np.maximum(norm, np.finfo(np.float64).tiny)

    every = {site: importance(site) for site in names}
    if not any(found.any() for found in every.values()):
        raise ValueError(
            "No node has importance to first order: the metric is constant near the clean prompts (a KL at its reference "
            "is), or corrupt prompts are the clean ones. Choose one that changes, such as "
            "ji.metrics.logit_diff(correct, wrong)."
        )
    return NodeImportance(every["z"], every["q"], every["k"], every["v"], every.get("mlp_out"))
