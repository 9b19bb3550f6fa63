"""Layers in another order: dropped, repeated or permuted, as a new model of the same blocks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_array, concrete
from .._text import shown
from ..core._blocks import layer_count
from ..core._intervene import Intervened, split_edits
from ..typing import IndexLike, M


def take_layers(model: M, order: IndexLike) -> M:
    r"""$\mathrm{block}'_i = \mathrm{block}_{o_i}$: a model whose i-th block is block `order[i]`.

    **Arguments:**

    - `model`: of any family. Edits of an intervened model stay at the layers that they name.
    - `order (n,)`: numbers of layers, -1 is the last. A layer may stand there twice or not at all. It may
      be traced: one program serves all orders of one length.

    **Returns:** a model of n layers, whose config no longer names a source.

    **Raises:** ValueError for an empty order, IndexError for a layer that the model lacks.

    ```python
    deeper = ji.weights.take_layers(model, [0, 1, 1, 2, 3])      # layer 1 twice
    ```

    Attention whose scores are divided by the number of its layer (an option of GPT-2) takes the new number.

    Law: every layer in its place gives the model itself, to the last bit.
    """
    count = layer_count(split_edits(model)[0])
    return _taken(model, _as_order(order, count, "take_layers(model, order)"))


def permute_layers(model: M, order: IndexLike) -> M:
    r"""$\mathrm{block}'_i = \mathrm{block}_{\pi(i)}$: the same blocks in another order.

    Lad, Gurnee and Tegmark 2024 (https://arxiv.org/abs/2406.19384) exchange neighbours.

    **Arguments:**

    - `model`: as in `take_layers`.
    - `order (layers,)`: every layer once. It may be traced, and is then not checked.

    **Raises:** ValueError for an order that is no permutation.

    ```python
    swapped = ji.weights.permute_layers(model, [0, 2, 1, 3])
    ```

    Law: the inverse permutation gives the model back, to the last bit; a swap is its own inverse.
    """
    count = layer_count(split_edits(model)[0])
    order = _as_order(order, count, "permute_layers(model, order)")
    if order.shape != (count,) or (
        concrete(order) and sorted(np.asarray(order).tolist()) != list(range(count))
    ):
        raise ValueError(
            f"An order of {count} layers has each of them once: a permutation of 0..{count - 1}; got "
            f"{shown(order.tolist()) if concrete(order) else f'the shape {order.shape}'}. With layers left "
            "out or repeated: ji.weights.take_layers(model, order)."
        )
    return _taken(model, order)


def drop_layers(model: M, layers: IndexLike) -> M:
    r"""$\mathrm{block}_\ell(x) = x$ for each given $\ell$: the model without these layers.

    **Arguments:**

    - `model`: as in `take_layers`.
    - `layers`: one layer or several, -1 is the last.

    **Raises:** ValueError where no layer is left, IndexError for a layer that the model lacks.

    ```python
    shallow = ji.weights.drop_layers(model, 1)
    ```

    Law: equal to a run where `attn_out` and `mlp_out` of these layers are zero.
    """
    count = layer_count(split_edits(model)[0])
    gone = _as_order(layers, count, "drop_layers(model, layers)", several=False)
    if not concrete(gone):
        raise ValueError(
            "drop_layers makes a model with fewer layers, so `layers` are Python ints; a traced layer is "
            'skipped by edits: ji.zero("attn_out", layer=l) and ji.zero("mlp_out", layer=l).'
        )
    left = sorted(set(range(count)) - set(np.asarray(gone).reshape(-1).tolist()))
    if not left:
        raise ValueError(f"drop_layers leaves at least one of the {count} layers; got all of them.")
    return _taken(model, jnp.asarray(left, jnp.int32))


def _as_order(order: Any, count: int, call: str, several: bool = True) -> jax.Array:
    """Numbers of layers counted from 0, int32."""
    numbers = as_array(order)
    integers = np.issubdtype(numbers.dtype, np.integer)
    if not integers or numbers.ndim > 1 or (several and numbers.ndim != 1) or not numbers.size:
        raise ValueError(
            f"{call} takes numbers of layers, such as [0, 2, 1, 3]; got the shape {numbers.shape} of "
            f"{numbers.dtype}."
        )
    if concrete(numbers):
        outside = [int(n) for n in np.asarray(numbers).reshape(-1) if not -count <= n < count]
        if outside:
            raise IndexError(f"{call}: the model has the layers 0..{count - 1}; got {shown(outside)}.")
    whole = jnp.asarray(numbers, jnp.int32)
    return jnp.where(whole < 0, whole + count, whole)


def _taken(model: Any, order: jax.Array) -> Any:
    if isinstance(model, Intervened):
        return dataclasses.replace(model, model=_taken(model.model, order))
    take = lambda leaf: jnp.take(leaf, order, axis=0) if eqx.is_array(leaf) else leaf
    new = eqx.tree_at(lambda m: m.blocks, model, jax.tree.map(take, model.blocks))
    config = getattr(new, "config", None)
    if dataclasses.is_dataclass(config):
        names = {field.name for field in dataclasses.fields(config)}
        changes = {"layers": int(order.shape[0]), "source": None}
        config = dataclasses.replace(config, **{k: v for k, v in changes.items() if k in names})  # pyright: ignore[reportArgumentType]
        new = dataclasses.replace(new, config=config)
    return new


def named_orders(count: int, orders: Mapping[str, IndexLike]) -> dict[str, np.ndarray]:
    """Orders by name, checked, counted from 0."""
    return {
        str(name): np.asarray(_as_order(order, count, f"orders[{name!r}]")) for name, order in orders.items()
    }
