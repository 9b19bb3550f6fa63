r"""How many bits a probe saves: the variational code, with weights that are themselves sent.

Each weight has a Gaussian $\mathcal N(\mu, \sigma^2)$. The prior belongs to the rows of a layer (all
weights that leave one input): a row's scale is one of $2^{4}, 2^{3}, \dots, 2^{-10}$, each four times as
likely as the one before, and its weights are $\mathcal N(0, \text{scale}^2)$. A row that is not needed
slides to the smallest scale, where it costs 0.42 bits. The divergence from the mixture is bounded by
$-\log \sum_k \pi_k e^{-\mathrm{KL}(q \Vert p_k)}$: what it costs to send the scale as well.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...stats._examples import as_examples
from .._problem_axes import as_classes, leading_axes, map_problems, one_hot
from ._mlp import _init_of
from ._training import check_key

SCALES = 2.0 ** np.arange(4, -11, -1)
CHANCES = 4.0 ** np.arange(len(SCALES)) / (4.0 ** np.arange(len(SCALES))).sum()


@dataclass(frozen=True, eq=False)
class VariationalCode:
    """Bits `(...)` to send the labels: `bits` = `model_bits` (the weights) + `data_bits` (the labels).

    `error` of `data_bits`, a standard error over samples of weights; `uniform`; `compression` uniform
    / bits; `means` of the weights, a layer each, on standardised features; `kept (..., d)`: the
    features whose row has a scale other than the smallest; `loss (..., steps)` in bits.
    """

    bits: np.ndarray
    model_bits: np.ndarray
    data_bits: np.ndarray
    error: np.ndarray
    uniform: float
    compression: np.ndarray
    means: tuple[np.ndarray, ...]
    kept: np.ndarray
    loss: np.ndarray


def variational_code(
    x: Any,
    y: Any,
    *,
    key: Any,
    hidden: tuple[int, ...] = (),
    steps: int = 2000,
    batch: int = 512,
    rate: float = 0.03,
    samples: int = 32,
    classes: Any = None,
) -> VariationalCode:
    r"""$L = \mathrm{KL}(q(\theta) \Vert p(\theta)) - \mathbb E_q \sum_i \log_2 p(y_i \mid x_i, \theta)$, in bits.

    The variational code of Voita & Titov 2020 (https://arxiv.org/abs/2003.12298), with a mean-field
    Gaussian q and a prior of scales per input (see the module), in place of their normal-Jeffreys
    prior. Any q is a code: an optimiser that stops early makes it longer, never wrong.

    **Arguments:** `x (..., n, d)`, `y (..., n)` labels, leading axes as in `dense`; `key`; `hidden` as
    in `mlp`, `()` a linear probe; `steps` of Adam on `batch` examples, from `rate` down to 0;
    `samples` of the weights at the end.

    **Returns:** `VariationalCode`.

    **Raises:** as `dense`; one class costs 0 bits.

    ```python
    found = ji.probes.variational_code(x, y, key=jax.random.key(0), steps=500)
    found.compression, found.kept.sum()
    ```

    Law: at most a few bits above the uniform code on labels of noise; features that do not matter
    are let go.
    """
    check_key(key)
    x = as_examples(x, layers=True).astype(np.float32)
    n, d = x.shape[-2:]
    which, kinds = as_classes(y, classes)
    lead = leading_axes(x, which)
    if min(steps, batch, samples) < 1 or not rate > 0:
        raise ValueError(
            f"steps, batch and samples are 1 or more, rate is above 0; got {steps}, {batch}, "
            f"{samples}, {rate}."
        )
    uniform = float(n * np.log2(len(kinds)))
    if len(kinds) == 1:
        zero = np.zeros(lead)
        return VariationalCode(
            zero,
            zero,
            zero,
            zero,
            0.0,
            np.full(lead, np.nan),
            (),
            np.zeros((*lead, d), bool),
            np.zeros((*lead, 0)),
        )
    found = _code(
        x,
        which,
        key,
        np.float32(rate),
        tuple(hidden),
        len(kinds),
        int(steps),
        min(batch, n),
        int(samples),
    )
    found = jax.tree.map(lambda a: np.asarray(a, a.dtype if a.dtype == bool else np.float64), found)
    model, drawn = found["model"], found["drawn"]
    data = drawn.mean(-1)
    bits = np.asarray(model + data)
    error = drawn.std(-1, ddof=1) / np.sqrt(samples) if samples > 1 else np.full(lead, np.nan)
    return VariationalCode(
        bits,
        model,
        np.asarray(data),
        np.asarray(error),
        uniform,
        np.asarray(uniform / bits),
        tuple(found["means"]),
        found["kept"],
        found["loss"],
    )


@eqx.filter_jit
def _code(
    x: Any,
    y: Any,
    key: Any,
    rate: Any,
    hidden: Any,
    classes: int,
    steps: int,
    batch: int,
    samples: int,
) -> Any:
    import optax

    optimizer = optax.adam(1.0)

    def one(x: Any, y: Any) -> dict[str, Any]:
        n, d = x.shape
        middle, spread = x.mean(0, keepdims=True), x.std(0, keepdims=True)
        moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
        x = jnp.where(moves, (x - middle) / jnp.where(moves, spread, 1), 0)
        key_init, key_steps, key_end = jax.random.split(key, 3)
        start = [
            (
                w if hidden else jnp.zeros_like(w),
                jnp.full_like(w, -3.0),
                b[None],
                jnp.full_like(b, -3.0)[None],
            )
            for w, b in _init_of(hidden)(key_init, d, classes)
        ]

        def nats(params: Any, x: Any, y: Any, key: Any) -> Any:
            return -(jax.nn.log_softmax(_sampled(params, x, key), axis=1) * one_hot(y, classes)).sum(1)

        def step(state: Any, i: Any) -> Any:
            params, memory = state
            key_rows, key_noise = jax.random.split(jax.random.fold_in(key_steps, i))
            some = jax.random.randint(key_rows, (batch,), 0, n) if batch < n else jnp.arange(n)

            def loss(params: Any) -> Any:
                return cost(params) / n + nats(params, x[some], y[some], key_noise).mean()

            value, grad = jax.value_and_grad(loss)(params)
            size = rate * (1 - i.astype(x.dtype) / steps)
            with jax.numpy_dtype_promotion("standard"):
                updates, memory = optimizer.update(grad, memory, params)
            params = jax.tree.map(lambda p, u: p + size * u, params, updates)
            return (params, memory), value * float(n / np.log(2))

        (params, _), loss = lax.scan(step, (start, optimizer.init(start)), jnp.arange(steps))
        drawn = lax.map(lambda k: nats(params, x, y, k).sum(), jax.random.split(key_end, samples))
        log_two = float(np.log(2))
        return {
            "model": cost(params) / log_two,
            "drawn": drawn / log_two,
            "means": [w for w, *_ in params],
            "kept": _by_scale(params[0]).argmax(1) < len(SCALES) - 1,
            "loss": loss,
        }

    with jax.default_matmul_precision("highest"):
        return map_problems(one, (x, y), (2, 1))


def cost(params: Any) -> Any:
    """Nats to send the weights, by the bound on the mixture; biases have the prior N(0, 4^2)."""
    return sum(
        -jax.nn.logsumexp(_by_scale(layer), axis=1).sum() + _gaussian(layer[2], layer[3], 4.0).sum()
        for layer in params
    )


def _by_scale(layer: Any) -> Any:
    """`log pi_k - KL_k` of every row, `(in, scale)`."""
    w, s = layer[:2]
    return jnp.stack(
        [
            float(np.log(p)) - _gaussian(w, s, float(scale)).sum(1)
            for scale, p in zip(SCALES, CHANCES, strict=True)
        ],
        1,
    )


def _gaussian(mean: Any, log_std: Any, scale: float) -> Any:
    ratio = jnp.exp(2 * log_std) / scale**2
    return 0.5 * (ratio + (mean / scale) ** 2 - 1) - log_std + float(np.log(scale))


def _sampled(params: Any, x: Any, key: Any) -> Any:
    """Logits with weights of their own for every example, drawn where they are summed up."""
    for i, (w, s, b, t) in enumerate(params):
        mean = x @ w + b
        variance = (x * x) @ jnp.exp(2 * s) + jnp.exp(2 * t)
        noise = jax.random.normal(jax.random.fold_in(key, i), mean.shape, jnp.float32)
        x = mean + jnp.sqrt(variance) * noise
        x = x if i + 1 == len(params) else jax.nn.relu(x)
    return x
