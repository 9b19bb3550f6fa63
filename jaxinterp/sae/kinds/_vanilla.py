r"""The autoencoder of Towards Monosemanticity: $f = \mathrm{ReLU}((x - b) W_e + b_e)$, $\hat x = f W_d + b$."""

from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike
from ..training._optimizers import adam
from ._checks import check_coefficient
from ._kind import INIT
from ._losses import Progress
from ._median import geometric_median
from ._parts import Part, PartPlace, PartsKind, Terms
from ._relu import ReLUDictionary
from ._rows import unit_norm
from ._unit_rows import UnitRowsKind


@final
class Vanilla(UnitRowsKind, PartsKind):
    r"""$\frac1B \sum_b \bigl[ \frac1d \lVert x - \hat x \rVert^2 + \lambda \sum_i f_i \bigr]$, decoder rows of norm 1.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features). The bias is
    subtracted from the input and added to the output. Gradients are made orthogonal to the decoder's
    rows, which keep norm 1. Dead features are resampled at given steps (`ji.sae.resample`, by the
    squares of the whole loss).

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$, for a squared error averaged over d and a sum over features. The paper has
      0.004 for d = 512. For a squared error summed over d it is d times this number;
    - `resample`: the steps at which features that did not fire for `window` steps are drawn anew;
    - `window`: the number of steps without firing that make a feature dead;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    kind = ji.sae.Vanilla(d=512, features=4096, sparsity=4e-3)
    sae, history = ji.sae.train(kind, stream, key=key, steps=100_000)
    ```

    Law: rows of the decoder have norm 1 after every step.
    """

    sparsity: JaxArray
    resample: tuple[int, ...] = eqx.field(static=True)
    window: int = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: ArrayLike = 4e-3,
        resample: Sequence[int] = (25_000, 50_000, 75_000, 100_000),
        window: int = 12_500,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul)
        check_coefficient("Vanilla", "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self.resample, self.window = tuple(resample), window

    def dictionary(self, **arrays: Any) -> ReLUDictionary:
        """The dictionary of these arrays."""
        return ReLUDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> ReLUDictionary:
        """Uniform weights, decoder rows of norm 1; the bias is the geometric median of the sample."""
        one, two = jax.random.split(key)
        limit = (6 / self.d) ** 0.5
        encoder = jax.random.uniform(
            one, (self.d, self.features), minval=-limit, maxval=limit, dtype=jnp.float32
        )
        decoder = jax.random.uniform(two, (self.features, self.d), minval=-1.0, maxval=1.0, dtype=jnp.float32)
        return self.dictionary(
            encoder=encoder,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=unit_norm(decoder),
            bias=jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            scale=jnp.ones((), jnp.float32),
        )

    def part(self, dictionary: ReLUDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions, and the mean sum of features."""
        f = dictionary.activate(dictionary.pre(x))
        norm = jnp.mean(jnp.sum(f.astype(jnp.float32), -1))
        return Part({"decoded": dictionary.product(f, dictionary.decoder), "norm": norm}, f)

    def terms(
        self, dictionary: ReLUDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The mean squared error, and the sum of features."""
        error = y * dictionary.scale - dictionary.shifted(sums["decoded"])
        return {
            "reconstruction": jnp.mean(self.squares(error)) / self.d,
            "sparsity": now.warm * self.sparsity * sums["norm"],
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 3e-4, constant: the paper gives no rate."""
        return adam(3e-4, steps)

    def dead_after(self, batch_size: int) -> int:
        """The window of resampling."""
        return self.window

    @property
    def renewals(self) -> tuple[int, ...]:
        """The steps of `resample`."""
        return self.resample
