r"""JumpReLU: a feature counts above its own threshold, which training moves."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ..training._optimizers import adam
from ._dictionary import (
    Dictionary,
    Losses,
    Moment,
    check_coefficient,
    directions,
    empty,
    geometric_median,
    wide,
)
from ._standard import square_scale


class JumpReLU(Dictionary):
    r"""$f = \pi\,[\pi > \theta]$; loss $\frac1B \sum_b \lVert x - \hat x \rVert^2 + \lambda \lVert f \rVert_0$.

    Thresholds $\theta = e^{t}$ get straight-through gradients with a rectangle of width `bandwidth`
    (`jump`, `step`). With `target` the penalty is instead $\lambda (L_0 / L_0^{*} - 1)^2$, which aims at
    a mean number of active features. Inputs are scaled to $\mathbb E \lVert x \rVert^2 = 1$, and thresholds,
    `bandwidth` and $\lambda$ are in these units. Rajamanoharan et al. 2024 (https://arxiv.org/abs/2407.14435).

    A threshold learns from the pre-activations within the rectangle alone: small batches and short
    runs want a wider one, and a first threshold nearer to where it will be (0.03 and 0.1).

    **Arguments:** `d`, `features`; `sparsity` $\lambda$; `bandwidth` $\epsilon$ and `threshold` (the
    first $\theta$), 0.001 each; `target` L0 or None; `warm_steps` over which $\lambda$ rises; `key`;
    `matmul`.

    ```python
    sae, history = ji.sae.train(ji.sae.JumpReLU(d=512, features=4096, sparsity=1e-3), stream, key=key, steps=50_000)
    sae.threshold
    ```

    Law: its gradients are those of the loss smoothed by the rectangle.
    """

    log_threshold: Any
    sparsity: Any
    bandwidth: Any
    first: float = eqx.field(static=True)
    target: float | None = eqx.field(static=True)
    warm_steps: int = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity", "bandwidth")
    UNIT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: Any = 1e-3,
        bandwidth: Any = 1e-3,
        threshold: float = 1e-3,
        target: float | int | None = None,
        warm_steps: int = 10_000,
        centred: bool = True,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_coefficient("JumpReLU", "sparsity", sparsity)
        if not threshold > 0 or (target is not None and not 0 < target <= features):
            raise ValueError(
                "JumpReLU needs a threshold above 0 and a target L0 of at most features; got "
                f"threshold={threshold}, target={target}."
            )
        self.log_threshold = empty(features)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self.bandwidth = jnp.asarray(bandwidth, jnp.float32)
        self.first, self.warm_steps = float(threshold), warm_steps
        self.target = None if target is None else float(target)
        self._draw(key)

    @property
    def threshold(self) -> Any:
        r"""$\theta$ `(features,)`, in the units of pre-activations."""
        return jnp.exp(self.log_threshold)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        decoder = directions(key, self.features, self.d)
        scale = square_scale(x)
        return {
            "encoder": decoder.T,
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x * scale),
            "scale": scale,
            "log_threshold": jnp.full(self.features, jnp.log(self.first), jnp.float32),
        }

    def activate(self, pre: Any) -> Any:
        """What is above its threshold."""
        return jump(pre, self.threshold, self.bandwidth)

    def penalty(self, pre: Any) -> Any:
        r"""$\lVert f \rVert_0$, or its squared distance from the target."""
        l0 = jnp.mean(jnp.sum(step(pre, self.threshold, self.bandwidth), -1))
        return l0 if self.target is None else (l0 / self.target - 1) ** 2

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        pre = self.pre(x)
        f = self.activate(pre)
        terms = {
            "reconstruction": jnp.mean(self.squares(y * self.scale - self.reconstruct(f))),
            "sparsity": now.warm * self.sparsity * self.penalty(pre),
        }
        return Losses(terms["reconstruction"] + terms["sparsity"], terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 7e-5 without momentum (beta 0, 0.999), 1,000 steps of warm-up."""
        return adam(7e-5, steps, b1=0.0, warm=min(1000, steps // 10))

    def warm(self, step: Any, steps: int) -> Any:
        """Rises over `warm_steps`."""
        return jnp.minimum(1.0, (step + 1) / max(1, min(self.warm_steps, steps)))


def _near(pre: Any, threshold: Any, width: Any) -> Any:
    width = width.astype(pre.dtype)
    return (jnp.abs(pre - wide(threshold, pre)) < width / 2).astype(pre.dtype) / width


@jax.custom_vjp
def jump(pre: Any, threshold: Any, width: Any) -> Any:
    r"""$\pi\,[\pi > \theta]$, with $\partial f / \partial \theta = -\frac{\theta}{\epsilon} [\lvert \pi - \theta \rvert < \epsilon / 2]$."""
    return jnp.where(pre > wide(threshold, pre), jax.nn.relu(pre), 0)


def _jump_forward(pre: Any, threshold: Any, width: Any) -> Any:
    return jump(pre, threshold, width), (pre, threshold, width)


def _jump_backward(kept: Any, g: Any) -> Any:
    pre, threshold, width = kept
    near = g * wide(threshold, pre) * _near(pre, threshold, width)
    down = -jnp.sum(near, tuple(range(pre.ndim - 1)))
    return jnp.where((pre > wide(threshold, pre)) & (pre > 0), g, 0), down, jnp.zeros_like(width)


jump.defvjp(_jump_forward, _jump_backward)


@jax.custom_vjp
def step(pre: Any, threshold: Any, width: Any) -> Any:
    r"""$[\pi > \theta]$, with $\partial / \partial \theta = -\frac{1}{\epsilon} [\lvert \pi - \theta \rvert < \epsilon / 2]$, none for $\pi$."""
    return (pre > wide(threshold, pre)).astype(pre.dtype)


def _step_forward(pre: Any, threshold: Any, width: Any) -> Any:
    return step(pre, threshold, width), (pre, threshold, width)


def _step_backward(kept: Any, g: Any) -> Any:
    pre, threshold, width = kept
    down = -jnp.sum(g * _near(pre, threshold, width), tuple(range(pre.ndim - 1)))
    return jnp.zeros_like(pre), down, jnp.zeros_like(width)


step.defvjp(_step_forward, _step_backward)
