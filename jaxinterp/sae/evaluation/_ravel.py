"""RAVEL: does an attribute of an entity have its own features, which can be exchanged without the others?"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..._arguments import as_number
from ..._deprecations import respelled
from ..._random import host_generator
from ...core._check import check_key
from ...fit import Now, descend
from ...stats import Record, Result
from ...typing import ArrayLike, DictionaryLike, KeyLike
from ..features._directions import decode_at
from ._inputs import as_matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Ravel(Result):
    """How well one attribute is exchanged without the others; made by `ravel`.

    - `cause`: by attribute, the share of test pairs with the answer of the source.
    - `isolation`: by attribute, the mean share with the base's answer for the other attributes.
    - `masks`: by attribute, the features that are exchanged, `(features,)` of bools.
    - `disentangle`: the mean of cause and isolation over attributes.

    ```python
    labels = {"even": np.arange(len(x)) % 2, "third": np.arange(len(x)) % 3}
    readers = {name: lambda x, rows, k=k: x[:, :k] for name, k in (("even", 2), ("third", 3))}
    found = ji.sae.ravel((x, labels), (x, labels), sae, readers, key=key, pairs=32, epochs=1)
    found.cause, found.isolation
    ```
    """

    cause: dict[str, float]
    isolation: dict[str, float]
    masks: dict[str, np.ndarray]
    disentangle: float

    def records(self) -> list[Record]:
        """One row for each attribute."""
        return [
            {
                "attribute": name,
                "cause": self.cause[name],
                "isolation": self.isolation[name],
                "features": np.flatnonzero(self.masks[name]).tolist(),
            }
            for name in self.cause
        ]


@respelled(seed="key=jax.random.key(0)", batch="batch_size=", rate="learning_rate=")
def ravel(
    train: tuple[ArrayLike, Mapping[str, ArrayLike]],
    test: tuple[ArrayLike, Mapping[str, ArrayLike]],
    sae: DictionaryLike,
    readers: Mapping[str, Callable[[Any, Any], Any]],
    *,
    key: KeyLike,
    pairs: int = 2000,
    epochs: int = 2,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
) -> Ravel:
    r"""$f' = m_a f_{source} + (1 - m_a) f_{base}$: a mask over features that exchanges attribute a alone.

    For every attribute a mask $\sigma(m / T)$ is learned, with T falling from 1 to 0.01. It should make the
    model give the source's answer for a and the base's answers for other attributes. In the test the mask
    is hard, $m > 0$. The error of the dictionary on the base is kept. Karvonen et al. 2025
    (https://arxiv.org/abs/2503.09532), after Huang et al. 2024 (https://arxiv.org/abs/2402.17700).

    **Arguments:**

    - `train`, `test`: pairs (x, labels): activations of entities at a site `(rows, d)`, and the answers `(rows,)` by
      attribute, whole numbers from 0.
    - `sae`: a dictionary.
    - `readers`: by attribute a function `read(x, rows) -> logits (n, answers)`: the logits of the model's answers when
      the site of entities `rows (n,)` holds `x (n, d)`. It is a JAX function, such as one around `ji.resume`, or a linear
      probe. In training `rows` are numbers of `train`; in the test they are those of `test` plus `len(train)`.
    - `key`: a `jax.random.key`, which draws the pairs and their order.
    - `pairs`: how many pairs of entities with different answers. Default 2000.
    - `epochs`: passes over the pairs. Default 2.
    - `batch_size`: pairs in one step. Default 16.
    - `learning_rate`: the rate of Adam. Default 1e-3.

    **Returns:** `Ravel`; `found["cause"]` is `found.cause`.

    **Raises:** ValueError where shapes do not fit, for fewer than two attributes, and for an attribute with one answer.

    ```python
    labels = {"even": np.arange(len(x)) % 2, "third": np.arange(len(x)) % 3}
    readers = {"even": lambda x, rows: x[:, :2], "third": lambda x, rows: x[:, 2:5]}    # better: probes
    found = ji.sae.ravel((x, labels), (x, labels), sae, readers, key=jax.random.key(0), pairs=32, epochs=1)
    found.disentangle
    ```

    Law: 1 where each attribute has its own features; at most 1/2 where two attributes share their features.
    """
    names = list(readers)
    if len(names) < 2:
        raise ValueError("ravel compares attributes: give readers of two or more.")
    learning_rate = as_number(learning_rate, "learning_rate", 1e-12, 1e9)
    sets = [_entities(what, given, sae, names) for what, given in (("train", train), ("test", test))]
    (x, f, y), (x_test, f_test, y_test) = sets
    key = check_key(key, "ji.sae.ravel(..., key={})")
    cause, isolation, masks = {}, {}, {}
    for number, name in enumerate(names):
        rng = host_generator(jax.random.fold_in(key, number), "ji.sae.ravel(..., key={})")
        base, source = _pairs(rng, y[name], pairs, name)
        steps = max(1, len(base) // batch_size) * epochs
        order = rng.permuted(np.tile(np.arange(len(base)), (epochs, 1)), axis=1)
        order = np.resize(order.ravel(), (steps, min(batch_size, len(base))))
        answers = {other: y[other][source if other == name else base] for other in names}
        examples = x[base], f[base], f[source], answers, base
        soft = _learn(sae, readers, examples, jnp.asarray(order), jnp.float32(learning_rate))
        hard = np.asarray(soft) > 0
        base, source = _pairs(rng, y_test[name], pairs, name)
        made = _exchanged(sae, x_test[base], f_test[base], f_test[source], jnp.asarray(hard, jnp.float32))
        answered = {o: np.asarray(readers[o](made, jnp.asarray(base + len(x)))).argmax(-1) for o in names}
        masks[name] = hard
        cause[name] = float((answered[name] == y_test[name][source]).mean())
        unchanged = [float((answered[o] == y_test[o][base]).mean()) for o in names if o != name]
        isolation[name] = float(np.mean(unchanged))
    both = [(cause[n] + isolation[n]) / 2 for n in names]
    return Ravel(cause, isolation, masks, float(np.mean(both)))


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
def _learn(sae: Any, readers: Any, examples: Any, order: Any, learning_rate: Any) -> Any:
    """The mask `(features,)` after a step for each row of `order (steps, batch)`."""
    x, f, other, answers, base = jax.tree.map(jnp.asarray, examples)
    last = max(len(order) - 1, 1)

    def loss(mask: Any, rows: Any, now: Now) -> tuple[Any, dict[str, Any]]:
        heat = jnp.float32(0.01) ** (now.step.astype(jnp.float32) / last)
        made = _exchanged(sae, x[rows], f[rows], other[rows], jax.nn.sigmoid(mask / heat))
        total = jnp.float32(0)
        for name, read in readers.items():
            log = jax.nn.log_softmax(read(made, base[rows]).astype(jnp.float32))
            total -= jnp.mean(jnp.take_along_axis(log, answers[name][rows][:, None], -1))
        return total, {}

    state, _ = descend(jnp.zeros(f.shape[1], jnp.float32), order, loss, optax.adam(learning_rate))
    return state.params
