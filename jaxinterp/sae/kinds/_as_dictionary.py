"""Neurons in a dictionary's place: what a claim about features is compared with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._dictionary import check_sizes


class Neurons(eqx.Module):
    r"""$f = \mathrm{ReLU}(x)$, $\hat x = f$: each neuron as a feature that reads and writes itself.

    Give it where a dictionary goes, to read neurons with the tools for features: `examples`,
    `browse`, `interpret`, `rating_study`. What is below 0 counts as silence.

    **Arguments:** `d`, how many there are: `model.config.d_mlp` at `mlp_post`.

    ```python
    found = ji.sae.examples(ji.sae.Neurons(640), model, corpus, site="mlp_post[2]")
    ```

    Law: features are the activations above 0, directions the unit vectors.
    """

    decoder: Any

    def __init__(self, d: int) -> None:
        check_sizes("Neurons", d=d)
        self.decoder = jnp.eye(d, dtype=jnp.float32)

    @property
    def d(self) -> int:
        """How many there are."""
        return self.decoder.shape[0]

    @property
    def features(self) -> int:
        """As many."""
        return self.decoder.shape[0]

    def encode(self, x: Any) -> Any:
        """What is above 0."""
        if x.shape[-1] != self.d:
            raise ValueError(f"These are {self.d} neurons; got activations of the shape {x.shape}.")
        return jax.nn.relu(x)

    def decode(self, f: Any) -> Any:
        """The same."""
        return f

    def __call__(self, x: Any) -> Any:
        """Activations above 0."""
        return self.decode(self.encode(x))
