"""How alike two dissimilarity matrices are: by ranks, by order of pairs, or by values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import check_choice, concrete
from ..nn._linear import einsum
from ..stats._ranks import ranks
from ..typing import ArrayLike, StrLike
from ._matrices import as_floating

COMPARISONS = ("spearman", "kendall", "pearson", "cosine")
BLOCK = 512  # entries whose order with all others is counted at a time


def compare_rdms(a: ArrayLike, b: ArrayLike, *, comparison: StrLike = "spearman") -> Float[Array, ""]:
    r"""$\rho(\mathrm{rank}\, a_{i<j}, \mathrm{rank}\, b_{i<j})$: the rank correlation of two dissimilarity matrices above the diagonal.

    **Arguments:**

    - `a`, `b (n, n)`: dissimilarities of the same n conditions, at least 3, as `rdm` returns them.
    - `comparison`: "spearman" (the default), where equal entries have their mean rank; "kendall", $\tau_a$, which
      Nili et al. 2014 (https://doi.org/10.1371/journal.pcbi.1003553) recommend where a model predicts ties;
      "pearson"; or "cosine", for dissimilarities with a meaningful 0, such as those of `crossnobis`.

    **Returns:** a number between -1 and 1.

    **Raises:** ValueError for matrices that are not square, not symmetric or of different sizes, and for one
    whose entries are all equal.

    ```python
    a, b = ji.geometry.rdm(x[:20]), ji.geometry.rdm(y[:20])
    ji.geometry.compare_rdms(a, b, comparison="kendall")
    ```

    Law: an increasing function of the entries does not change "spearman" and "kendall".
    """
    check_choice(comparison, "comparison", COMPARISONS)
    a, b = as_rdm(a, "a"), as_rdm(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"Both matrices are of the same conditions; got the shapes {a.shape} and {b.shape}. "
            "Drop the conditions that one side lacks: a[keep][:, keep]."
        )
    dtype = np.promote_types(a.dtype, b.dtype)
    return _compare(a.astype(dtype), b.astype(dtype), comparison)


def as_rdm(value: ArrayLike, name: str) -> Float[Array, "n n"]:
    """A checked matrix of dissimilarities."""
    found = as_floating(value, name)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or len(found) < 3:
        raise ValueError(
            f"{name} is (n, n), the dissimilarities of three conditions or more; got the shape {found.shape}. "
            f"From responses (n, p): ji.geometry.rdm({name})."
        )
    if concrete(found):
        entries = np.asarray(found)
        if not np.allclose(entries, entries.T, rtol=1e-4, atol=1e-5 * float(np.abs(entries).max())):
            raise ValueError(f"Dissimilarities are symmetric; {name} is not. Give ({name} + {name}.T) / 2.")
        check_entries(entries[None], name)
    return found


def check_entries(rdms: np.ndarray, name: str) -> None:
    """Raises ValueError where all entries above the diagonal of a matrix are equal."""
    above = rdms[:, *np.triu_indices(rdms.shape[-1], 1)]
    if (np.ptp(above, axis=1) == 0).any():
        raise ValueError(
            f"All dissimilarities of {name} are equal, so nothing compares with them. Are all conditions one?"
        )


@eqx.filter_jit
def _compare(a: Float[Array, "n n"], b: Float[Array, "n n"], comparison: str) -> Float[Array, ""]:
    if comparison == "kendall":
        return kendall(above(a), above(b))
    return cosine(prepared(above(a), comparison), prepared(above(b), comparison))


def above(rdm: Float[Array, "*r n n"]) -> Float[Array, "*r pair"]:
    """The entries above the diagonal."""
    first, second = jnp.triu_indices(rdm.shape[-1], 1)
    return rdm[..., first, second]


def prepared(entries: Float[Array, "*r pair"], comparison: str) -> Float[Array, "*r pair"]:
    """Entries whose cosine is the comparison: ranks, or values, about their mean."""
    if comparison in ("spearman", "kendall"):
        entries = ranks(entries)
    return entries if comparison == "cosine" else entries - entries.mean(-1, keepdims=True)


def cosine(a: Float[Array, " pair"], b: Float[Array, " pair"]) -> Float[Array, ""]:
    """The cosine of the angle between two vectors."""
    return einsum("i,i->", a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))


def kendall(a: Float[Array, " pair"], b: Float[Array, " pair"]) -> Float[Array, ""]:
    r"""$\tau_a$: pairs of entries in the same order less those in the other, over all pairs."""
    count = len(a)
    padded = -(-count // BLOCK) * BLOCK
    blocks = jnp.arange(padded).reshape(-1, min(BLOCK, padded))

    def same_order(rows: Array) -> Array:
        there = (rows < count)[:, None]
        signs = [jnp.sign(x[jnp.minimum(rows, count - 1)][:, None] - x[None]) for x in (a, b)]
        return jnp.where(there, signs[0] * signs[1], 0).sum()

    return jax.lax.map(same_order, blocks).sum() / (float(count) * (count - 1))  # the product leaves int32
