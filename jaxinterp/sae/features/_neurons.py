"""The neurons nearest to features: by what they respond to, and by the entries of directions."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ..._tabular import Record, Tabular
from ...typing import CaptureLike, CorpusLike, DictionaryLike, IndexLike, MaskLike, ModelLike
from ._directions import directions
from ._site import SiteReading, chosen, one_layer, rows_at, sites_of


@dataclass(frozen=True, eq=False)
class NearestNeurons(Tabular):
    """The neurons that are most correlated with each feature; made by `nearest_neurons`.

    - `features (n,)`: the numbers of the features.
    - `site`: the site of the neurons.
    - `neurons (n, k)`, `correlation (n, k)`: the neurons with the largest correlations, and these, falling.
    - `entries (n, k)`, `values (n, k)`: the entries of the decoder row with the largest magnitude, and their values.

    ```python
    near = ji.sae.nearest_neurons(sae, model, corpus, [7, 8], site="resid_post[2]")
    near.neurons[:, 0], near.correlation[:, 0]          # the nearest neuron of each
    ```
    """

    features: np.ndarray
    site: str
    neurons: np.ndarray
    correlation: np.ndarray
    entries: np.ndarray
    values: np.ndarray

    def records(self) -> list[Record]:
        """A row for each feature and place: the neuron and its correlation, and the entry of the direction."""
        return [
            {"feature": int(self.features[i]), "place": j, "neuron": int(self.neurons[i, j])}
            | {"correlation": float(self.correlation[i, j])}
            | {"entry": int(self.entries[i, j]), "value": float(self.values[i, j])}
            for i, j in np.ndindex(self.neurons.shape)
        ]


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def nearest_neurons(
    sae: DictionaryLike,
    model: ModelLike,
    tokens: CorpusLike,
    features: IndexLike | None = None,
    *,
    site: CaptureLike | None = None,
    neurons: str | None = None,
    k: int = 3,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> NearestNeurons:
    r"""$\arg\max_j \rho(f_i, a_j)$ over tokens, and the largest $|d_{ij}|$.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features) prefer the
    correlation, because a feature may write to a neuron that also fires in other contexts.

    **Arguments:**

    - `sae`, `model`, `tokens`, `site`, `mask`, `positions`: as in `evaluate`.
    - `features`: numbers `(n,)`; by default None, all features.
    - `neurons`: a site of one layer; by default `mlp_post` of the layer of `site`.
    - `k`: neurons for each feature; 3 by default.
    - `batch_size`: contexts in one pass; by default "auto", which keeps memory near 1 GB.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `NearestNeurons`. The correlation of a constant feature is 0.

    ```python
    near = ji.sae.nearest_neurons(sae, model, corpus, [7], site="resid_post[2]")
    near.neurons[0], near.correlation[0]
    ```

    Law: correlations equal those of all activations at once, to 1e-4.
    """
    read, which = SiteReading(sae, model, tokens, site, mask, positions), chosen(sae, features)
    neurons = f"mlp_post[{read.layer}]" if neurons is None else neurons
    one_layer(neurons)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k is the number of neurons, 1 or more; got {k!r}.")
    parts = read.batches(batch_size, sae)
    wanted = None if features is None else jnp.asarray(which)
    both = Both(sae, wanted, read.name, neurons)
    captures = list(dict.fromkeys([*sites_of(read.name), neurons]))
    # Sums around a mean of the first batch lose no digits to a large offset.
    centre = read.fold(
        parts,
        None,
        _first,
        captures=captures,
        per_batch=Means(both),
        batches=range(1),
        progress=False,
    )
    zero = [jnp.zeros_like(x) for x in centre]
    sums = (jnp.zeros((len(zero[0]), len(zero[1])), jnp.float32), *zero, *zero)
    moments = Products(both, centre)
    sums = read.fold(parts, sums, moments, captures=captures, progress="neurons" if progress else False)
    rho = np.asarray(_correlation(sums, jnp.float32(read.count)))
    k = min(int(k), rho.shape[1])
    best = np.argsort(-rho, 1, kind="stable")[:, :k]
    rows = np.asarray(directions(sae))[which]
    largest = np.argsort(-np.abs(rows), 1, kind="stable")[:, :k]
    take = np.take_along_axis
    return NearestNeurons(which, neurons, best, take(rho, best, 1), largest, take(rows, largest, 1))


class Both(eqx.Module):
    """Features and neurons of a batch, `(row, pos, ...)`."""

    sae: Any
    features: Any
    name: Any = eqx.field(static=True)
    neurons: str = eqx.field(static=True)

    def __call__(self, acts: Any) -> tuple[Any, Any]:
        f = self.sae.encode(rows_at(acts, self.name))
        f = f if self.features is None else jnp.take(f, self.features, -1)
        return f, acts[self.neurons].astype(jnp.float32)


class Means(eqx.Module):
    """Their means over the tokens of a batch that count."""

    both: Both

    def __call__(self, batch: Any, acts: Any) -> Any:
        count = jnp.maximum(batch.positions.sum(dtype=jnp.float32), 1)
        return tuple(jnp.where(batch.positions[..., None], x, 0).sum((0, 1)) / count for x in self.both(acts))


def _first(_: Any, batch: Any, means: Any) -> Any:
    return means


class Products(eqx.Module):
    """One batch of a fold: products and squares about a centre, added to those before."""

    both: Both
    centre: Any

    def __call__(self, sums: Any, batch: Any, acts: Any) -> Any:
        f, a = (
            jnp.where(batch.positions[..., None], x - c[None, None], 0)
            for x, c in zip(self.both(acts), self.centre, strict=True)
        )
        product = jnp.einsum("spf,spn->fn", f, a, precision="highest")
        squares = lambda x: jnp.square(x).sum((0, 1))
        found = product, f.sum((0, 1)), a.sum((0, 1)), squares(f), squares(a)
        return jax.tree.map(jnp.add, sums, found)


@jax.jit
def _correlation(sums: Any, count: Any) -> Any:
    product, f, a, ff, aa = sums
    spread = lambda squares, x: jnp.maximum(squares - x * x / count, 0)
    size = jnp.sqrt(spread(ff, f))[:, None] * jnp.sqrt(spread(aa, a))[None]
    rho = (product - f[:, None] * a[None] / count) / jnp.where(size > 0, size, 1)
    return jnp.where(size > 0, rho, 0)
