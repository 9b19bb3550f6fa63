"""Features that bring up one another: one writes the tokens that the other fires on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._tabular import Record, Tabular
from ..._text import plain
from ...typing import CaptureLike, CorpusLike, DictionaryLike, IndexLike, MaskLike, ModelLike
from ..evaluation._activation_pairs import blocks
from ._logits import logit_weights
from ._site import SiteReading, chosen, rows_at


@dataclass(frozen=True, eq=False)
class Automata(Tabular):
    """Edges from features to features that follow them; made by `automata`.

    - `edges (edge, 2)`: the first and the second feature of each edge.
    - `weight (edge,)`: the weights, falling.
    - `mean (edge,)`: the mean activation of the second feature after the first.
    - `count (edge,)`: the number of places over which this mean is taken.

    ```python
    found = ji.sae.automata(sae, model, corpus, site=site, settings=ji.sae.AutomataSettings(count=2))
    found.edges.shape, found.records()[:1]
    ```
    """

    edges: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    count: np.ndarray

    def records(self) -> list[Record]:
        """A row for each edge: `a`, `b`, `weight`, `mean` and `count`."""
        rows = zip(self.edges, self.weight, self.mean, self.count, strict=True)
        return [
            {"a": int(a), "b": int(b), "weight": float(w), "mean": float(m), "count": int(n)}
            for (a, b), w, m, n in rows
        ]

    def families(self) -> list[list[int]]:
        """Groups of features with paths of edges from each to each, the largest group first."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        names, place = np.unique(self.edges, return_inverse=True)
        n = len(names)
        a, b = place.reshape(-1, 2).T
        graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
        label = connected_components(graph, connection="strong")[1] if n else np.zeros(0, int)
        found = [names[label == j].tolist() for j in np.unique(label)]
        return sorted((g for g in found if len(g) > 1), key=lambda g: (-len(g), g))

    def json(self) -> str:
        """`{"nodes": [...], "edges": [{"from", "to", "weight", "mean", "count"}]}`."""
        edges = [
            {"from": int(a), "to": int(b), "weight": float(w), "mean": float(m), "count": int(n)}
            for (a, b), w, m, n in zip(self.edges, self.weight, self.mean, self.count, strict=True)
        ]
        return json.dumps({"nodes": np.unique(self.edges).astype(int).tolist(), "edges": edges})

    def dot(self, labels: Mapping[int, str] | Sequence[str] | None = None) -> str:
        """A graph for Graphviz: `dot -Tsvg`. `labels` by feature; any text is shown as it is."""
        named = dict(enumerate(labels)) if isinstance(labels, Sequence) else dict(labels or {})
        quote = lambda text: json.dumps(plain(str(text)), ensure_ascii=False)
        lines = [f"  {i} [label={quote(named.get(int(i), i))}];" for i in np.unique(self.edges)]
        lines += [
            f'  {a} -> {b} [label="{w:.2g}", penwidth={0.5 + 2.5 * min(float(w), 1):.2f}];'
            for (a, b), w in zip(self.edges, self.weight, strict=True)
        ]
        return "\n".join(["digraph features {", *lines, "}\n"])


@dataclass(frozen=True)
class AutomataSettings:
    """The rules for the edges of `automata`.

    - `k`: how many tokens with the highest logit weights of a feature are used; 10 by default.
    - `least`: the smallest `weight` of an edge, a share between 0 and 1; 0.5 by default.
    - `count`: the smallest number of places from which an edge is computed; 10 by default.
    - `block`: features in memory at a time; each block is one pass over the corpus; 4096 by default.

    ```python
    settings = ji.sae.AutomataSettings(k=20, least=0.3, count=5)
    ```
    """

    k: int = 10
    least: float = 0.5
    count: int = 10
    block: int = 4096


@respelled(
    real="mask=padding_mask, and positions= for what counts",
    batch="batch_size=",
    k="settings=ji.sae.AutomataSettings(k=10)",
    least="settings=ji.sae.AutomataSettings(least=0.5)",
    count="settings=ji.sae.AutomataSettings(count=10)",
    block="settings=ji.sae.AutomataSettings(block=4096)",
)
@takes_settings
def automata(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    *,
    site: CaptureLike | None = None,
    features: IndexLike | None = None,
    settings: AutomataSettings = AutomataSettings(),
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> Automata:
    r"""Edges $i \to j$ where $\mathbb E[f_j(t+1) \mid f_i(t) > 0,\, t_{+1} \in \operatorname{top}_k v_i] - \mathbb E f_j > \frac12 \mathbb E[f_j \mid f_j > 0]$.

    Feature i raises the logits of k tokens. Where i fires and one of these tokens follows, j fires. Two
    features with edges in both directions alternate. A feature with an edge to itself keeps firing. Of
    signed features only values above 0 count, because below 0 a feature lowers those logits. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features) show such automata.

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`, `positions`, `batch_size`, `progress`: as in `evaluate`.
    - `features`: numbers `(n,)`, or None (the default) for all.
    - `settings`: an `AutomataSettings`. The `weight` of an edge is the difference above divided by
      $\mathbb E[f_j \mid f_j > 0]$.

    **Returns:** `Automata`. Features that fire nearly everywhere get no edges, because they follow every feature.

    **Raises:** ValueError for a site without logit weights.

    ```python
    found = ji.sae.automata(sae, model, corpus, site="resid_post[2]")
    found.families(), print(found.dot())
    ```

    Law: means equal those that are computed from all activations at once.
    """
    read, which = SiteReading(sae, model, tokens, site, mask, positions), chosen(sae, features)
    weights = logit_weights(sae, model, read.name, which)
    k = min(int(settings.k), weights.shape[1] - 1)
    top = weights.top(None, k).largest
    writes = np.zeros((weights.shape[1], len(which)), bool)  # token by feature
    writes[top, np.arange(len(which))[:, None]] = True
    parts, block = read.batches(batch_size, sae), min(int(settings.block), len(which))
    found: dict[tuple[int, int], tuple[float, float, int]] = {}
    for start in blocks(len(which), block):
        own = jnp.asarray(writes[:, start : start + block])
        n = len(which)
        state = (
            jnp.zeros((block, n), jnp.float32),
            jnp.zeros(block, jnp.float32),
            jnp.zeros(n, jnp.float32),
            jnp.zeros(n, jnp.float32),
        )
        step = Follow(sae, jnp.asarray(which), own, jnp.int32(start), read.name)
        state = read.fold(parts, state, step, progress=f"automata from {start}" if progress else False)
        total, places, fired, amount = (np.asarray(x, np.float64) for x in state)
        mean = total / np.maximum(places, 1)[:, None]
        active = amount / np.maximum(fired, 1)
        weight = (mean - amount / read.count) / np.where(active > 0, active, 1)
        weight[places < settings.count] = 0
        for a, b in np.argwhere(weight >= settings.least):
            pair = int(which[start + a]), int(which[b])
            found[pair] = float(weight[a, b]), float(mean[a, b]), int(places[a])
    order = sorted(found, key=lambda pair: (-found[pair][0], pair))
    rows = np.asarray([found[pair] for pair in order]).reshape(-1, 3)
    edges = np.asarray(order, np.int32).reshape(-1, 2)
    return Automata(edges, rows[:, 0], rows[:, 1], rows[:, 2].astype(int))


class Follow(eqx.Module):
    """One batch of a fold: sums over places where a feature fires and a token that it raises follows."""

    sae: Any
    features: Any
    writes: Any  # (vocab, block): whether a feature raises a token
    start: Any
    name: Any = eqx.field(static=True)

    def __call__(self, state: Any, batch: Any, acts: Any) -> Any:
        total, places, fired, amount = state
        f = jnp.take(self.sae.encode(rows_at(acts, self.name)), self.features, -1)
        f = jnp.where(batch.positions[..., None], jax.nn.relu(f), 0)
        first = jax.lax.dynamic_slice_in_dim(f, self.start, self.writes.shape[1], -1)[:, :-1]
        follows = (first > 0) & self.writes[batch.tokens[:, 1:]] & batch.positions[:, 1:, None]
        follows = follows.astype(jnp.float32)
        more = jnp.einsum("spi,spj->ij", follows, f[:, 1:], precision="highest")
        firing = (f > 0).sum((0, 1), dtype=jnp.float32)
        return total + more, places + follows.sum((0, 1)), fired + firing, amount + f.sum((0, 1))
