r"""How many bits a probe saves: the variational code, with weights that are themselves sent.

Each weight has a Gaussian $\mathcal N(\mu, \sigma^2)$. The prior belongs to the rows of a layer (all
weights that leave one input): a row's scale is one of $2^{4}, 2^{3}, \dots, 2^{-10}$, each four times as
likely as the one before, and its weights are $\mathcal N(0, \text{scale}^2)$. A row that is not needed
slides to the smallest scale, where it costs 0.42 bits. The divergence from the mixture is bounded by
$-\log \sum_k \pi_k e^{-\mathrm{KL}(q \Vert p_k)}$: what it costs to send the scale as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ... import viz
from ..._deprecations import respelled
from ..._tabular import Record, Tabular
from ...fit._descend import descend
from ...fit._state import Now
from ...stats._examples import as_examples
from ...typing import ArrayLike, FloatLike, IntLike, KeyLike, PyTree
from .._problem_axes import as_classes, leading_axes, map_problems, one_hot
from ._gaussian_weights import SCALES, by_scale, cost, sampled
from ._mlp import _init_of
from ._training import check_key


@dataclass(frozen=True, eq=False)
class VariationalCode(Tabular):
    """How many bits the labels cost, with the weights that encode them; made by `ji.probes.variational_code`.

    - `bits`: `(...,)`, `model_bits` (for the weights) plus `data_bits` (for the labels).
    - `error`: `(...,)`, the standard error of `data_bits` over samples of the weights.
    - `uniform`: the bits of the labels without a probe.
    - `compression`: `(...,)`, `uniform` over `bits`.
    - `means`: the means of the weights, an array `(..., in, out)` for each layer, on standardised features.
    - `kept`: `(..., d)`, True at features whose row has a scale other than the smallest.
    - `loss`: `(..., step)`, in bits.

    ```python
    found = ji.probes.variational_code(x, y, key=jax.random.key(0), steps=500)
    found.bits, found.error, found.compression
    ```
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

    def records(self) -> list[Record]:
        """A row for each labelling: its indices, its bits, the compression, and how many features are kept."""
        names = ("bits", "model_bits", "data_bits", "error", "compression")
        parts = {name: np.asarray(getattr(self, name)) for name in names}
        return [
            {f"axis {i}": j for i, j in enumerate(at)}
            | {name: float(part[at]) for name, part in parts.items()}
            | {"uniform": self.uniform, "kept": int(np.asarray(self.kept)[at].sum())}
            for at in np.ndindex(parts["bits"].shape)
        ]

    def figure(self, *, title: str = "Bits over training") -> viz.Figure:
        """The loss in bits, step by step, of the first five labellings."""
        rows = np.asarray(self.loss).reshape(-1, np.shape(self.loss)[-1])[:5]
        curves = {str(i): row for i, row in enumerate(rows)}
        return viz.lines(curves, x_axis="step", y_axis="bits", title=title)


@respelled(batch="batch_size=", rate="learning_rate=", seed="key=jax.random.key(0)")
def variational_code(
    x: ArrayLike,
    y: ArrayLike,
    *,
    key: KeyLike,
    hidden: Sequence[IntLike] = (),
    steps: IntLike = 2000,
    batch_size: IntLike = 512,
    learning_rate: FloatLike = 0.03,
    samples: IntLike = 32,
    classes: ArrayLike | None = None,
) -> VariationalCode:
    r"""$L = \mathrm{KL}(q(\theta) \Vert p(\theta)) - \mathbb E_q \sum_i \log_2 p(y_i \mid x_i, \theta)$, in bits.

    The variational code of Voita & Titov 2020 (https://arxiv.org/abs/2003.12298), with a mean-field
    Gaussian q and a prior with one scale per input, in place of the normal-Jeffreys prior of the paper. Every q is a
    valid code: an optimizer that stops early makes it longer, and never too short.

    **Arguments:**

    - `x`: activations `(..., n, d)`. Leading axes broadcast with those of `y`, as in `dense`.
    - `y`: labels `(..., n)` of any kind.
    - `key`: a `jax.random.key`.
    - `hidden`: widths of the hidden layers as in `mlp`; `()`, the default, is a linear probe.
    - `steps`: of Adam; 2000 by default.
    - `batch_size`: examples of a step; 512 by default.
    - `learning_rate`: at first; it falls to 0 linearly. 0.03 by default.
    - `samples`: of the weights at the end, over which `data_bits` is a mean; 32 by default.
    - `classes`: all classes; by default those of `y`.

    **Returns:** `VariationalCode`.

    **Raises:** as `dense`; one class costs 0 bits.

    ```python
    found = ji.probes.variational_code(x, y, key=jax.random.key(0), steps=500)
    found.compression, found.kept.sum()
    ```

    Law: on labels of noise the code is at most a few bits longer than the uniform code; features that do not matter
    are not kept.
    """
    check_key(key)
    x = as_examples(x, layers=True).astype(np.float32)
    n, d = x.shape[-2:]
    which, kinds = as_classes(y, classes)
    lead = leading_axes(x, which)
    if min(steps, batch_size, samples) < 1 or not learning_rate > 0:
        raise ValueError(
            f"steps, batch_size and samples are 1 or more, learning_rate is above 0; got {steps}, "
            f"{batch_size}, {samples}, {learning_rate}."
        )
    uniform = float(n * np.log2(len(kinds)))
    if len(kinds) == 1:
        zero, none = np.zeros(lead), np.full(lead, np.nan)
        return VariationalCode(
            zero, zero, zero, zero, 0.0, none, (), np.zeros((*lead, d), bool), np.zeros((*lead, 0))
        )
    size = Sizes(
        tuple(int(width) for width in hidden), len(kinds), int(steps), min(int(batch_size), n), int(samples)
    )
    found = _code(x, which, key, np.float32(learning_rate), size)
    found = jax.tree.map(lambda a: np.asarray(a, a.dtype if a.dtype == bool else np.float64), found)
    data = found.drawn.mean(-1)
    bits = np.asarray(found.model + data)
    error = found.drawn.std(-1, ddof=1) / np.sqrt(samples) if samples > 1 else np.full(lead, np.nan)
    return VariationalCode(
        bits,
        np.asarray(found.model),
        np.asarray(data),
        np.asarray(error),
        uniform,
        np.asarray(uniform / bits),
        tuple(np.asarray(mean) for mean in found.means),
        np.asarray(found.kept),
        np.asarray(found.loss),
    )


class Sizes(NamedTuple):
    """What decides the program of a code; see `variational_code`."""

    hidden: tuple[int, ...]
    classes: int
    steps: int
    batch_size: int
    samples: int


class Coded(NamedTuple):
    """The bits of the weights `()` and of the labels for each sample of weights, and the weights."""

    model: Float[Array, "*problem"]
    drawn: Float[Array, "*problem sample"]
    means: list[Array]
    kept: Bool[Array, "*problem d"]
    loss: Float[Array, "*problem step"]


@eqx.filter_jit
def _code(x: Any, y: Any, key: Any, learning_rate: Any, size: Sizes) -> Coded:
    import optax

    # Adam's updates are those of rate 1 times a rate that falls to 0.
    falling = optax.scale_by_schedule(lambda i: learning_rate * (1 - jnp.float32(i) / size.steps))
    optimizer = optax.chain(optax.adam(1.0), falling)
    log_two = float(np.log(2))

    def one(x: Any, y: Any) -> Coded:
        n, d = x.shape
        x = _standardised(x)
        key_init, key_steps, key_end = jax.random.split(key, 3)

        def nats(params: PyTree, x: Array, y: Array, key: PRNGKeyArray) -> Array:
            out = sampled(params, x, key)
            return -(jax.nn.log_softmax(out, axis=1) * one_hot(y, size.classes)).sum(1)

        def loss(params: PyTree, batch: Any, now: Now) -> tuple[Array, dict[str, Array]]:
            assert now.key is not None
            key_rows, key_noise = jax.random.split(now.key)
            rows = jnp.arange(n)
            if size.batch_size < n:
                rows = jax.random.randint(key_rows, (size.batch_size,), 0, n)
            return cost(params) / n + nats(params, x[rows], y[rows], key_noise).mean(), {}

        start = _first(key_init, d, size)
        state, numbers = descend(start, jnp.arange(size.steps), loss, optimizer, key=key_steps)
        params = state.params
        drawn = lax.map(lambda k: nats(params, x, y, k).sum(), jax.random.split(key_end, size.samples))
        return Coded(
            cost(params) / log_two,
            drawn / log_two,
            [w for w, *_ in params],
            by_scale(params[0]).argmax(1) < len(SCALES) - 1,
            numbers["loss"] * float(n / np.log(2)),
        )

    with jax.default_matmul_precision("highest"):
        return map_problems(one, (x, y), (2, 1))


def _standardised(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Features less their mean, over their spread; constant ones are 0."""
    middle, spread = x.mean(0, keepdims=True), x.std(0, keepdims=True)
    moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
    return jnp.where(moves, (x - middle) / jnp.where(moves, spread, 1), 0)


def _first(key: PRNGKeyArray, d: int, size: Sizes) -> list[tuple[Array, Array, Array, Array]]:
    """The first weights of each layer: means and log spreads of the matrix, and of the bias."""
    return [
        (
            w if size.hidden else jnp.zeros_like(w),
            jnp.full_like(w, -3.0),
            b[None],
            jnp.full_like(b, -3.0)[None],
        )
        for w, b in _init_of(size.hidden)(key, d, size.classes)
    ]
