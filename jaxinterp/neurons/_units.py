"""What is compared unit by unit: neurons of a model, features of a dictionary, columns of an array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..core._acts import Acts
from ..core._intervene import config_of
from ..core._sites import parse
from ..corpus._batches import Batch
from ..data._reading import plan
from ..sae.features._site import SiteReading, rows_at, sites_of
from ..typing import DictionaryLike, ModelLike, StrLike
from ._address import name


class UnitStream(eqx.Module):
    r"""$t \mapsto u(t)$: units of a model at each token, as `correlations` compares them.

    **Arguments:**

    - `model`: of `ji.models`, with or without edits of its own.
    - `site`: a site with one row for each token: `"mlp_post"` (the default without a dictionary, all
      layers), `"mlp_post[3]"`, `"z[2:4]"`. The numbers of a row are the units, layer after layer. With a
      dictionary it is the site that the dictionary reads; by default its own.
    - `dictionary`: of `ji.sae`: its features are the units.

    ```python
    ji.neurons.UnitStream(model, "mlp_post[3]")
    ji.neurons.UnitStream(model, "resid_post[2]", dictionary=sae)
    ```

    **Raises:** ValueError, in the function that reads them, for a site that has no row for each token.
    """

    model: Any
    dictionary: Any
    site: Any = eqx.field(static=True)

    def __init__(
        self, model: ModelLike, site: StrLike | None = None, *, dictionary: DictionaryLike | None = None
    ) -> None:
        self.model, self.dictionary = model, dictionary
        self.site = "mlp_post" if site is None and dictionary is None else site


class Side(eqx.Module):
    """One side of a comparison, checked: from a batch to `(token, unit)` in float32.

    - `dictionary`: whose features are the units, or None; `site`: what is captured, or the name of an
      array in `batch.extra`.
    - `layers`: the layer of each group of units, and `sizes`: how many units each group has.
    """

    dictionary: Any
    site: Any = eqx.field(static=True)
    layers: tuple[int, ...] = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True)
    is_array: bool = eqx.field(static=True, default=False)

    def __call__(self, batch: Batch, acts: Acts) -> jax.Array:
        if self.is_array:
            return batch.extra[self.site].astype(jnp.float32)
        if self.dictionary is not None:
            x = self.dictionary.encode(rows_at(acts, self.site)).astype(jnp.float32)
        else:
            x = acts[self.site].astype(jnp.float32)
            x = x if len(self.sizes) == 1 else jnp.moveaxis(x, 0, 2)
        return x.reshape(batch.positions.size, self.count)

    @property
    def count(self) -> int:
        """How many units there are."""
        return sum(self.sizes)

    @property
    def captures(self) -> list[str]:
        """The sites that a run captures."""
        return [] if self.is_array else sites_of(self.site)

    @property
    def table(self) -> np.ndarray:
        """Layer and number of each unit, `(unit, 2)`."""
        layer = np.repeat(self.layers, self.sizes)
        return np.stack([layer, np.concatenate([np.arange(n) for n in self.sizes])], 1)


class Indicators(eqx.Module):
    """A side of a comparison made of labels `(row, pos, family)`: a unit for each value, 1 where a token has it."""

    counts: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Acts) -> jax.Array:
        label = batch.extra.reshape(-1, len(self.counts))
        parts = [jax.nn.one_hot(label[:, i], n, dtype=jnp.float32) for i, n in enumerate(self.counts)]
        return jnp.concatenate(parts, 1)

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @property
    def captures(self) -> list[str]:
        """None: labels need no run."""
        return []


def side_of(units: UnitStream, corpus: Any) -> Side:
    """Checks units against a corpus before anything runs."""
    depth = int(config_of(units.model).layers)
    if units.dictionary is not None:
        read = SiteReading(units.dictionary, units.model, corpus, units.site, None, None)
        features = jax.eval_shape(
            units.dictionary.encode, jax.ShapeDtypeStruct((1, *read.width), jnp.float32)
        ).shape
        return Side(units.dictionary, read.name, (read.layer % depth,), (int(features[-1]),))
    reading = plan(units.model, corpus, units.site)
    if len(reading.shapes) != 1 or not reading.by_token:
        raise ValueError(
            "Units are the numbers at one site, a row for each token: "
            f"ji.neurons.UnitStream(model, 'mlp_post'); got {units.site!r}."
        )
    ((found, (layers, row, _)),) = reading.shapes.items()
    size = int(np.prod(row))
    if layers is None:
        layer = parse(found)[1]
        return Side(None, found, (layer % depth if isinstance(layer, int) else 0,), (size,))
    cut = parse(found)[1]
    every = range(layers) if cut is None else range(depth)[cut]
    numbers = every if isinstance(every, range) else [every]
    return Side(None, found, tuple(numbers), (size,) * layers)


def array_side(x: np.ndarray, key: str) -> Side:
    """The columns of an array `(token, unit)`."""
    return Side(None, key, (0,), (int(x.shape[1]),), True)


def named(table: np.ndarray) -> list[str]:
    """`"layer.unit"` of each row of a table of units."""
    return [name(each) for each in table]
