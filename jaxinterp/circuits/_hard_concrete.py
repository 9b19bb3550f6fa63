r"""Masks that are learned: the hard-concrete distribution, and what a score of a node means for edges."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._graph import Graph
from ._numbering import feeds

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"The temperature, and the ends to which the distribution is stretched before it is cut at 0 and 1."
START = math.log(5)
"The score whose expected mask is 0.9 before it is cut, where training begins."


def sample(key: Array, scores: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""$\mathrm{clip}\big((\zeta - \gamma)\,\sigma\big((\log u - \log(1 - u) + s) / \beta\big) + \gamma,\, 0,\, 1\big)$, $u \sim U$.

    Louizos et al. 2018 (https://arxiv.org/abs/1712.01312).
    """
    u = jax.random.uniform(key, scores.shape, scores.dtype, 1e-4, 1 - 1e-4)
    open_ = jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + scores) / BETA)
    return jnp.clip(open_ * (ZETA - GAMMA) + GAMMA, 0, 1)


def expected(scores: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""$\mathrm{clip}((\zeta - \gamma)\,\sigma(s) + \gamma,\, 0,\, 1)$: the mask without noise."""
    return jnp.clip(jax.nn.sigmoid(scores) * (ZETA - GAMMA) + GAMMA, 0, 1)


def open_probability(scores: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""$\sigma(s - \beta \log(-\gamma / \zeta))$: how likely a mask is above 0."""
    return jax.nn.sigmoid(scores - BETA * math.log(-GAMMA / ZETA))


def score_count(graph: Graph, of: str) -> int:
    """How many scores there are: one for each edge, or one for each node that is masked."""
    return graph.size if of == "edges" else len(_masked(graph)[0]) + len(_masked(graph)[1])


def edge_mask(mask: Float[Array, " n"], graph: Graph, of: str) -> Float[Array, " edge"]:
    """The mask of edges of a mask of `of`.

    The nodes are the queries, keys and values of heads, which lose all that they read, and the MLPs, which
    lose all that they send. Embeddings and logits stay.
    """
    if of == "edges":
        return mask
    readers, senders = _masked(graph)
    into = jnp.ones(len(graph.receivers), mask.dtype).at[readers].set(mask[: len(readers)])
    out = jnp.ones(len(graph.senders), mask.dtype).at[senders].set(mask[len(readers) :])
    pairs = graph.pairs
    return jnp.repeat(into[pairs[:, 1]] * out[pairs[:, 0]], graph.pos or 1)


def _masked(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """The receivers and the senders that are nodes of a subnetwork."""
    mlps = np.asarray([name.startswith("mlp") for name in graph.senders], bool)
    fed = feeds(graph)
    readers = fed.any(1) & ~(fed & mlps[None]).any(1)
    return np.flatnonzero(readers), np.flatnonzero(mlps)
