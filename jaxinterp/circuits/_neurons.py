r"""Neurons as senders: what an MLP writes is $\sum_i a_i W_i + b$, and neuron $i$ sends $a_i W_i$.

What neurons write is never held as vectors: of each there is one number $a'_i - a_i$ for each position, and its row
$W_i$. In arrays there is a row for each MLP with neurons, padded to the largest number of them. A padded
neuron has $W_i = 0$.
"""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._arguments import as_int, as_list
from .._text import shown
from ..core._blocks import layer_count
from ..core._check import Shapes
from ..nn import MLP, Block
from ..nn._linear import einsum
from ..typing import LayerNeurons
from ._numbering import nodes_of, numbers_of

if TYPE_CHECKING:
    from ._graph import Graph


def as_neurons(
    neurons: LayerNeurons | None, model: Any, shapes: Shapes
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """`(layer, indices)` of each MLP of which neurons are meant, in the order of layers and of neurons."""
    if neurons is None:
        return ()
    check_blocks(model, shapes)
    layers, size = layer_count(model), shapes["mlp_post"].shape[-1]
    chosen: dict[int, list[int]] = {}
    if isinstance(neurons, Mapping):
        named = [(layer, unit) for layer, units in neurons.items() for unit in np.asarray(units).tolist()]
    else:
        named = []
        for each in as_list(neurons, "neurons", "[0, 3]"):
            layer, dot, unit = each.partition(".") if isinstance(each, str) else (each, "", "")
            if dot and layer.isdecimal() and unit.isdecimal():
                named.append((int(layer), int(unit)))
            else:
                named += [(layer, unit) for unit in range(size)]
    for layer, unit in named:
        for value, what, most in ((layer, "layer", layers), (unit, "neuron", size)):
            if not -most <= as_int(value, what) < most:
                raise ValueError(
                    "neurons are layers, [0, 3], neurons by layer, {3: [17, 21]}, or names, ['3.17']; this model has "
                    f"{layers} layers of {size} neurons, and no {what} {value}; got {shown(neurons)}."
                )
        chosen.setdefault(layer % layers, []).append(unit % size)
    return tuple((layer, tuple(sorted(set(units)))) for layer, units in sorted(chosen.items()))


def check_blocks(model: Any, shapes: Shapes) -> None:
    """Raises where what neurons write is not known."""
    blocks = model.blocks
    if not isinstance(blocks, Block) or not isinstance(blocks.mlp, MLP):
        raise ValueError(
            "Neurons are senders where blocks are those of ji.models and have MLPs; this model has "
            + ("no MLPs." if "mlp_in" not in shapes else "blocks of its own.")
            + " Leave neurons out: ji.circuits.graph(model)."
        )


@functools.lru_cache(maxsize=16)
def units_of(graph: "Graph") -> tuple[np.ndarray, np.ndarray]:
    """Neurons in rows: the layers `(row,)`, and the index of each neuron `(row, neuron)`, or -1."""
    most = max((len(units) for _, units in graph.neurons), default=0)
    index = np.full((len(graph.neurons), most), -1, np.int32)
    for row, (_, units) in enumerate(graph.neurons):
        index[row, : len(units)] = units
    return np.asarray([layer for layer, _ in graph.neurons], np.int32), index


@functools.lru_cache(maxsize=16)
def rows_of(graph: "Graph") -> np.ndarray:
    """The senders by number in the order of arrays: those that write vectors, then rows of neurons; -1 pads."""
    senders, _ = numbers_of(graph)
    layers, index = units_of(graph)
    neurons = np.full(index.shape, -1)
    for row, layer in enumerate(layers.tolist()):
        # The rest of an MLP comes first among its parts.
        parts = senders[f"mlp{layer}"][1:]
        neurons[row, : len(parts)] = parts
    vectors = np.setdiff1d(np.arange(len(nodes_of(graph).senders)), neurons)
    return np.concatenate([vectors, neurons.ravel()])


def vector_count(graph: "Graph") -> int:
    """How many senders write vectors: all but neurons."""
    return len(nodes_of(graph).senders) - sum(len(units) for _, units in graph.neurons)


def directions(model: Any, graph: "Graph") -> Float[Array, "row neuron d"] | None:
    """What neurons write where they are 1; 0 for those that pad; None in a graph without neurons."""
    if not graph.neurons:
        return None
    layers, index = units_of(graph)
    w = model.blocks.mlp.w_out[layers[:, None], np.maximum(index, 0)]
    return jnp.where((index >= 0)[..., None], w, 0)


def row_at(layer: Any, graph: "Graph") -> tuple[Array, Array]:
    """The row of the neurons of a layer, and whether it has one."""
    layers, _ = units_of(graph)
    same = jnp.asarray(layers) == layer
    return jnp.argmax(same), same.any()


def read_at(
    layer: Any, post: Float[Array, "*batch pos ff"], graph: "Graph"
) -> Float[Array, "neuron *batch pos"]:
    """The neurons of one layer out of its `mlp_post`."""
    _, index = units_of(graph)
    row, _ = row_at(layer, graph)
    units = lax.dynamic_index_in_dim(jnp.asarray(np.maximum(index, 0)), row, keepdims=False)
    return jnp.moveaxis(jnp.take(post, units, axis=-1, mode="clip"), -1, 0)


def read_all(
    post: Float[Array, "layer *batch pos ff"], graph: "Graph"
) -> Float[Array, "row neuron *batch pos"]:
    """The neurons of a graph out of the `mlp_post` of all layers."""
    layers, index = units_of(graph)
    rows = jnp.moveaxis(post[layers], -1, 1)
    return jax.vmap(lambda row, units: jnp.take(row, units, axis=0, mode="clip"))(
        rows, jnp.asarray(np.maximum(index, 0))
    )


def written(
    fired: Float[Array, "neuron *batch pos"], out: Float[Array, "neuron d"]
) -> Float[Array, "*batch pos d"]:
    """What the neurons of one MLP write together."""
    return einsum("n...,nd->...d", fired, out.astype(fired.dtype))


def check_sizes(graph: "Graph", model: Any, shapes: Shapes) -> None:
    """Raises where a graph has neurons that the model has not."""
    check_blocks(model, shapes)
    size = shapes["mlp_post"].shape[-1]
    most = int(units_of(graph)[1].max())
    if most >= size:
        raise ValueError(
            f"The graph has the neuron {most}, and MLPs of this model have {size}: it is the graph of another model. "
            "Make it of this one: ji.circuits.graph(model, neurons=...)."
        )
