r"""Transcoders: a sparse replacement of a part of the model, from its input to its output."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike, Self
from ..training._optimizers import adam
from ._checks import check_coefficient, check_sizes
from ._dictionary import AnyKind, Dictionary
from ._kind import INIT, Shapes
from ._losses import Progress
from ._median import geometric_median
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import align, random_directions
from ._unit_rows import UnitRowsKind


class AcrossDictionary(Dictionary[AnyKind]):
    r"""$f = \sigma((x - b_{in}) W_e + b_e)$, $\hat y = f W_d + b\; (+\, x W_s)$. An abstract class.

    It has `input_bias (d,)`, and with a skip `skip (d, d_out)`. Its `scale` is not used.
    """

    input_bias: JaxArray
    skip: JaxArray | None = None

    READS_INPUT: ClassVar[bool] = True

    def pre(self, x: JaxArray) -> JaxArray:
        """Pre-activations of what the part reads."""
        pre = self.encoded(x, self.input_bias)
        return pre + align(self.encoder_bias, pre)

    def fold(self) -> Self:
        """Itself: a transcoder has no scale."""
        return self

    def directions(self) -> JaxArray:
        """The decoder's rows `(features, d_out)` in float32."""
        return self.decoder.astype(jnp.float32)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """What the features write `(..., d_out)`; with a skip it needs the inputs x too."""
        f = jnp.asarray(f)
        return self.with_path(self.reconstruct(f), x).astype(f.dtype)

    def with_path(self, y: JaxArray, x: ArrayLike | None) -> JaxArray:
        """The outputs y with the linear path of the inputs x added, where there is one."""
        if self.skip is None:
            return y
        if x is None:
            raise ValueError("A transcoder with skip decodes features and inputs: decode(f, x).")
        return y + self.product(jnp.asarray(x), self.skip)


@final
class TranscoderDictionary(AcrossDictionary["Transcoder"]):
    r"""$f = \mathrm{ReLU}((x - b_{in}) W_e + b_e)$, above `threshold (features,)` where there is one."""

    threshold: JaxArray | None = None

    def fixed(self) -> tuple[str, ...]:
        """The scale, and thresholds, which come from transcoders that others trained with JumpReLU."""
        return ("scale", "threshold")

    def activate(self, pre: JaxArray) -> JaxArray:
        """ReLU, above the thresholds where there are any."""
        f = jax.nn.relu(pre)
        return f if self.threshold is None else jnp.where(pre > align(self.threshold, pre), f, 0)


@final
class Transcoder(UnitRowsKind, PartsKind):
    r"""$f = \mathrm{ReLU}((x - b_{in}) W_e + b_e)$, $\hat y = f W_d + b\; (+\, x W_s)$: from an MLP's input to its output.

    The loss is $\frac1B \sum_b \lVert y - \hat y \rVert^2 + \lambda \sum_i f_i$, and decoder rows have norm 1. With
    `skip` there is also a linear path $x W_s$, which begins at 0. Dunefsky et al. 2024
    (https://arxiv.org/abs/2406.11944), Paulo et al. 2025 (https://arxiv.org/abs/2501.18823).

    **Arguments:**

    - `d`, `features`: the width of the inputs, and the number of features;
    - `d_out`: the width of the targets, by default d; the stream yields pairs `(inputs, targets)`;
    - `sparsity`: $\lambda$, of sums over d and over features, by default 1;
    - `skip`: whether there is a linear path, by default False;
    - `centred`: whether `input_bias` is subtracted from inputs, by default True;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    kind = ji.sae.Transcoder(d=512, features=4096, skip=True)
    inputs = outputs = jax.random.normal(key, (128, 512))       # (token, d) at ln2_out and mlp_out
    sae, history = ji.sae.train(kind, (inputs, outputs), key=key, steps=20_000, batch_size=64)
    sae(inputs)                                                 # close to outputs
    ```

    Law: with `skip` and no active features it can fit any linear map exactly.
    """

    d_out: int = eqx.field(static=True)
    sparsity: JaxArray
    skip: bool = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        d_out: int | None = None,
        sparsity: ArrayLike = 1.0,
        skip: bool = False,
        centred: bool = True,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_coefficient("Transcoder", "sparsity", sparsity)
        self.d_out = d if d_out is None else d_out
        check_sizes("Transcoder", d_out=self.d_out)
        self.sparsity, self.skip = jnp.asarray(sparsity, jnp.float32), skip

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {**super().shapes(), **across_shapes(self.d, self.features, self.d_out, self.skip)}

    def optional_shapes(self) -> Shapes:
        """Thresholds, of transcoders that others trained with JumpReLU."""
        return {"threshold": (self.features,)}

    def dictionary(self, **arrays: Any) -> TranscoderDictionary:
        """The dictionary of these arrays."""
        return TranscoderDictionary(kind=self, **arrays)

    def init(
        self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None
    ) -> TranscoderDictionary:
        """Random encoder and decoder; biases are the geometric medians of inputs and targets."""
        one, two = jax.random.split(key)
        return self.dictionary(
            encoder=random_directions(one, self.features, self.d).T,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=random_directions(two, self.features, self.d_out),
            bias=jnp.zeros(self.d_out, jnp.float32) if y is None else geometric_median(y),
            scale=jnp.ones((), jnp.float32),
            input_bias=jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            skip=jnp.zeros((self.d, self.d_out), jnp.float32) if self.skip else None,
        )

    def part(self, dictionary: TranscoderDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions, and the mean sum of features."""
        f = dictionary.activate(dictionary.pre(x))
        norm = jnp.mean(jnp.sum(f.astype(jnp.float32), -1))
        return Part({"decoded": dictionary.product(f, dictionary.decoder), "norm": norm}, f)

    def terms(
        self,
        dictionary: TranscoderDictionary,
        sums: Terms,
        x: JaxArray,
        y: JaxArray,
        now: Progress,
    ) -> Terms:
        """The squared error, and the sum of features."""
        found = dictionary.with_path(dictionary.shifted(sums["decoded"]), x)
        return {
            "reconstruction": jnp.mean(self.squares(y - found)),
            "sparsity": now.warm * self.sparsity * sums["norm"],
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 4e-4."""
        return adam(4e-4, steps)


def across_shapes(d: int, features: int, d_out: int, skip: bool) -> Shapes:
    """The shapes in which the arrays of a transcoder differ from those of other kinds."""
    shapes: dict[str, tuple[int, ...]] = {"decoder": (features, d_out), "bias": (d_out,), "input_bias": (d,)}
    return {**shapes, "skip": (d, d_out)} if skip else shapes
