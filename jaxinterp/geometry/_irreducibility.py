"""Whether a cloud in a plane is one feature of two dimensions, or two features, or a mixture of smaller ones."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_int, as_number, check_key
from ..nn._linear import einsum
from ..stats._permutation import permutation_p
from ..stats._results import Record, Result
from ..typing import ArrayLike, FloatLike, IntLike, KeyLike
from ._matrices import as_matrix, centred, check_varies, evened

BINS, ANGLES, DIRECTIONS, OFFSETS = 10, 100, 90, 121
POINTS_AT_ONCE = 2**16  # of clouds that are computed side by side
FEW = 100  # points below which a histogram of 100 cells says nothing
PLANES = 4  # of principal components: 1-2, 2-3, 3-4, 4-5


@dataclasses.dataclass(frozen=True, eq=False)
class Irreducibility(Result):
    """Two indices that say whether a cloud is more than two independent features or a mixture; made by `irreducibility`.

    - `separability (plane,)`: the mutual information of two coordinates in bits, at the rotation where it is smallest. It
      is near 0 for two independent features.
    - `mixture (plane,)`: the largest share of points in a narrow band. It is large where a part of the points lies on a
      line.
    - `score`: the mean of `(1 - mixture) * separability` over planes, by which clusters are ranked.
    - `bias`: the bits that a histogram of so few points has where the coordinates are independent.
    - `separability_p`, `mixture_p (plane,)`: how often normal clouds of as many points have a separability, or a mixture,
      at least as large; None without a null. A ring has a small `separability_p`.

    ```python
    t = 2 * jnp.pi * jax.random.uniform(jax.random.key(0), (2000,))
    ring = jnp.stack([jnp.cos(t), jnp.sin(t)], 1)
    ji.geometry.irreducibility(ring).score
    ```
    """

    separability: np.ndarray
    mixture: np.ndarray
    score: float
    bias: float
    separability_p: np.ndarray | None = None
    mixture_p: np.ndarray | None = None

    def records(self) -> list[Record]:
        """One dict for each plane."""
        names = ("separability", "mixture", "separability_p", "mixture_p")
        columns = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        rows = range(len(self.separability))
        return [{"plane": i} | {name: float(x[i]) for name, x in columns.items()} for i in rows]


def irreducibility(
    x: ArrayLike,
    *,
    epsilon: FloatLike = 0.1,
    clip: FloatLike = 0.0,
    key: KeyLike | None = None,
    resamples: IntLike = 20,
) -> Irreducibility:
    r"""$S = \min_\theta I\big((R_\theta x)_1; (R_\theta x)_2\big)$ and $M_\epsilon = \max_{v, c} P\big(|v \cdot x + c| < \epsilon \sqrt{E (v \cdot x + c)^2}\big)$.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860). A feature of two dimensions is reducible if it is two
    independent features (S is near 0), or a mixture in which a part lies on a line (M is large). A mixture can also have
    a large S, and two independent features can also have a large M, so look at both. S is computed from histograms of 10
    by 10 bins at 100 angles. M is the largest share over 90 directions v and 121 offsets c; it needs no random starts.

    **Arguments:**

    - `x (n, d)`: a cloud, d of 2 or more. Leave out points where the feature is absent. For d above 2 the planes
      are those of neighbouring principal components, at most four.
    - `epsilon`: half the width of the band; 0.1 by default.
    - `clip`: the share of points at each end that the histogram leaves out, for clouds with outliers; 0 by
      default. 0.001 cuts at the 0.1 and 99.9 percentiles.
    - `key`: a `jax.random.key`, which draws the null: normal clouds of n points. None (the default): no null.
    - `resamples`: how many normal clouds; 20 by default.

    **Returns:** `Irreducibility`. Give 2,000 points or more. With fewer points, compare with `bias` and the null.

    **Raises:** ValueError for fewer than 100 points, one column, points on one line, and values that are not finite.

    ```python
    t = 2 * jnp.pi * jax.random.uniform(jax.random.key(0), (2000,))
    found = ji.geometry.irreducibility(jnp.stack([jnp.cos(t), jnp.sin(t)], 1))
    found.separability, found.mixture                    # [1.5], [0.22]
    ```

    Laws: an orthogonal map of a cloud of two columns changes M by no more than the step of the grid; one scale for all
    columns changes nothing; an isotropic normal cloud has S near 0 and M near 0.08.
    """
    x = as_matrix(x, "x", FEW)
    if x.shape[1] < 2:
        raise ValueError("A cloud has two columns or more; one column is a feature of one dimension.")
    check_varies(x, "x")
    planes = _planes(np.asarray(x, np.float64))
    n = len(x)
    width = jnp.asarray(as_number(epsilon, "epsilon", 1e-4, 1), jnp.float32)
    cut = as_number(clip, "clip", 0, 0.25)
    ends = jnp.asarray(cut, jnp.float32) if cut else None  # without a cut nothing is sorted
    s, m = (np.asarray(found) for found in indices_of(jnp.asarray(planes, jnp.float32), width, ends))
    bias = float((BINS - 1) ** 2 / (2 * n * np.log(2)))
    score = float(((1 - m) * s).mean())
    if key is None:
        return Irreducibility(s, m, score, bias)
    count = as_int(resamples, "resamples", 1)
    drawn = check_key(key, "ji.geometry.irreducibility(x, key={})")
    null = jax.random.normal(drawn, (count, n, 2), jnp.float32)
    null_s, null_m = (np.asarray(found) for found in indices_of(null, width, ends))
    p_s, p_m = (
        np.array([permutation_p(float(one), chance) for one in found])
        for found, chance in ((s, null_s), (m, null_m))
    )
    return Irreducibility(s, m, score, bias, p_s, p_m)


def _planes(x: np.ndarray) -> np.ndarray:
    """Clouds `(plane, n, 2)`: the two columns as they are, or neighbouring principal components."""
    x = x - x.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    rank = int((s > s[0] * max(x.shape) * 1e-7).sum())
    if rank < 2:
        raise ValueError(
            "The points lie on one line: a feature of one dimension. A plane has two directions."
        )
    if x.shape[1] == 2:
        return x[None]
    scores = u * s
    return np.stack([scores[:, i : i + 2] for i in range(min(rank - 1, PLANES))])


@eqx.filter_jit
def indices_of(
    clouds: Float[Array, "c n 2"], width: Float[Array, ""], ends: Float[Array, ""] | None
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    many = min(len(clouds), max(1, POINTS_AT_ONCE // clouds.shape[1]))
    return jax.lax.map(
        lambda f: (_separability(f, ends), _mixture(f, width)), jax.vmap(evened)(clouds), batch_size=many
    )


def _separability(f: Float[Array, "n 2"], ends: Float[Array, ""] | None) -> Float[Array, ""]:
    # A quarter turn makes (x, y) into (-y, x), with the same information: a quarter of the angles is all of them.
    turns = 2 * jnp.pi * jnp.arange(ANGLES // 4, dtype=f.dtype) / ANGLES
    bins = jnp.arange(BINS, dtype=f.dtype)[None]

    def bits(turn: Array) -> Array:
        c, s = jnp.cos(turn), jnp.sin(turn)
        sides = []
        for z in (c * f[:, 0] - s * f[:, 1], s * f[:, 0] + c * f[:, 1]):
            if ends is None:
                low, high = z.min(), z.max()
            else:
                low, high = jnp.quantile(z, jnp.stack([ends, 1 - ends]))
            place = jnp.floor((z - low) / jnp.maximum(high - low, 1e-30) * BINS)
            sides.append((jnp.clip(place, 0, BINS - 1)[:, None] == bins).astype(f.dtype))
        joint = einsum("na,nb->ab", *sides) / len(f)
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        there = joint > 0
        ratio = jnp.where(there, joint, 1) / jnp.where(there, apart, 1)
        return (joint * jnp.log2(ratio)).sum()

    return jax.lax.map(bits, turns).min()


def _mixture(f: Float[Array, "n 2"], width: Float[Array, ""]) -> Float[Array, ""]:
    f = centred(f)
    turns = jnp.pi * jnp.arange(DIRECTIONS, dtype=f.dtype) / DIRECTIONS

    def share(turn: Array) -> Array:
        z = einsum("nk,k->n", f, jnp.stack([jnp.cos(turn), jnp.sin(turn)]))
        deviation = jnp.sqrt(jnp.square(z).mean())
        offset = jnp.linspace(-3, 3, OFFSETS, dtype=f.dtype) * deviation
        half = width * jnp.sqrt(deviation**2 + offset**2)
        low, high = (-half - offset)[:, None], (half - offset)[:, None]
        return ((low < z[None]) & (z[None] < high)).sum(1).max()

    return jax.lax.map(share, turns).max().astype(f.dtype) / len(f)
