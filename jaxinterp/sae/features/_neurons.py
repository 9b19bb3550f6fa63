"""The neurons nearest to features: by what they respond to, and by the entries of directions."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._run import run
from ...data._activations import watched
from ._corpus import Corpus, chosen, one_layer, rows_at, sites_of
from ._directions import directions


@dataclass(frozen=True, eq=False)
class NearestNeurons:
    """For each of `features (n,)`: `neurons (n, k)` of the site `site` with their `correlation
    (n, k)`, falling; `entries (n, k)`, the places of the largest |d_i|, and their `values`."""

    features: np.ndarray
    site: str
    neurons: np.ndarray
    correlation: np.ndarray
    entries: np.ndarray
    values: np.ndarray


def nearest_neurons(
    sae: Any,
    model: Any,
    tokens: Any,
    features: Any = None,
    *,
    site: Any = None,
    neurons: str | None = None,
    k: int = 3,
    mask: Any = None,
    real: Any = None,
    batch: int | None = None,
    progress: bool = True,
) -> NearestNeurons:
    r"""$\arg\max_j \rho(f_i, a_j)$ over tokens, and the largest $|d_{ij}|$.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features) prefer the
    correlation: a feature may write to a neuron that fires for much else.

    **Arguments:** `sae`, `model`, `tokens`, `site`, `mask`, `real` as in `evaluate`; `features`,
    numbers, None for all; `neurons`, a site of one layer, by default `mlp_post` of the same; `k`.

    **Returns:** `NearestNeurons`. A feature that is constant correlates with nothing: 0.

    ```python
    near = ji.sae.nearest_neurons(sae, model, corpus, [7], site="resid_post[2]")
    near.neurons[0], near.correlation[0]
    ```

    Law: correlations equal those of all activations at once, to 1e-4.
    """
    read, which = Corpus(sae, model, tokens, site, mask, real), chosen(sae, features)
    neurons = f"mlp_post[{read.layer}]" if neurons is None else neurons
    one_layer(neurons)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k neurons are asked for, 1 or more; got {k!r}.")
    size = read.size(batch, sae.features)
    sums, centre = None, None
    steps = -(-len(read.rows) // size)
    for part in watched(read.batches(size), steps, "neurons", progress):
        some = None if features is None else jnp.asarray(which)
        names = (read.name, neurons)
        if centre is None:
            # Sums around a mean of the first batch lose no digits to a large offset.
            centre = _means(sae, model, part, some, names)
        found = _moments(sae, model, part, some, centre, names)
        sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
    assert sums is not None
    rho = np.asarray(_correlation(sums, jnp.float32(read.counted.sum())))
    k = min(int(k), rho.shape[1])
    best = np.argsort(-rho, 1, kind="stable")[:, :k]
    rows = np.asarray(directions(sae))[which]
    largest = np.argsort(-np.abs(rows), 1, kind="stable")[:, :k]
    take = np.take_along_axis
    return NearestNeurons(which, neurons, best, take(rho, best, 1), largest, take(rows, largest, 1))


def _both(sae: Any, model: Any, part: Any, some: Any, names: Any) -> Any:
    _, acts = run(
        model,
        part.tokens,
        capture=list(dict.fromkeys([*sites_of(names[0]), names[1]])),
        mask=part.real,
        logits=False,
    )
    f = sae.encode(rows_at(acts, names[0]))
    f = f if some is None else jnp.take(f, some, -1)
    return f, acts[names[1]].astype(jnp.float32)


@eqx.filter_jit
def _means(sae: Any, model: Any, part: Any, some: Any, names: Any) -> Any:
    count = jnp.maximum(part.counted.sum(dtype=jnp.float32), 1)
    both = _both(sae, model, part, some, names)
    return tuple(jnp.where(part.counted[..., None], x, 0).sum((0, 1)) / count for x in both)


@eqx.filter_jit
def _moments(sae: Any, model: Any, part: Any, some: Any, centre: Any, names: Any) -> Any:
    f, a = (
        jnp.where(part.counted[..., None], x - c[None, None], 0)
        for x, c in zip(_both(sae, model, part, some, names), centre, strict=True)
    )
    product = jnp.einsum("spf,spn->fn", f, a, precision="highest")
    squares = lambda x: jnp.square(x).sum((0, 1))
    return product, f.sum((0, 1)), a.sum((0, 1)), squares(f), squares(a)


@jax.jit
def _correlation(sums: Any, count: Any) -> Any:
    product, f, a, ff, aa = sums
    spread = lambda squares, x: jnp.maximum(squares - x * x / count, 0)
    size = jnp.sqrt(spread(ff, f))[:, None] * jnp.sqrt(spread(aa, a))[None]
    rho = (product - f[:, None] * a[None] / count) / jnp.where(size > 0, size, 1)
    return jnp.where(size > 0, rho, 0)
