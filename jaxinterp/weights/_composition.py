"""How much one head reads of what an earlier head writes, from the weights alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._deprecations import respelled
from ..typing import KeyLike, ModelLike
from ._circuits import ov, qk
from ._factored import Factored, as_reader, as_writer
from ._leaves import check_layout, matmul

KINDS = ("q", "k", "v")


@respelled(baseline="key=jax.random.key(0)")
def composition(
    model: ModelLike, kind: str = "q", *, key: KeyLike | None = None, samples: int = 64
) -> Float[Array, "layer head layer head"]:
    r"""$\lVert W_{OV}^u W^v \rVert_F / (\lVert W_{OV}^u \rVert_F \lVert W^v \rVert_F)$: how much head $v$ reads of what head $u$ writes.

    $W^v$ is $W_{QK}$ for `kind="q"` (the queries of $v$ read what $u$ writes), $W_{QK}^\top$ for
    `"k"` (its keys read it) and $W_{OV}$ for `"v"` (its values read it). Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html). Call `fold_norms` first to include
    the gains of the norms.

    **Arguments:**

    - `model`: a model with the leaves of `ji.models`.
    - `kind`: `"q"`, `"k"` or `"v"`: the reader's queries, keys or values; `"q"` by default.
    - `key`: a `jax.random.key`. Random matrices compose too, about $1/\sqrt d$ of their norms. With a
      key, the mean score of random pairs of the same shapes is subtracted.
    - `samples`: the number of random pairs; 64 by default.

    **Returns:** scores (layer head layer head), writer first, float32 at least. Where the writer is
    not in an earlier layer there is no path, and the score is 0.

    ```python
    scores = ji.weights.composition(ji.weights.fold_norms(model), "k")
    scores[0, 4, 1]                         # (head,): what the heads of layer 1 read of head 0.4
    ```

    Laws: scores lie in 0..1 (before the score of random pairs is subtracted), and do not change when a head's
    weights are scaled.
    """
    check_layout(model, "composition")
    if kind not in KINDS:
        raise ValueError(
            f"Heads compose through the queries, keys or values of the reader: kind is one of "
            f"'q', 'k', 'v'; got {kind!r}. Write ji.weights.composition(model, 'k')."
        )
    reader = {"q": lambda: qk(model), "k": lambda: qk(model).T, "v": lambda: ov(model)}[kind]()
    return _scores(ov(model), reader, key, samples)


@eqx.filter_jit
def _scores(writer: Factored, reader: Factored, baseline: Any, samples: int) -> Array:
    layers, heads = writer.shape[:2]
    # Orthogonal factors at the outer ends do not change a norm: what is left is (k d) and (d k).
    write = as_writer(writer).reshape(layers * heads, -1, writer.shape[-1])
    read = as_reader(reader).reshape(layers * heads, reader.shape[-2], -1)
    scores = jax.lax.map(lambda one: _pair(write, one), read).T
    if baseline is not None:
        scores = scores - _random_score(write, read, baseline, samples)
    earlier = jnp.arange(layers)[:, None] < jnp.arange(layers)[None, :]
    allowed = jnp.repeat(jnp.repeat(earlier, heads, 0), heads, 1)
    scores = jnp.where(allowed, scores, 0)
    return scores.reshape(layers, heads, layers, heads)


def _pair(write: Float[Array, "*writers k d"], read: Float[Array, "d k2"]) -> Float[Array, "*writers"]:
    """The scores of writers against one reader."""
    size = _norm(write) * jnp.broadcast_to(_norm(read), write.shape[:-2])
    product = _norm(matmul(write, read))
    return jnp.where(size > 0, product / jnp.where(size > 0, size, 1), 0)


def _random_score(write: Array, read: Array, key: jax.Array, samples: int) -> Array:
    """The mean score of random Gaussian heads of these shapes."""
    rank, d = write.shape[-2:]

    def draw(key: jax.Array) -> Factored:
        left, right = jax.random.split(key)
        return Factored(
            jax.random.normal(left, (d, rank), write.dtype),
            jax.random.normal(right, (rank, d), write.dtype),
        )

    def one(key: jax.Array) -> Array:
        first, second = jax.random.split(key)
        return _pair(as_writer(draw(first)), as_reader(draw(second)))

    return jax.lax.map(one, jax.random.split(key, samples)).mean()


def _norm(x: Float[Array, "*lead m n"]) -> Float[Array, "*lead"]:
    return jnp.sqrt(jnp.square(x).sum((-2, -1)))
