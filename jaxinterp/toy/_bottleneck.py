"""Toy models of superposition: sparse features through few dimensions, many trainings as one program."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .. import fit
from .._arguments import as_array, as_int, as_number, check_choice, check_key
from .._deprecations import respelled
from .._settings import takes_settings
from ..nn._linear import einsum
from ..typing import ArrayLike, KeyLike
from ._superposition_result import Superposition

CALL = "ji.toy.superposition({}, features=5, hidden=2)"
Weights = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class BottleneckSettings:
    """The target and the data of a toy model of superposition, and its training.

    - `target`: the output that the model learns. "identity" (the default) is the input x itself. "absolute" is |x|
      of features between -1 and 1; then the hidden layer has weights of its own and a ReLU.
    - `pairs`: how features 0 and 1, 2 and 3, and so on depend on each other. "correlated": both are on, or none
      is. "anticorrelated": at most one is on. None (the default): features are independent.
    - `batch_size`, `learning_rate`: the batch size and the rate of Adam; 1,024 and 0.001 by default.

    ```python
    settings = ji.toy.BottleneckSettings(target="absolute", batch_size=256)
    ji.toy.superposition(jax.random.key(0), features=6, hidden=3, steps=200, settings=settings).w.shape
    ```
    """

    target: str = "identity"
    pairs: str | None = None
    batch_size: int = 1024
    learning_rate: float | int = 1e-3


_SETTINGS = "settings=ji.toy.BottleneckSettings({}=...)"


@respelled(
    **{field.name: _SETTINGS.format(field.name) for field in dataclasses.fields(BottleneckSettings)},
    seeds="instances=",
)
@takes_settings
def superposition(
    key: KeyLike,
    *,
    features: int = 5,
    hidden: int = 2,
    density: ArrayLike = 0.05,
    importance: ArrayLike = 1.0,
    instances: int = 8,
    steps: int = 10_000,
    activation: str = "relu",
    settings: BottleneckSettings = BottleneckSettings(),
) -> Superposition:
    r"""$\min_{W,b} \mathrm{E} \sum_i I_i (x_i - x'_i)^2$ with $x' = \mathrm{relu}(W^\top W x + b)$ and $W$ of shape (hidden, features).

    Feature i is on with probability `density`, independently of the others, and then uniform in [0, 1].
    There are fewer hidden dimensions than features. Where features are sparse, the model represents
    more features than dimensions, at angles at which they interfere little. This is superposition. Elhage et al. 2022
    (https://transformer-circuits.pub/2022/toy_model/index.html).

    All trainings are one program: `instances` starts for each density. A start has the same first
    weights and the same random numbers at every density, so that only the density differs.

    **Arguments:**

    - `key`: a `jax.random.key`. Start s uses `jax.random.fold_in(key, s)`.
    - `features`, `hidden`: the sizes n and m; 5 and 2 by default.
    - `density`: the probability that a feature is on, 1 - S for the sparsity S; a number or `(density,)`.
    - `importance`: the weight $I_i$ of each feature in the loss: a number, `(features,)`, or
      `(density, features)` with a row for each density.
    - `instances`: how many starts for each density; 8 by default.
    - `steps`: how many steps of Adam; 10,000 by default.
    - `activation`: "relu", or "linear" for $x' = W^\top W x + b$, which represents principal components.
    - `settings`: the target, pairs of features and batches; see `BottleneckSettings`.

    **Returns:** `Superposition`: weights `w (instance, hidden, features)` with the starts of the first
    density first, losses, and their geometry: `.norms`, `.dimensionality`, `.interference`, `.figure()`.

    **Raises:** ValueError for sizes below 1, densities outside of (0, 1], importances below 0 or of other
    shapes, an odd number of paired features, and anticorrelated pairs with a density above 1/2.

    ```python
    found = ji.toy.superposition(jax.random.key(0), density=[1.0, 0.3, 0.05], instances=2, steps=200)
    found.w.shape, found.dimensionality.shape  # (6, 2, 5), (6, 5)
    ```

    Laws: where features are dense, only the `hidden` most important ones are represented; five equal features at
    density 0.05 make a regular pentagon in most starts; an instance equals the training of its density
    and start alone.
    """
    check_key(key, CALL)
    sizes = {"features": features, "hidden": hidden, "instances": instances, "steps": steps}
    for name, size in sizes.items():
        as_int(size, name, 1)
    as_int(settings.batch_size, "batch_size", 1)
    check_choice(activation, "activation", ("relu", "linear"))
    check_choice(settings.target, "target", ("identity", "absolute"))
    rate = as_number(settings.learning_rate, "learning_rate", 1e-12, 1e3)
    densities = _densities(density, settings.pairs, features)
    importances = _importances(importance, densities.shape[0], features)
    static = (hidden, instances, steps, activation, dataclasses.replace(settings, learning_rate=0))
    weights, losses = _train(key, densities, importances, jnp.asarray(rate, jnp.float32), static)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (weights, losses))
    weights, losses = flat
    return Superposition(
        w=weights["w"],
        bias=weights["b"],
        density=jnp.repeat(densities, instances),
        importance=jnp.repeat(importances, instances, axis=0),
        start=jnp.tile(jnp.arange(instances, dtype=jnp.int32), densities.shape[0]),
        losses=losses,
        w_out=weights.get("w_out"),
    )


@eqx.filter_jit
def _train(
    key: KeyLike,
    densities: Float[Array, " density"],
    importances: Float[Array, "density features"],
    rate: Float[Array, ""],
    static: tuple[int, int, int, str, BottleneckSettings],
) -> tuple[Weights, Array]:
    """Weights and losses `(density, instance, ...)` of all trainings."""
    hidden, instances, steps, activation, settings = static
    features = importances.shape[-1]
    optimizer = optax.adam(rate)

    def one(density: Array, importance: Array, key: KeyLike) -> tuple[Weights, Array]:
        start, data = jax.random.split(key)

        def loss(weights: Weights, _: Array, now: fit.Now) -> tuple[Array, dict[str, Array]]:
            assert now.key is not None
            x = draw(now.key, density, features, settings)
            wanted = x if settings.target == "identity" else jnp.abs(x)
            error = wanted - outputs(weights, x, activation)
            return (importance * (error**2).mean(1)).sum(), {}

        weights = initial(start, features, hidden, settings.target)
        state, numbers = fit.descend(weights, jnp.arange(steps, dtype=jnp.int32), loss, optimizer, key=data)
        return state.params, numbers["loss"]

    # The key has no density axis, so that all densities share the draws of their start.
    every = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    keys = jax.vmap(lambda start: jax.random.fold_in(key, start))(jnp.arange(instances, dtype=jnp.int32))
    return every(densities, importances, keys)


def draw(
    key: KeyLike, density: Float[Array, ""], features: int, settings: BottleneckSettings
) -> Float[Array, "features batch"]:
    """Features of one batch. One random number a feature decides whether it is on, and its value."""
    u = jax.random.uniform(key, (features, settings.batch_size), jnp.float32)
    if settings.pairs is None:
        x = jnp.where(u < density, u / density, -1)  # given u < p, u / p is uniform in [0, 1]
    else:
        first, second = u[0::2], u[1::2]
        on = first < density
        own = jnp.where(on, first / density, -1)
        also = on if settings.pairs == "correlated" else (first >= density) & (first < 2 * density)
        x = jnp.stack([own, jnp.where(also, second, -1)], axis=1).reshape(u.shape)
    signed = x if settings.target == "identity" else 2 * x - 1
    return jnp.where(x >= 0, signed, 0)


def initial(key: KeyLike, features: int, hidden: int, target: str) -> Weights:
    """Normal weights with the variance 2 / (n + m) of Xavier, and biases of 0."""
    size = (2 / (features + hidden)) ** 0.5
    into, out = jax.random.split(key)
    weights = {
        "w": size * jax.random.normal(into, (hidden, features), jnp.float32),
        "b": jnp.zeros(features, jnp.float32),
    }
    if target == "absolute":
        weights["w_out"] = size * jax.random.normal(out, (features, hidden), jnp.float32)
    return weights


def outputs(
    weights: Weights, x: Float[Array, "features batch"], activation: str
) -> Float[Array, "features batch"]:
    """What the model makes of its features. Examples stand last: the other axes are short."""
    w = weights["w"]
    hidden, features = w.shape
    last = jax.nn.relu if activation == "relu" else (lambda value: value)
    if "w_out" in weights:
        y = einsum("fh,hb->fb", weights["w_out"], last(einsum("hf,fb->hb", w, x)))
    elif 2 * features <= 5 * hidden:  # one product and its gradient with W^T W, not two and their three
        y = einsum("fg,gb->fb", einsum("hf,hg->fg", w, w), x)
    else:
        y = einsum("hf,hb->fb", w, einsum("hf,fb->hb", w, x))
    return last(y + weights["b"][:, None])


def _densities(density: ArrayLike, pairs: str | None, features: int) -> Float[Array, " density"]:
    given = np.asarray(as_array(density, "density"))
    if given.ndim > 1 or not given.size or given.dtype.kind not in "iuf":
        raise ValueError(f"density is a number or an array (density,), such as [1.0, 0.1]; got {density!r}.")
    if not ((given > 0) & (given <= 1)).all():
        raise ValueError(
            f"A density is a probability above 0 and at most 1, 1 - S for the sparsity S; got {density!r}."
        )
    if pairs is not None:
        check_choice(pairs, "pairs", ("correlated", "anticorrelated"))
        if features % 2:
            raise ValueError(f"Pairs need an even number of features; got features={features}.")
        if pairs == "anticorrelated" and given.max() > 0.5:
            raise ValueError(
                "At most one feature of an anticorrelated pair is on, so a density is at most 0.5; got "
                f"{given.max():g}."
            )
    return jnp.atleast_1d(jnp.asarray(given, jnp.float32))


def _importances(importance: ArrayLike, densities: int, features: int) -> Float[Array, "density features"]:
    given = np.asarray(as_array(importance, "importance"))
    rows = given.shape in ((), (features,), (densities, features))
    if not rows or given.dtype.kind not in "iuf" or not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError(
            f"importance is a number of 0 or more, an array ({features},) of them, one for each feature, "
            f"or ({densities}, {features}) with a row for each density; got the shape {given.shape}."
        )
    return jnp.broadcast_to(jnp.asarray(given, jnp.float32), (densities, features))
