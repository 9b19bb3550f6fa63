"""How alike two sets of points lie: estimates of HSIC from Gram matrices."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def unbiased_hsic(
    k: Float[Array, "a n n"], other: Float[Array, "b n n"], counted: Bool[Array, " n"]
) -> Float[Array, "a b"]:
    r"""$\frac{1}{n (n - 3)} \Big(\mathrm{tr}(K L) + \frac{1^\top K 1\; 1^\top L 1}{(n - 1)(n - 2)} - \frac{2}{n - 2} 1^\top K L 1\Big)$ of Gram matrices without diagonals.

    Song et al. 2012 (https://jmlr.org/papers/v13/song12a.html); its means over batches estimate HSIC without
    bias, so that a corpus can be folded (Nguyen et al. 2021, https://arxiv.org/abs/2010.15327).

    **Arguments:**

    - `k`, `other`: symmetric Gram matrices of the same n points.
    - `counted`: the points that count, at least 4.

    Law: points that do not count change nothing; the mean over subsets of points is the value of all.
    """
    n = counted.sum().astype(k.dtype)
    off = (counted[:, None] & counted[None]) & ~jnp.eye(len(counted), dtype=bool)
    a, b = (jnp.where(off, each, jnp.zeros((), each.dtype)) for each in (k, other))
    trace = jnp.einsum("aij,bij->ab", a, b, precision="highest")
    rows_a, rows_b = a.sum(-1), b.sum(-1)
    sums = rows_a.sum(-1)[:, None] * rows_b.sum(-1)[None]
    cross = jnp.einsum("ai,bi->ab", rows_a, rows_b, precision="highest")
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


def biased_hsic(
    k: Float[Array, "a n n"], other: Float[Array, "b n n"], counted: Bool[Array, " n"]
) -> Float[Array, "a b"]:
    r"""$\mathrm{tr}(K H L H) / (n - 1)^2$ of Gram matrices, with $H = I - 1 1^\top / n$.

    Gretton et al. 2005 (https://doi.org/10.1007/11564089_7).

    **Arguments:** as of `unbiased_hsic`, of at least 2 points that count.
    """
    n = counted.sum().astype(k.dtype)
    there = counted[:, None] & counted[None]

    def centred(each: Float[Array, "c n n"]) -> Float[Array, "c n n"]:
        each = jnp.where(there, each, jnp.zeros((), each.dtype))
        rows = each.sum(-1, keepdims=True) / n
        moved = each - rows - jnp.swapaxes(rows, -1, -2) + rows.sum(-2, keepdims=True) / n
        return jnp.where(there, moved, jnp.zeros((), each.dtype))

    return jnp.einsum("aij,bij->ab", centred(k), centred(other), precision="highest") / (n - 1) ** 2
