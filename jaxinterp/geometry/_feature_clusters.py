"""Dictionary elements that point alike, in clusters: by a graph of neighbours, or by the spectrum of their angles."""

import numpy as np
import scipy

from .._arguments import as_int, as_number, check_choice
from ..typing import ArrayLike, FloatLike, IntLike, StrLike
from ._matrices import as_matrix

ROWS = 2048  # directions whose cosines with all others are held at a time
WIDEST = 12_000  # directions of which a matrix of all pairs is decomposed
ROUNDS, MOVES, TRIED = 100, 30, 3


def feature_clusters(
    directions: ArrayLike,
    *,
    method: StrLike = "graph",
    neighbours: IntLike = 2,
    least: FloatLike = 0.5,
    most: IntLike = 1000,
    count: IntLike | None = None,
) -> np.ndarray:
    r"""$\{i\} \mapsto$ clusters of $\cos(d_i, d_j)$: groups of dictionary elements that may be parts of one feature.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860) use both methods.

    **Arguments:**

    - `directions (feature, d)`: the decoder's rows, `sae.decoder`.
    - `method`: "graph" (the default) joins each direction with its `neighbours` nearest whose cosine is above `least`,
      and connected directions are a cluster. "spectral" embeds directions by the first `count` eigenvectors of
      the affinity $1 - \arccos(\cos) / \pi$ and finds k-means there; nothing in it is random.
    - `neighbours`, `least`, `most`: settings of "graph"; 2, 0.5 and 1000 by default. A single direction is not a
      cluster, nor is a group of more than `most` directions.
    - `count`: the number of clusters of "spectral"; by default one for 25 directions, as the 1000 for the 24,576 of the
      paper.

    **Returns:** the number of each direction's cluster `(feature,)`, 0 for the largest; -1 for directions without a
    cluster, and for directions that are zero.

    **Raises:** ValueError for another method, "spectral" with more than 12,000 directions, and
    directions that are not finite.

    ```python
    turn = 2 * np.pi * np.arange(7) / 7
    ring = np.stack([np.cos(turn), np.sin(turn)], 1) @ np.eye(2, 16)
    ji.geometry.feature_clusters(np.concatenate([ring, np.eye(16)[2:]]))      # 0 seven times, then -1
    ```

    A ring whose opposite features have opposite directions has two eigenvectors of its own. "spectral" may then cut it in
    two; "graph" does not. Features that also share a direction, as those of weekdays in GPT-2 do, are one cluster in
    both methods.

    Laws: in "graph" the lengths of directions change nothing, and the order of features changes only the numbers of
    clusters of equal size; orthogonal directions have no cluster.
    """
    check_choice(method, "method", ("graph", "spectral"))
    rows = np.asarray(as_matrix(directions, "directions", 2), np.float32)
    length = np.linalg.norm(rows, axis=1)
    there = np.flatnonzero(length > 0)
    unit = rows[there] / length[there, None]
    if len(unit) < 2:
        raise ValueError(f"Two directions or more are not zero; got {len(unit)} of {len(rows)}.")
    if method == "graph":
        found = _graph(unit, as_int(neighbours, "neighbours", 1), as_number(least, "least", -1, 1))
        limit = as_int(most, "most", 2)
    else:
        if len(unit) > WIDEST:
            raise ValueError(
                f"'spectral' decomposes all pairs of directions, at most {WIDEST:,}; got {len(unit):,}. "
                "Choose those that fire, or take method='graph'."
            )
        wanted = (
            max(2, len(unit) // 25) if count is None else as_int(count, "count, the number of clusters,", 2)
        )
        found = _spectral(unit, min(wanted, len(unit)))
        limit = len(unit)
    sizes = np.bincount(found)
    kept = np.flatnonzero((sizes > 1) & (sizes <= limit))
    order = kept[np.argsort(-sizes[kept], kind="stable")]
    number = np.full(len(sizes), -1)
    number[order] = np.arange(len(order))
    labels = np.full(len(rows), -1)
    labels[there] = number[found]
    return labels


def _graph(unit: np.ndarray, neighbours: int, least: float) -> np.ndarray:
    """Components of the graph of nearest neighbours above a cosine."""
    n, k = len(unit), min(neighbours, len(unit) - 1)
    senders, receivers = [], []
    for start in range(0, n, ROWS):
        cosines = unit[start : start + ROWS] @ unit.T
        here = np.arange(start, start + len(cosines))
        cosines[np.arange(len(cosines)), here] = -np.inf
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        close = np.take_along_axis(cosines, nearest, 1) > least
        senders.append(np.repeat(here, k)[close.ravel()])
        receivers.append(nearest[close])
    edges = np.concatenate(senders), np.concatenate(receivers)
    graph = scipy.sparse.coo_matrix((np.ones(len(edges[0]), np.int8), edges), (n, n))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def _spectral(unit: np.ndarray, count: int) -> np.ndarray:
    """k-means of the first eigenvectors of the normalised affinity, as of a random walk on it."""
    affinity = 1 - np.arccos(np.clip(unit.astype(np.float64) @ unit.T, -1, 1)) / np.pi
    scale = 1 / np.sqrt(affinity.sum(1))
    affinity *= scale[:, None] * scale
    n = len(unit)
    _, vectors = scipy.linalg.eigh(affinity, subset_by_index=(n - count, n - 1), overwrite_a=True)
    # Rows that a pivoted QR picks lie in different clusters (Damle, Minden and Ying 2019).
    _, _, pivots = scipy.linalg.qr(vectors.T, mode="economic", pivoting=True)
    u, _, vt = scipy.linalg.svd(vectors[pivots[:count]].T)
    return _k_means(vectors * scale[:, None], np.abs(vectors @ (u @ vt)).argmax(1), count)


def _k_means(x: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """k-means from given labels. Where it stands still, two clusters become one and another becomes two, if that is better."""
    labels, error = _lloyd(x, labels, count)
    for _ in range(MOVES):
        for merged, split in _moves(x, labels, count):
            moved = np.where(labels == merged[1], merged[0], labels)
            own = np.flatnonzero(labels == split)
            away = np.square(x[own] - x[own].mean(0)).sum(1).argmax()
            near = np.square(x[own] - x[own[away]]).sum(1) < np.square(x[own] - x[own].mean(0)).sum(1)
            moved[own[near]] = merged[1]
            moved, less = _lloyd(x, moved, count)
            if less < error * (1 - 1e-9):
                labels, error = moved, less
                break
        else:
            return labels
    return labels


def _lloyd(x: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Each point goes to the nearest mean until none moves: labels, and the sum of squared distances."""
    error = np.inf
    for _ in range(ROUNDS):
        sizes, means = _means(x, labels, count)
        distance = np.where(sizes > 0, np.square(means).sum(1) - 2 * x @ means.T, np.inf)
        before, labels = labels, distance.argmin(1)
        error = float(distance.min(1).sum() + np.square(x).sum())
        if (labels == before).all():
            break
    return labels, error


def _means(x: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How many points each cluster has, and their mean."""
    sizes, sums = np.bincount(labels, minlength=count), np.zeros((count, x.shape[1]))
    np.add.at(sums, labels, x)
    return sizes, sums / np.maximum(sizes, 1)[:, None]


def _moves(x: np.ndarray, labels: np.ndarray, count: int) -> list[tuple[tuple[int, int], int]]:
    """The three cheapest pairs to merge with the three widest clusters to split."""
    sizes, means = _means(x, labels, count)
    apart = np.square(means).sum(1)[:, None] + np.square(means).sum(1) - 2 * means @ means.T
    cost = apart * sizes[:, None] * sizes / np.maximum(sizes[:, None] + sizes, 1)
    cost[np.tril_indices(count)] = np.inf
    cheapest = [divmod(int(i), count) for i in np.argsort(cost, axis=None)[:TRIED]]
    spread = np.bincount(labels, np.square(x - means[labels]).sum(1), minlength=count)
    widest = [int(k) for k in np.argsort(-spread)[:TRIED] if sizes[k] > 2]
    return [(pair, k) for pair in cheapest for k in widest if k not in pair]
