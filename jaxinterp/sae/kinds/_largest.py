r"""What `TopK`, `BatchTopK` and `Matryoshka` share: features that are the largest, and AuxK for dead ones."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike, Self
from ..training._optimizers import adam
from ._aux import dead_share
from ._checks import check_sizes
from ._kept import keep_largest
from ._losses import Progress
from ._median import geometric_median
from ._rows import random_directions
from ._sparse import decode_entries, largest_with_gradients
from ._unit_rows import UnitRowsKind


class LargestKind(UnitRowsKind):
    """Settings of kinds that keep the largest pre-activations. An abstract class.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `k`: the number of features per row;
    - `alpha`: the weight of AuxK;
    - `aux`: the number of dead features of AuxK, by default the power of two nearest d/2;
    - `dead_tokens`: the number of tokens without firing that make a feature dead;
    - `centred`, `matmul`: as in `Kind`.
    """

    k: int = eqx.field(static=True)
    alpha: JaxArray
    aux: int = eqx.field(static=True)
    dead_tokens: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        alpha: ArrayLike,
        aux: int | None,
        dead_tokens: int,
        centred: bool,
        matmul: str,
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_sizes(type(self).__name__, k=k)
        if k > features:
            raise ValueError(
                f"k={k} features of a row cannot be chosen from {features}: k is at most features."
            )
        self.k, self.alpha = k, jnp.asarray(alpha, jnp.float32)
        power = 2 ** max(0, round(math.log2(d / 2)))
        self.aux = min(features, power if aux is None else aux)
        self.dead_tokens = dead_tokens

    @abc.abstractmethod
    def choose(self, pre: JaxArray, limit: JaxArray | None = None) -> JaxArray:
        """The features of a training batch `(batch, features)`; `limit` in place of k, not above it."""

    def first_arrays(self, key: KeyLike, x: JaxArray | None) -> dict[str, JaxArray]:
        """First weights: random decoder rows, and the encoder that reconstructs unit vectors by them."""
        decoder = random_directions(key, self.features, self.d)
        return {
            "encoder": decoder.T * self._first_gain(decoder),
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
        }

    def _first_gain(self, decoder: JaxArray) -> JaxArray:
        """What makes the first reconstruction of a unit vector have norm 1."""
        x = random_directions(jax.random.key(0), 256, self.d)
        pre = jnp.matmul(x, decoder.T, precision="highest")
        f = jax.nn.relu(keep_largest(pre, self.k))
        back = jnp.linalg.norm(jnp.matmul(f, decoder, precision="highest"), axis=-1)
        return 1 / jnp.maximum(jnp.mean(back), 1e-3)

    def aux_loss(
        self, dictionary: Any, x: JaxArray, pre: JaxArray | None, error: JaxArray, now: Progress
    ) -> JaxArray:
        """AuxK: what dead features leave of the error, as a share of it. It is 0 where none is dead.

        `pre` is None in the sparse form: it is computed again here, in the steps that need it.
        """
        dead = jnp.broadcast_to(now.dead, (dictionary.features,))
        rest = jax.lax.stop_gradient(error)
        revive = jnp.any(dead) if now.revive is None else now.revive
        if pre is None:

            def of_dead() -> JaxArray:
                values, where = largest_with_gradients(dictionary, x, self.aux, dead)
                guess = decode_entries(jax.nn.relu(values), where, dictionary.decoder)
                return self.share(rest - guess, rest)

            value = jax.lax.cond(revive, of_dead, lambda: jnp.zeros((), jnp.float32))
        else:
            value = dead_share(self, pre, dictionary.decoder, rest, dead, revive)
        return value if now.revive is None else jnp.where(jnp.any(dead), value, 0)

    def optimizer(self, steps: int) -> OptimizerLike:
        r"""Adam at $2 \cdot 10^{-4} / \sqrt{m / 2^{14}}$, epsilon 6.25e-10."""
        return adam(2e-4 / (self.features / 2**14) ** 0.5, steps, eps=6.25e-10)

    def dead_after(self, batch_size: int) -> int:
        """`dead_tokens` in steps."""
        return max(1, self.dead_tokens // batch_size)

    @property
    def limit(self) -> int | None:
        """k: a smaller one is a mask."""
        return self.k

    def with_limit(self, limit: int) -> Self:
        """The same kind with another k."""
        return self.replace(k=limit)

    def member_settings(self) -> tuple[str, ...]:
        """The static settings in which members of one program may differ."""
        return ("features", "k", "dead_tokens")
