r"""Transcoders: a sparse stand-in for a part of the model, from what it reads to what it writes."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..training._optimizers import adam
from ._dictionary import (
    Dictionary,
    Losses,
    Moment,
    check_coefficient,
    check_sizes,
    directions,
    empty,
    geometric_median,
    wide,
)


class Transcoder(Dictionary):
    r"""$f = \mathrm{ReLU}((x - b_{in}) W_e + b_e)$, $\hat y = f W_d + b\; (+\, x W_s)$: from an MLP's input to its output.

    Loss $\frac1B \sum_b \lVert y - \hat y \rVert^2 + \lambda \sum_i f_i$, decoder rows of norm 1. With
    `skip` a linear path of its own, which begins at 0. Dunefsky et al. 2024
    (https://arxiv.org/abs/2406.11944), Paulo et al. 2025 (https://arxiv.org/abs/2501.18823).

    **Arguments:** `d` and `d_out` (by default d) of inputs and targets; `features`; `sparsity`
    $\lambda$, of sums over d and over features; `skip`; `key`; `matmul`. The stream yields pairs.

    ```python
    kind = ji.sae.Transcoder(d=512, features=4096, skip=True)
    sae, history = ji.sae.train(kind, (inputs, outputs), key=key, steps=20_000)
    sae(inputs)  # close to outputs
    ```

    Law: with skip and no features it can fit any linear map exactly.
    """

    input_bias: Any
    skip: Any
    sparsity: Any
    threshold: Any  # (features,), of transcoders that others trained with JumpReLU

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity", "threshold")
    READS_INPUT: ClassVar[bool] = True
    UNIT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        d_out: int | None = None,
        sparsity: Any = 1.0,
        skip: bool = False,
        centred: bool = True,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, d_out, matmul=matmul, centred=centred)
        check_coefficient("Transcoder", "sparsity", sparsity)
        out = d if d_out is None else d_out
        check_sizes("Transcoder", d_out=out)
        self.input_bias = empty(d)
        self.skip = empty(d, out) if skip else None
        self.sparsity, self.threshold = jnp.asarray(sparsity, jnp.float32), None
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        out = self.decoder.shape[-1]
        one, two = jax.random.split(key)
        found = {
            "encoder": directions(one, self.features, self.d).T,
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": directions(two, self.features, out),
            "bias": jnp.zeros(out, jnp.float32) if y is None else geometric_median(y),
            "input_bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
        }
        return found if self.skip is None else {**found, "skip": jnp.zeros((self.d, out), jnp.float32)}

    def pre(self, x: Any) -> Any:
        """Pre-activations of what the part reads."""
        x = x - wide(self.input_bias, x) if self.centred else x
        pre = self.product(x, self.encoder)
        return pre + wide(self.encoder_bias, pre)

    def activate(self, pre: Any) -> Any:
        """ReLU, above the thresholds where there are any."""
        f = jax.nn.relu(pre)
        return f if self.threshold is None else jnp.where(pre > wide(self.threshold, pre), f, 0)

    def fold(self) -> Any:
        """Itself: a transcoder has no scale."""
        return self

    def decode(self, f: Any, x: Any = None) -> Any:
        """What the features write `(..., d_out)`; with `skip` it needs the inputs too."""
        y = self.reconstruct(f)
        if self.skip is None:
            return y.astype(f.dtype)
        if x is None:
            raise ValueError("A transcoder with skip decodes features and inputs: decode(f, x).")
        return (y + self.product(x, self.skip)).astype(f.dtype)

    def __call__(self, x: Any) -> Any:
        """What the part would write."""
        return self.decode(self.encode(x), x)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        f = self.activate(self.pre(x))
        norm = jnp.mean(jnp.sum(f.astype(jnp.float32), -1))
        terms = {
            "reconstruction": jnp.mean(self.squares(y - self.decode(f, x))),
            "sparsity": now.warm * self.sparsity * norm,
        }
        return Losses(terms["reconstruction"] + terms["sparsity"], terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 4e-4."""
        return adam(4e-4, steps)
