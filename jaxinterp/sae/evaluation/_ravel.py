"""RAVEL: is an attribute of an entity in features of its own, that can be exchanged without the others?"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ...fit._descend import descend
from ...fit._state import Now
from ..features._directions import decode_at
from ._inputs import as_matrix


def ravel(
    train: Any,
    test: Any,
    sae: Any,
    readers: Mapping[str, Callable[[Any, Any], Any]],
    *,
    pairs: int = 2000,
    epochs: int = 2,
    batch: int = 16,
    rate: float = 1e-3,
    seed: int = 0,
) -> dict[str, Any]:
    r"""$f' = m_a f_{source} + (1 - m_a) f_{base}$: does a mask over features exchange attribute a alone?

    For every attribute a mask is learned, $\sigma(m / T)$ with T falling from 1 to 0.01, that makes the
    model say the source's a and still the base's other attributes; at test it is hard, $m > 0$. What
    the dictionary misses of the base stays. Karvonen et al. 2025
    (https://arxiv.org/abs/2503.09532), after Huang et al. 2024 (https://arxiv.org/abs/2402.17700).

    **Arguments:** `train`, `test`: (x, labels), activations of entities at a site `(rows, d)`, and by attribute its
    answer `(rows,)`, whole numbers; `sae`; `readers`, by attribute `read(x, rows) -> logits
    (n, answers)`, what the model says of it when the site of entities `rows (n,)` holds `x (n, d)`: a
    JAX function, such as one around `ji.resume`, or a linear probe. In training `rows` are of `train`, at the
    test those of `test` with `len(train)` added. `pairs` of different a, `epochs` of Adam at `rate`.

    **Returns:** a dict: by attribute `cause`, the share of test pairs that say the source's, and `isolation`,
    the mean share that still say the base's other attributes; `disentangle`, the mean of both over attributes;
    `masks` `(features,)` of bools.

    **Raises:** ValueError for other shapes, fewer than two attributes, an attribute of one answer.

    ```python
    found = ji.sae.ravel((x, y), (x_test, y_test), sae, {"country": read_country, "language": read_language})
    found["disentangle"]
    ```

    Law: 1 where each attribute has features of its own; no more than 1/2 where
    two attributes share theirs.
    """
    names = list(readers)
    if len(names) < 2:
        raise ValueError("ravel tells attributes apart: give readers of two or more.")
    sets = [_entities(what, given, sae, names) for what, given in (("train", train), ("test", test))]
    (x, f, y), (x_test, f_test, y_test) = sets
    found: dict[str, Any] = {"cause": {}, "isolation": {}, "masks": {}}
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, number])
        base, source = _pairs(rng, y[name], pairs, name)
        steps = max(1, len(base) // batch) * epochs
        order = rng.permuted(np.tile(np.arange(len(base)), (epochs, 1)), axis=1)
        order = np.resize(order.ravel(), (steps, min(batch, len(base))))
        answers = {other: y[other][source if other == name else base] for other in names}
        given = x[base], f[base], f[source], answers, base
        soft = _learn(sae, readers, given, jnp.asarray(order), rate)
        hard = np.asarray(soft) > 0
        base, source = _pairs(rng, y_test[name], pairs, name)
        made = _exchanged(sae, x_test[base], f_test[base], f_test[source], jnp.asarray(hard, jnp.float32))
        said = {o: np.asarray(readers[o](made, jnp.asarray(base + len(x)))).argmax(-1) for o in names}
        found["masks"][name] = hard
        found["cause"][name] = float((said[name] == y_test[name][source]).mean())
        kept = [float((said[o] == y_test[o][base]).mean()) for o in names if o != name]
        found["isolation"][name] = float(np.mean(kept))
    both = [(found["cause"][n] + found["isolation"][n]) / 2 for n in names]
    return {**found, "disentangle": float(np.mean(both))}


def _entities(what: str, given: Any, sae: Any, names: list[str]) -> tuple[Any, Any, dict[str, np.ndarray]]:
    if len(given) != 2 or not isinstance(given[1], Mapping) or set(given[1]) != set(names):
        raise ValueError(f"{what} is (x, labels), labels by attribute: {', '.join(names)}.")
    x = jnp.asarray(as_matrix(f"x of {what}", given[0], columns=sae.d))
    labels = {name: np.asarray(given[1][name]) for name in names}
    for name, y in labels.items():
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise ValueError(
                f"{name} of {what} is a whole number from 0 for each of {len(x)} rows; got {y.dtype}{list(y.shape)}."
            )
    return x, sae.encode(x), labels


def _pairs(rng: Any, y: np.ndarray, count: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Entities that differ in an attribute."""
    if y.min() == y.max():
        raise ValueError(f"All entities have the same {name}: there is nothing to exchange.")
    base = rng.integers(len(y), size=count)
    source = rng.integers(len(y), size=count)
    while (same := y[base] == y[source]).any():
        base[same], source[same] = rng.integers(len(y), size=(2, int(same.sum())))
    return base, source


def _exchanged(sae: Any, x: Any, f: Any, other: Any, mask: Any) -> Any:
    """x with features from another entity, its error left as it is."""
    move = decode_at(sae, f + mask[None] * (other - f), x) - decode_at(sae, f, x)
    return x + move


@eqx.filter_jit
def _learn(sae: Any, readers: Any, given: Any, order: Any, rate: float) -> Any:
    x, f, other, answers, base = jax.tree.map(jnp.asarray, given)
    last = max(len(order) - 1, 1)

    def loss(mask: Array, rows: Array, now: Now) -> tuple[Array, dict[str, Array]]:
        heat = jnp.float32(0.01) ** (now.step.astype(jnp.float32) / last)
        made = _exchanged(sae, x[rows], f[rows], other[rows], jax.nn.sigmoid(mask / heat))
        total = jnp.zeros((), jnp.float32)
        for name, read in readers.items():
            log = jax.nn.log_softmax(read(made, base[rows]).astype(jnp.float32))
            total -= jnp.mean(jnp.take_along_axis(log, answers[name][rows][:, None], -1))
        return total, {}

    start = jnp.zeros(f.shape[1], jnp.float32)
    return descend(start, order, loss, optax.adam(rate))[0].params
