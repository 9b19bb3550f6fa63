"""Neurons in a dictionary's place: what a claim about features is compared with."""

from typing import final

import jax
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray
from ._checks import check_sizes
from ._coder import Coder


@final
class Neurons(Coder):
    r"""$f = \mathrm{ReLU}(x)$, $\hat x = f$: each neuron as a feature that reads and writes itself.

    Use it in place of a dictionary, to read neurons with the tools for features: `examples`,
    `browse`, `interpret`, `rating_study`. A neuron fires where its activation is above 0.

    **Arguments:**

    - `d`: the number of neurons, `model.config.ff` at `mlp_post`.

    ```python
    found = ji.sae.examples(ji.sae.Neurons(640), model, corpus, site="mlp_post[2]")
    ```

    Law: features are the activations above 0, directions the unit vectors.
    """

    decoder: JaxArray

    def __init__(self, d: int) -> None:
        check_sizes("Neurons", d=d)
        self.decoder = jnp.eye(d, dtype=jnp.float32)

    @property
    def d(self) -> int:
        """The number of neurons."""
        return self.decoder.shape[0]

    @property
    def features(self) -> int:
        """The number of neurons."""
        return self.decoder.shape[0]

    def encode(self, x: ArrayLike) -> JaxArray:
        """The activations, with 0 in place of numbers below 0."""
        x = jnp.asarray(x)
        if x.shape[-1] != self.d:
            raise ValueError(f"These are {self.d} neurons; got activations of the shape {x.shape}.")
        return jax.nn.relu(x)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """The features as they are."""
        return jnp.asarray(f)
