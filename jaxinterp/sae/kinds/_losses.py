"""What a loss knows of the training around it, and what it returns."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from ..._arguments import kind_of
from ...typing import JaxArray


class Progress(NamedTuple):
    """The state of a training that a loss may use besides its batch.

    - `step ()`: the number of the step, from 0;
    - `warm ()`: the share of the sparsity coefficient that is used, from 0 to 1;
    - `dead (features,)`: True for features that have not fired for a long time;
    - `limit ()`: in a sweep the member's own number of features per row, at most the kind's `k`;
    - `revive ()`: in a sweep whether any member has dead features.

    ```python
    now = ji.sae.Progress(step=0, warm=1.0, dead=jnp.zeros(sae.features, bool))
    sae.loss(x, x, now).terms
    ```
    """

    step: Any
    warm: Any
    dead: Any
    limit: Any = None
    revive: Any = None


class Losses(NamedTuple):
    """The loss of one batch.

    - `total ()`: the number to minimise;
    - `terms`: its parts by name, each `()`; they are written to the history;
    - `features (batch, features)`: the latent values;
    - `updates`: new values by name for arrays that no gradient trains, such as a running threshold;
    - `active`: where `features` is costly, the features that fired `(features,)` and their mean number
      per row `()`.

    ```python
    error = jnp.square(x - sae(x)).sum(-1).mean()
    losses = ji.sae.Losses.of({"reconstruction": error}, features=sae.encode(x))
    losses.total                                        # the sum of the terms
    ```
    """

    total: JaxArray
    terms: dict[str, JaxArray]
    features: JaxArray
    updates: dict[str, JaxArray] | None = None
    active: tuple[JaxArray, JaxArray] | None = None

    def checked(self: Any) -> "Losses":
        """The same. **Raises:** ValueError where a kind's `loss` returns anything else, or no single number."""
        if not isinstance(self, Losses):
            raise ValueError(
                "The loss of a kind returns ji.sae.Losses.of({'reconstruction': value, ...}, features); got "
                f"{kind_of(self)}."
            )
        for name, value in {**self.terms, "total": self.total}.items():
            if jnp.shape(value):
                raise ValueError(
                    f"Each term of a loss is one number, of the shape (); {name!r} has the shape "
                    f"{jnp.shape(value)}. Write its mean: jnp.mean(value)."
                )
        return self

    @classmethod
    def of(
        cls,
        terms: dict[str, JaxArray],
        features: JaxArray,
        updates: dict[str, JaxArray] | None = None,
        active: tuple[JaxArray, JaxArray] | None = None,
    ) -> "Losses":
        """The losses whose total is the sum of the terms."""
        first, *rest = terms.values()
        for term in rest:
            first = first + term
        return cls(first, terms, features, updates, active)


def firing(f: JaxArray) -> tuple[JaxArray, JaxArray]:
    """Which features are not 0 in a row of `(batch, ...)`, and their mean number in a row."""
    times = jnp.sum(f != 0, 0, dtype=jnp.float32)  # exact, and a TPU is slow at `any`
    return times > 0, jnp.sum(times) / len(f)
