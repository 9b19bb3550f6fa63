"""Dictionaries of attention outputs before they are mixed: heads side by side are one row."""

from typing import final

import jax.numpy as jnp

from ...typing import ArrayLike, CoderLike, JaxArray
from ._coder import Coder
from ._view import View


@final
class Heads(View):
    r"""$\hat z = \mathrm{split}(D(E(\mathrm{concat}_h z_h)))$: an inner dictionary at a site with heads.

    The site `z` has the shape `(..., head, k)`. Dictionaries of it (SAELens: `reshape_activations="hook_z"`) read
    rows of heads * k numbers, one head after another. Kissane et al. 2024 (https://arxiv.org/abs/2406.17759).

    **Arguments:**

    - `inner`: the dictionary.

    ```python
    inner = ji.sae.TopK(d=160, features=320, k=8).init(key)     # or `ji.sae.load` of a dictionary of hook_z
    ji.run(model, tokens, edits=[ji.splice("z", ji.sae.Heads(inner), layer=2, error=True)])
    ```

    Law: features are those of the rows `z.reshape(..., head * k)`.
    """

    inner: Coder

    def __init__(self, inner: CoderLike) -> None:
        self.inner = inner

    def side_by_side(self, z: JaxArray) -> JaxArray:
        """Rows `(..., head * k)` of z `(..., head, k)`."""
        if z.ndim < 2 or z.shape[-2] * z.shape[-1] != self.d:
            raise ValueError(f"This dictionary reads (..., head, k) with head * k = {self.d}; got {z.shape}.")
        return jnp.reshape(z, (*z.shape[:-2], self.d))

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)` of x `(..., head, k)`."""
        return self.inner.encode(self.side_by_side(jnp.asarray(x)))

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Activations with the heads of `x` `(..., head, k)`, the inputs."""
        if x is None:
            raise ValueError("A dictionary of heads decodes features and inputs: decode(f, x).")
        f, x = jnp.asarray(f), jnp.asarray(x)
        rows = self.inner.decode(f, self.side_by_side(x))
        return rows.reshape(*f.shape[:-1], *x.shape[-2:])
