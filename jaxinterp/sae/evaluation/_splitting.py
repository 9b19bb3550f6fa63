"""Which features of a large dictionary a feature of a small one splits into."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ..._tabular import Tabular
from ...stats._results import Record
from ...typing import ArrayLike, DictionaryLike
from ._activation_pairs import ActivationPairs, blocks
from ._feature_moments import compensated, features_of


@dataclass(frozen=True, eq=False)
class Splitting(Tabular):
    """The graph between the features of two dictionaries A and B; made by `splitting`.

    ```python
    graph = ji.sae.splitting(small, large, stream[:2])
    graph.edges.shape, len(graph.families())
    ```
    """

    edges: np.ndarray
    "Pairs of a feature of A and a feature of B, `(edge, 2)`."
    weights: np.ndarray
    "The masked cosine of each edge, `(edge,)`."
    features: tuple[int, int]
    "How many features A and B have."
    tokens: int
    "How many tokens were read."

    def records(self) -> list[Record]:
        """A row for each edge: `a`, `b` and `weight`."""
        rows = zip(self.edges.tolist(), self.weights.tolist(), strict=True)
        return [{"a": a, "b": b, "weight": weight} for (a, b), weight in rows]

    def families(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The connected components of the graph: features of A and of B, the largest component first.

        Features without an edge are left out.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        a, b = self.features
        places = self.edges[:, 0], self.edges[:, 1] + a
        graph = coo_array((np.ones(len(self.edges)), places), shape=(a + b, a + b))
        label = connected_components(graph, directed=False)[1]
        names, sizes = np.unique(label, return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        groups = [np.flatnonzero(label == names[i]) for i in order if sizes[i] > 1]
        return [(group[group < a], group[group >= a] - a) for group in groups]


@respelled(batch="batch_size=")
def splitting(
    a: DictionaryLike,
    b: DictionaryLike,
    x: ArrayLike,
    *,
    least: float = 0.4,
    batch_size: int = 4096,
    block: int = 4096,
    batches: int | None = None,
    progress: bool = True,
) -> Splitting:
    r"""Edges $(i, j)$ where $\max\bigl(\cos(f_i, g_j)_{t: f_i \ne 0}, \cos(f_i, g_j)_{t: g_j \ne 0}\bigr) > 0.4$: the masked cosine.

    The cosine is taken over the tokens where one of the two features fires. It is 1 where the two are
    proportional on these tokens; other tokens do not matter. So a general feature has edges to the
    special features that it splits into. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:**

    - `a`, `b`: dictionaries, the smaller one first.
    - `x`: activations, as for `universality`.
    - `least`: edges have a larger masked cosine than this; 0.4 by default.
    - `batch_size`: how many tokens run at a time; 4,096 by default.
    - `block`: how many features of A are compared at a time; 4,096 by default.
    - `batches`: how many batches of a stream are read.
    - `progress`: shows progress bars on stderr; True by default.

    **Returns:** a `Splitting`.

    **Raises:** the errors of `universality`, and ValueError for a `least` outside of 0 to 1.

    ```python
    small, large = (ji.sae.TopK(d=512, features=n, k=4).init(key) for n in (64, 128))   # better: trained ones
    graph = ji.sae.splitting(small, large, stream[:2])
    graph.edges, graph.families()[:1]
    ```

    Law: between a dictionary and itself each feature that fires has an edge of weight 1 to itself.
    """
    if not 0 <= least < 1:
        raise ValueError(f"least is a cosine from 0 to below 1; got {least!r}.")
    pairs = ActivationPairs(a, b, x, batch_size, batches)

    both: Any = a, b
    count, other = (one.features for one in both)
    block = min(block, count)
    edges, weights, seen, n = [], [], np.zeros(count, bool), 0
    for start in blocks(count, block):
        total = [jnp.zeros((2, block, other), jnp.float32) for _ in range(3)]
        total += [jnp.zeros((2, block), jnp.float32), jnp.zeros((2, other), jnp.float32)]
        own = jnp.int32(start)

        def multiply(state: Any, x_a: Any, x_b: Any, weight: Any, own: Any = own) -> Any:
            return _products((a, b, x_a, x_b, weight, own), state[0]), state[1] + int(weight.sum())

        total, n = pairs.fold((total, 0), multiply, f"features from {start}", progress)
        cosine = np.array(_masked(total))
        cosine[seen[start : start + block]] = 0  # the last block overlaps the one before
        seen[start : start + block] = True
        i, j = np.nonzero(cosine > least)
        edges.append(np.stack([i + start, j], 1))
        weights.append(cosine[i, j])
    return Splitting(np.concatenate(edges), np.concatenate(weights), (count, other), n)


@eqx.filter_jit(donate="all-except-first")
def _products(fixed: Any, total: Any) -> Any:
    """Adds the products of the features of one batch, for one block of A."""
    a, b, x_a, x_b, weight, start = fixed
    f = features_of(a, x_a) * weight[:, None]
    f = jax.lax.dynamic_slice_in_dim(f, start, total[3].shape[1], -1)
    g = features_of(b, x_b) * weight[:, None]
    product = lambda p, q: jnp.matmul(p.T, q, precision="highest")
    fires = lambda v: (v != 0).astype(jnp.float32)
    more = (
        product(f, g),
        product(fires(f), g * g),
        product(f * f, fires(g)),
        jnp.sum(f * f, 0),
        jnp.sum(g * g, 0),
    )
    return [compensated(old, new) for old, new in zip(total, more, strict=True)]


@jax.jit
def _masked(total: Any) -> Any:
    dot, g_on_f, f_on_g, f, g = (part[0] for part in total)
    over = lambda squares: jnp.where(dot > 0, dot * jax.lax.rsqrt(jnp.maximum(squares, 1e-30)), 0)
    return jnp.maximum(over(g_on_f * f[:, None]), over(f_on_g * g[None]))
