"""Clusters of dictionary elements, ranked by how irreducible what they write is."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, as_number, check_key
from ..stats._permutation import permutation_p
from ..stats._results import Record, Result
from ..typing import ArrayLike, DictionaryLike, FloatLike, IntLike, KeyLike
from ._irreducibility import FEW, PLANES, indices_of
from ._matrices import as_matrix

CHUNK = 16  # clouds in a compiled call
LEAST = 1e-6  # of the largest singular value, below which a direction does not vary


@dataclasses.dataclass(frozen=True, eq=False)
class ClusterRanking(Result):
    """Clusters of features in the order of their irreducibility, the highest first; made by `irreducible_clusters`.

    - `cluster (rank,)`: the numbers of the clusters. `members`: the features of each.
    - `score (rank,)`: the mean of `(1 - mixture) * separability` over planes.
    - `p (rank,)`: how often normal clouds of as many points have a score at least as high; None without a null.
    - `separability`, `mixture (rank, 4)`: the indices of `irreducibility` for the planes of principal components 1-2,
      2-3, 3-4 and 4-5; NaN where fewer components vary.
    - `tokens (rank,)`: the number of rows where a member fires. `rows`: the rows that were drawn from these.
    - `points`: the principal components `(point, component)` of the cluster's output at these rows.

    ```python
    sae = ji.sae.TopK(d=16, features=64, k=6).init(jax.random.key(0))
    clusters = ji.geometry.feature_clusters(sae.decoder, least=0.3)
    found = ji.geometry.irreducible_clusters(sae, x, clusters, key=key, points=100, resamples=0)
    found.members[0], found.score[0]
    ```
    """

    cluster: np.ndarray
    score: np.ndarray
    separability: np.ndarray
    mixture: np.ndarray
    tokens: np.ndarray
    members: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    points: tuple[np.ndarray, ...]
    p: np.ndarray | None = None

    def records(self) -> list[Record]:
        """One dict for each cluster, the best first."""
        found = []
        for i, number in enumerate(self.cluster):
            one: Record = {"rank": i + 1, "cluster": int(number), "features": len(self.members[i])}
            one |= {"tokens": int(self.tokens[i]), "score": float(self.score[i])}
            one |= {} if self.p is None else {"p": float(self.p[i])}
            for name in ("separability", "mixture"):
                one |= {f"{name}_{k + 1}": float(x) for k, x in enumerate(getattr(self, name)[i])}
            found.append(one)
        return found

    def figure(
        self, rank: IntLike = 1, *, plane: IntLike = 1, labels: ArrayLike | None = None, title: str = ""
    ) -> viz.Figure:
        """The points of the cluster of this rank in one plane; `labels`, one for each of its `rows`, are series."""
        i, k = as_int(rank, "rank", 1) - 1, as_int(plane, "plane", 1) - 1
        if i >= len(self.points) or k + 1 >= self.points[i].shape[1]:
            raise ValueError(
                f"rank is 1 to {len(self.points)} and plane 1 to 4, as far as components vary; got rank {rank}, plane {plane}."
            )
        x, y = self.points[i][:, k], self.points[i][:, k + 1]
        names = np.full(len(x), "tokens") if labels is None else np.asarray(labels).astype(str)
        series = {str(name): (x[names == name], y[names == name]) for name in dict.fromkeys(names.tolist())}
        heading = title or f"Cluster {self.cluster[i]}, rank {rank}: {len(self.members[i])} features"
        return viz.scatter(series, title=heading, x_axis=f"component {k + 1}", y_axis=f"component {k + 2}")


def irreducible_clusters(
    dictionary: DictionaryLike,
    x: ArrayLike,
    clusters: ArrayLike,
    *,
    points: IntLike = 2000,
    epsilon: FloatLike = 0.1,
    clip: FloatLike = 0.0,
    key: KeyLike,
    resamples: IntLike = 20,
    batch_size: IntLike = 2048,
) -> ClusterRanking:
    r"""$\mathrm{score}(C) = \langle (1 - M_\epsilon)\, S \rangle$ of $x_C = \sum_{i \in C} f_i d_i$ in its first principal planes.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860). The output of a cluster is the sum of what its features
    write. It is computed at the tokens where a feature of the cluster fires, and reduced to at most five principal
    components. `irreducibility` of their planes ranks the clusters.

    **Arguments:**

    - `dictionary`: a dictionary with `encode` and the rows `decoder (feature, d)`, such as those of `ji.sae`.
    - `x (n, d)`: activations of the site that it was trained on.
    - `clusters (feature,)`: the number of each feature's cluster, as `feature_clusters` returns it; -1 for none.
    - `points`: the largest number of tokens of a cluster that are compared; 2,000 by default. A cluster that fires at
      fewer tokens is compared at a half, a quarter and so on of `points`; below 100 tokens it is left out.
    - `epsilon`, `clip`: as in `irreducibility`.
    - `key`: a `jax.random.key`, which draws tokens and the null.
    - `resamples`: how many normal clouds of each size make the null; 20 by default, 0 for no null.
    - `batch_size`: rows that are encoded at a time.

    **Returns:** `ClusterRanking`.

    **Raises:** ValueError for a dictionary without a decoder, clusters of another number of features, and where no
    cluster fires at 100 tokens or more.

    ```python
    sae = ji.sae.TopK(d=16, features=64, k=6).init(jax.random.key(0))
    clusters = ji.geometry.feature_clusters(sae.decoder, least=0.3)
    found = ji.geometry.irreducible_clusters(sae, x, clusters, key=key, points=100, resamples=0)
    found.records()[0], found.figure(rank=1, plane=1)
    ```

    Law: a planted ring of features is first among clusters whose features fire one at a time or independently.
    """
    check_key(key, "ji.geometry.irreducible_clusters(sae, x, clusters, key={})")
    rows = as_matrix(x, "x", FEW)
    decoder = getattr(dictionary, "decoder", None)
    labels = np.asarray(clusters)
    if decoder is None or np.ndim(decoder) != 2:
        raise ValueError(
            "The dictionary has a matrix `decoder` (feature, d), as those of ji.sae; from arrays: ji.sae.from_arrays."
        )
    directions = np.asarray(decoder, np.float32)
    if labels.shape != (len(directions),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"clusters has an int for each of {len(directions)} features, -1 for none; got dtype {labels.dtype} and the "
            f"shape {labels.shape}. ji.geometry.feature_clusters(sae.decoder) gives them."
        )
    most, count = as_int(points, "points", FEW), as_int(resamples, "resamples", 0)
    sizes = [most >> k for k in range(64) if most >> k >= FEW]
    drawn, chance = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.bits(drawn, (4,), jnp.uint32)))
    f = _encoded(dictionary, rows, as_int(batch_size, "batch_size", 1))
    width = jnp.float32(as_number(epsilon, "epsilon", 1e-4, 1))
    cut = as_number(clip, "clip", 0, 0.25)
    ends = jnp.float32(cut) if cut else None
    clouds: list[dict[str, np.ndarray]] = []
    for number in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == number)
        own = f[:, members].tocsr()
        where = np.flatnonzero(np.diff(own.indptr))
        fitting = [size for size in sizes if size <= len(where)]
        if not fitting:
            continue
        chosen = np.sort(rng.choice(where, fitting[0], replace=False))
        scores = _components(own[chosen] @ _triangle(directions[members]))
        if scores.shape[1] > 1:
            clouds.append(
                {
                    "number": np.asarray(number),
                    "members": members,
                    "tokens": np.asarray(len(where)),
                    "rows": chosen,
                    "scores": scores,
                }
            )
    if not clouds:
        raise ValueError(
            f"No cluster fires at {FEW} tokens or more in two directions; {len(rows):,} tokens were read. Give more, or "
            "larger clusters: ji.geometry.feature_clusters(sae.decoder, least=0.3)."
        )
    s, m = (np.full((len(clouds), PLANES), np.nan) for _ in range(2))
    p = np.full(len(clouds), np.nan)
    for size in sizes:
        here = [i for i, cloud in enumerate(clouds) if len(cloud["rows"]) == size]
        if not here:
            continue
        planes = [(i, k) for i in here for k in range(clouds[i]["scores"].shape[1] - 1)]
        stacked = np.stack([clouds[i]["scores"][:, k : k + 2] for i, k in planes])
        for place, values in zip(planes, zip(*_in_chunks(stacked, width, ends), strict=True), strict=True):
            s[place], m[place] = values
        if count:
            normal = jax.random.normal(
                jax.random.fold_in(chance, size), (count * PLANES, size, 2), jnp.float32
            )
            by_chance = [
                np.asarray(z).reshape(count, PLANES) for z in _in_chunks(np.asarray(normal), width, ends)
            ]
            each = (1 - by_chance[1]) * by_chance[0]
            for i in here:
                number = clouds[i]["scores"].shape[1] - 1
                p[i] = permutation_p(float(((1 - m[i]) * s[i])[:number].mean()), each[:, :number].mean(1))
    score = np.nanmean((1 - m) * s, axis=1)
    order = np.argsort(-score, kind="stable")
    pick = lambda name: tuple(clouds[i][name] for i in order)
    return ClusterRanking(
        np.asarray(pick("number")),
        score[order],
        s[order],
        m[order],
        np.asarray(pick("tokens")),
        pick("members"),
        pick("rows"),
        pick("scores"),
        p[order] if count else None,
    )


def _encoded(dictionary: DictionaryLike, x: Array, size: int) -> "scipy.sparse.csc_matrix":
    """Latent values of all rows, without zeros."""
    parts, size = [], min(size, len(x))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        whole = jnp.pad(part, ((0, size - len(part)), (0, 0)))
        parts.append(scipy.sparse.csr_matrix(np.asarray(_encode(dictionary, whole))[: len(part)]))
    return scipy.sparse.vstack(parts).tocsc()


@eqx.filter_jit
def _encode(dictionary: DictionaryLike, x: Array) -> Array:
    return dictionary.encode(x).astype(jnp.float32)


def _triangle(directions: np.ndarray) -> np.ndarray:
    """The directions `(m, d)` in an orthonormal basis of their span, `(m, at most m)`: few coordinates, the same angles."""
    return np.asarray(np.linalg.qr(directions.T.astype(np.float64), mode="r")).T


def _components(cloud: np.ndarray) -> np.ndarray:
    """Scores of at most five principal components that vary, `(point, component)`."""
    cloud = np.asarray(cloud, np.float64)
    cloud = cloud - cloud.mean(0)
    power, vectors = np.linalg.eigh(cloud.T @ cloud)
    kept = np.flatnonzero(power > LEAST * max(power[-1], 0))[::-1][: PLANES + 1]
    return cloud @ vectors[:, kept]


def _in_chunks(clouds: np.ndarray, width: Array, ends: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Both indices of clouds `(cloud, n, 2)`, in calls of one shape."""
    found = []
    for start in range(0, len(clouds), CHUNK):
        part = clouds[start : start + CHUNK]
        whole = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), 0)]).astype(np.float32)
        found.append([np.asarray(z)[: len(part)] for z in indices_of(jnp.asarray(whole), width, ends)])
    s, m = (np.concatenate(column) for column in zip(*found, strict=True))
    return s, m
