r"""Dictionaries of inputs that were normalised row by row: the statistics are put back at the output."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ._wrapped import Wrapped

MODES = ("layer", "constant")


class Normalised(Wrapped):
    r"""$\hat x = \sigma(x)\, D(E((x - \mu(x)) / \sigma(x))) + \mu(x)$: an inner dictionary of normalised rows.

    `mode="layer"`: mean and sample deviation of the row (plus 1e-5 where it divides); `"constant"`: no mean, and
    $\sigma = \lVert x \rVert / \sqrt d$. Released dictionaries of GPT-2 are of this form; `decode` needs the
    inputs again, and `ji.splice` gives them.

    Law: features do not change when a row is multiplied by a positive number (up to the 1e-5).
    """

    mode: str = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(map(repr, MODES))}; got {self.mode!r}.")

    def _row(self, x: Any) -> tuple[Any, Any]:
        x = x.astype(jnp.float32)
        if self.mode == "constant":
            norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
            return jnp.zeros_like(norm), jnp.maximum(norm, 1e-12) / self.d**0.5
        return jnp.mean(x, -1, keepdims=True), jnp.std(x, -1, keepdims=True, ddof=1)

    def _normal(self, x: Any) -> Any:
        mean, deviation = self._row(x)
        # The 1e-5 is in the way in alone: those that released such dictionaries have it so.
        deviation = deviation + 1e-5 if self.mode == "layer" else deviation
        return ((x - mean) / deviation).astype(x.dtype)

    def encode(self, x: Any) -> Any:
        """Features `(..., features)`, of the normalised row."""
        return self.inner.encode(self._normal(x))

    def decode(self, f: Any, x: Any) -> Any:
        """Activations in the units of `x`, the rows that the features came from."""
        mean, deviation = self._row(x)
        more = (self._normal(x),) if self.inner.READS_INPUT else ()
        return (self.inner.decode(f, *more) * deviation + mean).astype(f.dtype)
