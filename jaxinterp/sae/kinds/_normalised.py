r"""Dictionaries of inputs that were normalised row by row: the statistics are put back at the output."""

from typing import final

import equinox as eqx
import jax.numpy as jnp

from ...typing import ArrayLike, CoderLike, JaxArray
from ._coder import Coder
from ._view import View

MODES = ("layer", "constant")


@final
class Normalised(View):
    r"""$\hat x = \sigma(x)\, D(E((x - \mu(x)) / \sigma(x))) + \mu(x)$: an inner dictionary of normalised rows.

    Published dictionaries of GPT-2 have this form. `decode` needs the inputs again; `ji.splice` gives
    them.

    **Arguments:**

    - `inner`: the dictionary;
    - `mode`: `"layer"`, mean and sample deviation of the row (plus 1e-5 where it divides); or
      `"constant"`, no mean, and $\sigma = \lVert x \rVert / \sqrt d$.

    ```python
    released = ji.sae.Normalised(sae, "layer")
    features = released.encode(x)
    ```

    Law: features do not change when a row is multiplied by a positive number (up to the 1e-5).
    """

    inner: Coder
    mode: str = eqx.field(static=True)

    def __init__(self, inner: CoderLike, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(map(repr, MODES))}; got {mode!r}.")
        self.inner, self.mode = inner, mode

    @property
    def writes_back(self) -> bool:
        """It writes to the site that it reads."""
        return True

    def row_mode(self) -> tuple[str | None, Coder]:
        """The mode, and the inner dictionary."""
        return self.mode, self.inner

    def statistics(self, x: JaxArray) -> tuple[JaxArray, JaxArray]:
        """Mean and deviation of each row, `(..., 1)`."""
        x = x.astype(jnp.float32)
        if self.mode == "constant":
            norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
            return jnp.zeros_like(norm), jnp.maximum(norm, 1e-12) / self.d**0.5
        return jnp.mean(x, -1, keepdims=True), jnp.std(x, -1, keepdims=True, ddof=1)

    def normalise(self, x: JaxArray) -> JaxArray:
        """The rows that the inner dictionary reads."""
        mean, deviation = self.statistics(x)
        # The 1e-5 is in the way in alone: those that released such dictionaries have it so.
        deviation = deviation + 1e-5 if self.mode == "layer" else deviation
        return ((x - mean) / deviation).astype(x.dtype)

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)` of the normalised row."""
        return self.inner.encode(self.normalise(jnp.asarray(x)))

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Activations in the units of `x`, the rows that the features came from."""
        if x is None:
            raise ValueError("A Normalised dictionary decodes features and inputs: decode(f, x).")
        f, x = jnp.asarray(f), jnp.asarray(x)
        mean, deviation = self.statistics(x)
        return (self.inner.decode(f, self.normalise(x)) * deviation + mean).astype(f.dtype)

    def change_at(self, change: JaxArray, x: JaxArray) -> JaxArray:
        """A sum of `directions` times the deviations of the rows x."""
        return change * self.statistics(x)[1]
