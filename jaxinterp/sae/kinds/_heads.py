"""Dictionaries of attention outputs before they are mixed: heads side by side are one row."""

from typing import Any

import jax.numpy as jnp

from ._wrapped import Wrapped


class Heads(Wrapped):
    r"""$\hat z = \mathrm{split}(D(E(\mathrm{concat}_h z_h)))$: an inner dictionary at a site with heads.

    `z` is `(..., head, k)`, and dictionaries of it (SAELens: `reshape_activations="hook_z"`) read
    heads * k numbers, one head after another. Kissane et al. 2024 (https://arxiv.org/abs/2406.17759).

    ```python
    sae = ji.sae.load("folder")  # of hook_z
    ji.run(model, tokens, edits=[ji.splice("z", ji.sae.Heads(sae), layer=2, error=True)])
    ```

    Law: features are those of the rows `z.reshape(..., head * k)`.
    """

    def _flat(self, z: Any) -> Any:
        if z.ndim < 2 or z.shape[-2] * z.shape[-1] != self.d:
            raise ValueError(f"This dictionary reads (..., head, k) with head * k = {self.d}; got {z.shape}.")
        return jnp.reshape(z, (*z.shape[:-2], self.d))

    def encode(self, z: Any) -> Any:
        """Features `(..., features)` of z `(..., head, k)`."""
        return self.inner.encode(self._flat(z))

    def decode(self, f: Any, z: Any) -> Any:
        """A site like `z` `(..., head, k)`."""
        more = (self._flat(z),) if self.inner.READS_INPUT else ()
        return self.inner.decode(f, *more).reshape(*f.shape[:-1], *z.shape[-2:])
