"""Products of two thin matrices, kept as the two: QK and OV are `(d, d)` of rank `k`."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from ._leaves import matmul, wide


class SVD(NamedTuple):
    """$M = U\\,\\mathrm{diag}(S)\\,V^\\top$: `u` (*lead m s), `s` (*lead s), largest first, `vt` (*lead s n)."""

    u: Float[Array, "*lead m s"]
    s: Float[Array, "*lead s"]
    vt: Float[Array, "*lead s n"]


class Factored(eqx.Module):
    r"""$M = A B$ with $A$ `left` (*lead m r) and $B$ `right` (*lead r n), never multiplied out.

    Any number of leading axes (layers, heads), which index and broadcast as those of arrays do.
    Products with arrays and with each other stay factored; norms, singular values and eigenvalues
    come from `(r, r)` matrices.

    ```python
    ov = ji.weights.ov(model)
    ov.shape                                # (layer, head, d, d)
    ov[2, 5].svd()                          # of one head
    direction @ ov[2, 5]                    # (d,): what the head writes when it reads a direction
    ```

    Laws: `(f @ g).full() == f.full() @ g.full()`; `f.norm()` is the norm of `f.full()`.
    """

    left: Float[Array, "*lead m r"]
    right: Float[Array, "*lead r n"]

    # NumPy would try to make an object array of us in `array @ factored`.
    __array_ufunc__ = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the product: `(*lead, m, n)`."""
        return (*self.left.shape[:-1], self.right.shape[-1])

    @property
    def ndim(self) -> int:
        """The number of axes of the product."""
        return self.left.ndim

    @property
    def rank(self) -> int:
        """The inner size `r`: the rank of the product is at most this."""
        return self.left.shape[-1]

    @property
    def T(self) -> "Factored":
        r"""$M^\top = B^\top A^\top$, leading axes kept."""
        return Factored(jnp.swapaxes(self.right, -1, -2), jnp.swapaxes(self.left, -1, -2))

    def full(self) -> Float[Array, "*lead m n"]:
        r"""$A B$, multiplied out."""
        return matmul(self.left, self.right)

    def __getitem__(self, index: Any) -> "Factored":
        """Leading axes only: `qk[2, 5]` is a layer and a head."""
        entries = index if isinstance(index, tuple) else (index,)
        used = sum(entry is not None and entry is not Ellipsis for entry in entries)
        if used > self.ndim - 2 or Ellipsis in entries:
            raise IndexError(
                f"A factored matrix is indexed along its leading axes {self.shape[:-2]}; got "
                f"{index!r}. For entries of the product itself, index factored.full() or "
                "factored.left and factored.right."
            )
        return Factored(self.left[index], self.right[index])

    def __matmul__(self, other: Any) -> Any:
        """With a vector `(n,)` an array, with a matrix `(..., n, p)` or a `Factored`, factored."""
        if isinstance(other, Factored):
            middle = matmul(self.right, other.left)
            if self.rank <= other.rank:
                return _joined(self.left, matmul(middle, other.right))
            return _joined(matmul(self.left, middle), other.right)
        if not _is_array(other):
            return NotImplemented
        other = jnp.asarray(other, self.left.dtype)
        if other.ndim == 1:
            return matmul(self.left, matmul(self.right, other[:, None]))[..., 0]
        return _joined(self.left, matmul(self.right, other))

    def __rmatmul__(self, other: Any) -> Any:
        if not _is_array(other):
            return NotImplemented
        other = jnp.asarray(other, self.left.dtype)
        if other.ndim == 1:
            return matmul(matmul(other[None, :], self.left), self.right)[..., 0, :]
        return _joined(matmul(other, self.left), self.right)

    def norm(self) -> Float[Array, "*lead"]:
        r"""$\lVert A B \rVert_F = \lVert A R^\top \rVert_F$, where $B^\top = Q R$."""
        return jnp.sqrt(jnp.square(as_reader(self)).sum((-2, -1)))

    def svd(self) -> "SVD":
        r"""$A B = U\,\mathrm{diag}(S)\,V^\top$ with $s = \min(m, r, n)$ singular values, largest first.

        Through the QR factors of both sides and the singular values of an `(r, r)` matrix.
        """
        q_left, r_left = jnp.linalg.qr(wide(self.left))
        q_right, r_right = jnp.linalg.qr(wide(jnp.swapaxes(self.right, -1, -2)))
        core = matmul(r_left, jnp.swapaxes(r_right, -1, -2))
        u, s, vt = jnp.linalg.svd(core, full_matrices=False)
        return SVD(matmul(q_left, u), s, matmul(vt, jnp.swapaxes(q_right, -1, -2)))

    def eigenvalues(self) -> Complex[Array, "*lead r"]:
        r"""$\lambda(A B) \setminus \{0\} = \lambda(B A) \setminus \{0\}$: the `r` eigenvalues of $B A$.

        The `n - r` others of a square product are zero. On TPU, where JAX has no nonsymmetric
        eigensolver, move the factors to the CPU first (`jax.device_put`).

        **Raises:** `ValueError` when the product is not square.
        """
        if self.shape[-2] != self.shape[-1]:
            raise ValueError(
                f"Only square matrices have eigenvalues; this product is {self.shape[-2:]}. "
                "For singular values call factored.svd()."
            )
        return jnp.linalg.eigvals(matmul(wide(self.right), wide(self.left)))

    def __repr__(self) -> str:
        return f"Factored{list(self.shape)} of rank {self.rank} {self.left.dtype}"


def _triangle(b: Float[Array, "*lead r n"]) -> Float[Array, "*lead s r"]:
    r"""$R$ of $B^\top = Q R$: as wide as `r`, whatever `n` is."""
    return jnp.linalg.qr(wide(jnp.swapaxes(b, -1, -2)), mode="r")


def as_writer(factored: Factored) -> Float[Array, "*lead s n"]:
    r"""$R B$, where $A = Q R$: thin, with $\lVert A B X \rVert_F = \lVert R B X \rVert_F$ for any $X$."""
    return matmul(_triangle(jnp.swapaxes(factored.left, -1, -2)), wide(factored.right))


def as_reader(factored: Factored) -> Float[Array, "*lead m s"]:
    r"""$A R^\top$, where $B^\top = Q R$: thin, with $\lVert X A B \rVert_F = \lVert X A R^\top \rVert_F$."""
    return matmul(wide(factored.left), jnp.swapaxes(_triangle(factored.right), -1, -2))


def _joined(left: Array, right: Array) -> Factored:
    lead = jnp.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return Factored(
        jnp.broadcast_to(left, (*lead, *left.shape[-2:])),
        jnp.broadcast_to(right, (*lead, *right.shape[-2:])),
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array) or hasattr(value, "__array__")
