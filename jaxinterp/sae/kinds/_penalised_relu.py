"""What the kinds share that penalise a plain ReLU by the norms of its decoder rows: all but the penalty."""

from typing import Any

import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike
from ..training._optimizers import adam
from ._checks import check_coefficient
from ._parts import PartsKind
from ._relu import ReLUDictionary
from ._rows import norm_scale, random_directions


class PenalisedReLU(PartsKind):
    """First weights, optimizer and warm-up of `Standard` and `Annealed`; an abstract class without a loss."""

    sparsity: JaxArray

    def __init__(self, d: int, features: int, *, sparsity: ArrayLike, matmul: str) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_coefficient(type(self).__name__, "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)

    def dictionary(self, **arrays: Any) -> ReLUDictionary:
        """The dictionary of these arrays."""
        return ReLUDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> ReLUDictionary:
        """Decoder rows of norm 0.1, the encoder their transpose; the scale is that of the sample."""
        decoder = 0.1 * random_directions(key, self.features, self.d)
        return self.dictionary(
            encoder=decoder.T,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=decoder,
            bias=jnp.zeros(self.d, jnp.float32),
            scale=norm_scale(x, self.d),
        )

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 5e-5, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(5e-5, steps, decay_share=0.2, clip_norm=1.0)

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """Rises over the first 5% of the steps."""
        return jnp.minimum(1.0, (step + 1) / max(1.0, 0.05 * steps))
