r"""JumpReLU: a feature counts above its own threshold, which training moves."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, FloatLike, JaxArray, KeyLike, OptimizerLike
from ..training._optimizers import adam
from ._checks import check_coefficient
from ._dictionary import Dictionary
from ._kind import INIT, Shapes
from ._losses import Progress
from ._median import geometric_median
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import align, random_directions, square_scale
from ._unit_rows import UnitRowsKind


@final
class JumpReLUDictionary(Dictionary["JumpReLU"]):
    r"""$f = \pi\,[\pi > \theta]$ with $\theta = e^{t}$, t the array `log_threshold (features,)`."""

    log_threshold: JaxArray

    @property
    def threshold(self) -> JaxArray:
        r"""$\theta$ `(features,)`, in the units of pre-activations."""
        return jnp.exp(self.log_threshold)

    def activate(self, pre: JaxArray) -> JaxArray:
        """What is above its threshold."""
        return jump(pre, self.threshold, self.kind.bandwidth)


@final
class JumpReLU(UnitRowsKind, PartsKind):
    r"""$f = \pi\,[\pi > \theta]$; loss $\frac1B \sum_b \lVert x - \hat x \rVert^2 + \lambda \lVert f \rVert_0$.

    Thresholds $\theta = e^{t}$ get straight-through gradients with a rectangle of width `bandwidth`
    (`jump`, `step`). With `target` the penalty is instead $\lambda (L_0 / L_0^{*} - 1)^2$, which aims at
    a mean number of active features. Inputs are scaled to $\mathbb E \lVert x \rVert^2 = 1$, and thresholds,
    `bandwidth` and $\lambda$ are in these units. Rajamanoharan et al. 2024 (https://arxiv.org/abs/2407.14435).

    A threshold learns from the pre-activations within the rectangle alone: small batches and short
    runs want a wider one, and a first threshold nearer to where it will be (0.03 and 0.1).

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$, by default 0.001;
    - `bandwidth`: the width $\epsilon$ of the rectangle, by default 0.001;
    - `threshold`: the first $\theta$, by default 0.001;
    - `target`: the mean number of active features to aim at, or None;
    - `warm_steps`: the steps over which $\lambda$ rises, by default 10,000;
    - `centred`: whether the bias is subtracted from inputs, by default True;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    sae, history = ji.sae.train(ji.sae.JumpReLU(d=512, features=4096, sparsity=1e-3), stream, key=key, steps=50_000)
    sae.threshold
    ```

    Law: its gradients are those of the loss smoothed by the rectangle.
    """

    sparsity: JaxArray
    bandwidth: JaxArray
    threshold: float = eqx.field(static=True)
    target: float | None = eqx.field(static=True)
    warm_steps: int = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: ArrayLike = 1e-3,
        bandwidth: ArrayLike = 1e-3,
        threshold: FloatLike = 1e-3,
        target: FloatLike | None = None,
        warm_steps: int = 10_000,
        centred: bool = True,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_coefficient("JumpReLU", "sparsity", sparsity)
        if not threshold > 0 or (target is not None and not 0 < target <= features):
            raise ValueError(
                "JumpReLU needs a threshold above 0 and a target L0 of at most features; got "
                f"threshold={threshold}, target={target}."
            )
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self.bandwidth = jnp.asarray(bandwidth, jnp.float32)
        self.threshold, self.warm_steps = float(threshold), warm_steps
        self.target = None if target is None else float(target)

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {**super().shapes(), "log_threshold": (self.features,)}

    def dictionary(self, **arrays: Any) -> JumpReLUDictionary:
        """The dictionary of these arrays."""
        return JumpReLUDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> JumpReLUDictionary:
        """Random decoder rows, the encoder their transpose; scale and bias are those of the sample."""
        decoder = random_directions(key, self.features, self.d)
        scale = square_scale(x)
        return self.dictionary(
            encoder=decoder.T,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=decoder,
            bias=jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x * scale),
            scale=scale,
            log_threshold=jnp.full(self.features, jnp.log(self.threshold), jnp.float32),
        )

    def part(self, dictionary: JumpReLUDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        r"""Reconstructions, and the mean $\lVert f \rVert_0$."""
        pre = dictionary.pre(x)
        f = dictionary.activate(pre)
        l0 = jnp.mean(jnp.sum(step(pre, dictionary.threshold, self.bandwidth), -1))
        return Part({"decoded": dictionary.product(f, dictionary.decoder), "l0": l0}, f)

    def terms(
        self,
        dictionary: JumpReLUDictionary,
        sums: Terms,
        x: JaxArray,
        y: JaxArray,
        now: Progress,
    ) -> Terms:
        r"""The squared error, and $\lVert f \rVert_0$ or its squared distance from the target."""
        error = y * dictionary.scale - dictionary.shifted(sums["decoded"])
        penalty = sums["l0"] if self.target is None else (sums["l0"] / self.target - 1) ** 2
        return {
            "reconstruction": jnp.mean(self.squares(error)),
            "sparsity": now.warm * self.sparsity * penalty,
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 7e-5 without momentum (beta 0, 0.999), 1,000 steps of warm-up."""
        return adam(7e-5, steps, b1=0.0, warmup_steps=min(1000, steps // 10))

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """Rises over `warm_steps`."""
        return jnp.minimum(1.0, (step + 1) / max(1, min(self.warm_steps, steps)))


def _rectangle(pre: JaxArray, threshold: JaxArray, width: JaxArray) -> JaxArray:
    width = width.astype(pre.dtype)
    return (jnp.abs(pre - align(threshold, pre)) < width / 2).astype(pre.dtype) / width


@jax.custom_vjp
def jump(pre: JaxArray, threshold: JaxArray, width: JaxArray) -> JaxArray:
    r"""$\pi\,[\pi > \theta]$, with $\partial f / \partial \theta = -\frac{\theta}{\epsilon} [\lvert \pi - \theta \rvert < \epsilon / 2]$."""
    return jnp.where(pre > align(threshold, pre), jax.nn.relu(pre), 0)


def _jump_forward(pre: JaxArray, threshold: JaxArray, width: JaxArray) -> tuple[JaxArray, Any]:
    return jump(pre, threshold, width), (pre, threshold, width)


def _jump_backward(saved: Any, g: JaxArray) -> Any:
    pre, threshold, width = saved
    near = g * align(threshold, pre) * _rectangle(pre, threshold, width)
    down = -jnp.sum(near, tuple(range(pre.ndim - 1)))
    return jnp.where((pre > align(threshold, pre)) & (pre > 0), g, 0), down, jnp.zeros_like(width)


jump.defvjp(_jump_forward, _jump_backward)


@jax.custom_vjp
def step(pre: JaxArray, threshold: JaxArray, width: JaxArray) -> JaxArray:
    r"""$[\pi > \theta]$, with $\partial / \partial \theta = -\frac{1}{\epsilon} [\lvert \pi - \theta \rvert < \epsilon / 2]$, none for $\pi$."""
    return (pre > align(threshold, pre)).astype(pre.dtype)


def _step_forward(pre: JaxArray, threshold: JaxArray, width: JaxArray) -> tuple[JaxArray, Any]:
    return step(pre, threshold, width), (pre, threshold, width)


def _step_backward(saved: Any, g: JaxArray) -> Any:
    pre, threshold, width = saved
    down = -jnp.sum(g * _rectangle(pre, threshold, width), tuple(range(pre.ndim - 1)))
    return jnp.zeros_like(pre), down, jnp.zeros_like(width)


step.defvjp(_step_forward, _step_backward)
