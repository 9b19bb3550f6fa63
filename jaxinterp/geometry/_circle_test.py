"""Whether values lie on a circle in this order, beside the same values in random orders."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, check_key
from ..nn._linear import einsum
from ..stats._permutation import permutation_p
from ..stats._results import Record, Result
from ..typing import ArrayLike, IntLike, KeyLike
from ._matrices import as_matrix, centred, check_varies


@dataclasses.dataclass(frozen=True, eq=False)
class CircleTest(Result):
    """The R2 of a circular probe, beside chance; made by `circle_test`.

    - `r2`: the share of the variance of cosine and sine that the probe reads.
    - `chance (resamples,)`: the same with the values in random orders on the circle.
    - `p`: how often a random order is read at least as well.

    ```python
    found = ji.geometry.circle_test(x, day, key=jax.random.key(1), resamples=50)
    found.r2, found.chance.mean(), found.p
    ```
    """

    r2: float
    chance: np.ndarray
    p: float

    def records(self) -> list[Record]:
        """One dict."""
        ends = dict(
            zip(("chance_low", "chance_high"), np.quantile(self.chance, [0.025, 0.975]).tolist(), strict=True)
        )
        return [{"r2": self.r2, "chance": float(self.chance.mean())} | ends | {"p": self.p}]

    def figure(self, *, title: str = "A circle beside chance") -> viz.Figure:
        """A histogram of what random orders reach; the circle itself is marked."""
        ends = min(self.chance.min(), self.r2), max(self.chance.max(), self.r2)
        edges = np.linspace(ends[0], max(ends[1], ends[0] + 1e-9), 25)
        counts = {"random orders": np.histogram(self.chance, edges)[0]}
        return viz.histogram(counts, edges, marks={"the circle": self.r2}, x_axis="R²", title=title)


def circle_test(
    x: ArrayLike,
    value: ArrayLike,
    *,
    key: KeyLike,
    period: IntLike | None = None,
    components: IntLike = 5,
    resamples: IntLike = 200,
) -> CircleTest:
    r"""$R^2$ of `circular_probe` beside $R^2$ after $v \mapsto \pi(v)$, with random orders $\pi$ of the p values.

    Where states differ by value alone, a probe of k components reads any order of p values with an $R^2$ of about
    $k / (p - 1)$: 0.83 for seven days and five components. So a large $R^2$ is no evidence by itself.

    **Arguments:**

    - `x (n, d)`: activations.
    - `value (n,)`: ints from 0 to `period` - 1, in their order on the circle.
    - `key`: a `jax.random.key`, which draws the orders.
    - `period`: the number of values; by default the largest value plus one.
    - `components`: as in `circular_probe`; 5 by default.
    - `resamples`: how many orders are drawn; 200 by default.

    **Returns:** `CircleTest`. Orders that are turned or mirrored are the same circle, so p values have
    (p - 1)! / 2 orders. Four values have 3 orders, and `p` is then at least 1/3.

    **Raises:** the errors of `circular_probe`, and ValueError for values that are not ints below the period.

    ```python
    x = jax.random.normal(jax.random.key(0), (60, 16))
    ji.geometry.circle_test(x, np.arange(60) % 7, key=jax.random.key(1)).p
    ```

    Law: turning the circle and an orthogonal map of x change nothing.
    """
    rows = as_matrix(x, "x", 4)
    check_varies(rows, "x")
    drawn = check_key(key, "ji.geometry.circle_test(x, value, key={})")
    number = np.asarray(value)
    if number.shape != (len(rows),) or not np.issubdtype(number.dtype, np.integer) or number.min() < 0:
        raise ValueError(
            f"value is ({len(rows)},) ints from 0 on; got dtype {number.dtype} and the shape {number.shape}."
        )
    p = int(number.max()) + 1 if period is None else as_int(period, "period", 3)
    if number.max() >= p or len(set(number.tolist())) < 3:
        raise ValueError(
            f"Values are below the period {p}, and there are three or more; got {sorted(set(number.tolist()))}."
        )
    k, count = as_int(components, "components", 2), as_int(resamples, "resamples", 1)
    if len(rows) - 1 <= k:
        raise ValueError(f"A probe of {k} components needs more than {k + 1} rows; got {len(rows)}.")
    found = np.asarray(_read(rows, jnp.asarray(number, jnp.int32), drawn, p, min(k, rows.shape[1]), count))
    return CircleTest(float(found[0]), found[1:], permutation_p(float(found[0]), found[1:]))


@eqx.filter_jit
def _read(x: Array, value: Array, key: Array, period: int, components: int, count: int) -> Array:
    u, s, _ = jnp.linalg.svd(centred(x), full_matrices=False)
    u, s = u[:, :components], s[:components]
    u = jnp.where((s > s[:1] * (max(x.shape) * float(jnp.finfo(x.dtype).eps)))[None], u, 0)
    orders = jax.vmap(lambda k: jax.random.permutation(k, period))(jax.random.split(key, count))
    orders = jnp.concatenate([jnp.arange(period, dtype=orders.dtype)[None], orders])
    turn = 2 * jnp.pi * orders[:, value].astype(x.dtype) / period
    target = jnp.stack([jnp.cos(turn), jnp.sin(turn)], -1)
    target = target - target.mean(1, keepdims=True)
    inside = einsum("nk,rnj->rkj", u, target)
    return jnp.square(inside).sum((1, 2)) / jnp.square(target).sum((1, 2))
