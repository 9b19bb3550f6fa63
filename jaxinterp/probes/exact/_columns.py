"""Products of all columns with several vectors at once, in float64: on an accelerator where there is one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._jax_versions import enable_x64


class Columns:
    """`x (n, d)` in float64, and its products; on the default device where that is not a CPU.

    NumPy and XLA run the same library calls on a CPU; an accelerator reads `x` many times faster,
    and then holds a copy of it. `device` forces one way or the other.
    """

    def __init__(self, x: np.ndarray, device: bool | None = None) -> None:
        self.x = x
        self.device = jax.default_backend() != "cpu" if device is None else device
        self._copy: Any = None

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """`vectors (p, n)` times `x (n, d)`: `(p, d)`."""
        if not self.device:
            return vectors @ self.x
        # As many rows as the next power of two: few programs serve every number of vectors.
        rows = 1 << max(0, len(vectors) - 1).bit_length()
        padded = np.zeros((rows, vectors.shape[1]))
        padded[: len(vectors)] = vectors
        with enable_x64(True):
            if self._copy is None:
                self._copy = jnp.asarray(self.x)
            found = jnp.matmul(jnp.asarray(padded), self._copy, precision="highest")
            return np.asarray(found)[: len(vectors)]

    def keep(self, columns: np.ndarray) -> "Columns":
        return Columns(np.ascontiguousarray(self.x[:, columns]), self.device)
