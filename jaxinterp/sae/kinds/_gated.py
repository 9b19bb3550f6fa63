r"""Gated: one half of the encoder says whether a feature is there, the other how much."""

from typing import Any, final

import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike
from ..training._optimizers import adam
from ._checks import check_coefficient
from ._dictionary import Dictionary
from ._kind import INIT, Shapes
from ._losses import Progress
from ._median import geometric_median
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import align, random_directions
from ._unit_rows import UnitRowsKind


@final
class GatedDictionary(Dictionary):
    r"""$f = [\pi > 0]\, \mathrm{ReLU}(e^{r} \odot (x - b) W_e + b_m)$ with $\pi = (x - b) W_e + b_e$.

    It has `gain (features,)`, $r$, and `magnitude_bias (features,)`, $b_m$, besides the arrays of all.
    """

    gain: JaxArray
    magnitude_bias: JaxArray

    def activate(self, pre: JaxArray) -> JaxArray:
        """The gate times the magnitude, both of the same product."""
        shared = pre - align(self.encoder_bias, pre)
        gain, shift = align(jnp.exp(self.gain), pre), align(self.magnitude_bias, pre)
        magnitude = jax.nn.relu(shared * gain + shift)
        return jnp.where(pre > 0, magnitude, 0)


@final
class Gated(UnitRowsKind, PartsKind):
    r"""$f = [\pi > 0]\, \mathrm{ReLU}(e^{r} \odot (x - b) W_e + b_m)$ with $\pi = (x - b) W_e + b_e$.

    Trained on $\lVert x - \hat x \rVert^2 + \lambda \sum_i \mathrm{ReLU}(\pi_i) + \lVert x - \hat
    x_{\mathrm{gate}} \rVert^2$, means over the batch, where $\hat x_{\mathrm{gate}}$ decodes
    $\mathrm{ReLU}(\pi)$ with a decoder that gets no gradient. Rajamanoharan et al. 2024
    (https://arxiv.org/abs/2404.16014).

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$, of sums over d and over features, by default 1;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    sae, history = ji.sae.train(ji.sae.Gated(d=512, features=4096, sparsity=1.0), stream, key=key, steps=50_000)
    ```

    Law: with r = 0 and equal biases it encodes as `Vanilla` does.
    """

    sparsity: JaxArray

    @respelled(key=INIT)
    def __init__(self, *, d: int, features: int, sparsity: ArrayLike = 1.0, matmul: str = "float32") -> None:
        super().__init__(d, features, matmul=matmul)
        check_coefficient("Gated", "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {**super().shapes(), "gain": (self.features,), "magnitude_bias": (self.features,)}

    def dictionary(self, **arrays: Any) -> GatedDictionary:
        """The dictionary of these arrays."""
        return GatedDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> GatedDictionary:
        """Random decoder rows, the encoder their transpose; the bias is the sample's geometric median."""
        decoder = random_directions(key, self.features, self.d)
        return self.dictionary(
            encoder=decoder.T,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=decoder,
            bias=jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            scale=jnp.ones((), jnp.float32),
            gain=jnp.zeros(self.features, jnp.float32),
            magnitude_bias=jnp.zeros(self.features, jnp.float32),
        )

    def part(self, dictionary: GatedDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions by features and by the gate, and the mean sum of the gate."""
        pre = dictionary.pre(x)
        f, gate = dictionary.activate(pre), jax.nn.relu(pre)
        sums = {
            "decoded": dictionary.product(f, dictionary.decoder),
            "aside": dictionary.product(gate, jax.lax.stop_gradient(dictionary.decoder)),
            "norm": jnp.mean(jnp.sum(gate.astype(jnp.float32), -1)),
        }
        return Part(sums, f)

    def terms(
        self, dictionary: GatedDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The squared error, the sum of the gate, and the squared error of the gate's reconstruction."""
        target = y * dictionary.scale
        aside = sums["aside"] + jax.lax.stop_gradient(dictionary.bias)[None]
        return {
            "reconstruction": jnp.mean(self.squares(target - dictionary.shifted(sums["decoded"]))),
            "sparsity": now.warm * self.sparsity * sums["norm"],
            "aux": jnp.mean(self.squares(target - aside)),
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 3e-4 without momentum (beta 0, 0.999), 1,000 steps of warm-up."""
        return adam(3e-4, steps, b1=0.0, warmup_steps=min(1000, steps // 10))
