"""Random circuits of the size of a given one: what chance keeps."""

import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, check_choice
from .._random import host_generator
from ..typing import IntLike, KeyLike, StrLike
from ._circuit import Circuit
from ._select import greedy_order

HOW = ("connected", "uniform")


def random_circuits(
    circuit: Circuit, resamples: IntLike = 100, *, key: KeyLike, how: StrLike = "connected"
) -> Circuit:
    r"""$C_r \sim U\{C : |C| = n\}$: circuits with as many edges as the given one, drawn at random.

    **Arguments:**

    - `circuit`: one circuit.
    - `resamples`: how many to draw.
    - `key`: a `jax.random.key`.
    - `how`: `"connected"` starts from the logits and adds random edges into nodes that are in the circuit already,
      so that each edge leads to the logits. `"uniform"` takes any edges; in a large model few of these are on a path
      to the logits.

    **Returns:** a `Circuit` with `mask (resamples, edge)`.

    ```python
    null = ji.circuits.random_circuits(circuit, 100, key=jax.random.key(0))
    ```

    Law: each has as many edges as `circuit`.
    """
    check_choice(how, "how", HOW)
    count, size = as_int(resamples, "resamples", 1), len(circuit)
    rng = host_generator(key, "ji.circuits.random_circuits(circuit, 100, key={})")
    masks = np.zeros((count, circuit.graph.size), bool)
    for row in masks:
        rank = rng.random(circuit.graph.size)
        order = np.argsort(-rank) if how == "uniform" else greedy_order(rank, circuit.graph, size)
        row[order[:size]] = True
    return Circuit(jnp.asarray(masks), circuit.graph)
