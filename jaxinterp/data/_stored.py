"""Batches of activations from disk, by number."""

import jax
import numpy as np

from .._deprecations import respelled
from ..core._sites import parse
from ..corpus._size import check_batch_size
from ..typing import JSON, KeyLike, ModelLike, PathLike
from ._files import fingerprint
from ._order import seeds_of
from ._store import Store


class Stored:
    """Batches of stored activations by number, made by `ji.data.stored`. `batch(i)` is the same array at each call.

    ```python
    batches = ji.data.stored(path, site="mlp_post", layer=1, batch_size=32)
    batches.batch(3).shape                              # (batch, ff)
    ```
    """

    def __init__(
        self, store: Store, site: str | None, layer: int | None, batch_size: int, key: KeyLike | None
    ) -> None:
        self.store, self.name, self.layer = store, *_place(store, site, layer)
        self.site, self.size = site or self.name, batch_size
        self.seeds = seeds_of(key, "ji.data.stored(..., key={})")
        self.key = jax.random.key(0) if key is None else key
        if batch_size > len(store):
            raise ValueError(
                f"A batch of {batch_size} rows cannot be drawn from {len(store)}: give "
                f"batch_size={len(store)} or less."
            )

    def __repr__(self) -> str:
        return f"Stored({self.site!r} of {str(self.store.path)!r}: batches of {self.size})"

    def described(self) -> JSON:
        """What its batches follow from, as JSON: two with equal descriptions give equal batches."""
        site = self.name if self.layer is None else f"{self.name}[{self.layer}]"
        model = self.store.about["model"]["sha256"]
        return {
            "store": fingerprint(self.store.about),
            "model": model,
            "site": site,
            "batch_size": self.size,
            "key": self.seeds,
        }

    def batch(self, number: int) -> np.ndarray:
        """Batch `number`, counted from 0 without end: `(batch, d)`, or `(batch, layer, d)`."""
        rows = self.store.rows_of(number, self.size, key=self.key)
        x = self.store.read(self.name, rows, layer=self.layer)
        stacked = len(self.store.shape(self.name)) > 2 and self.layer is None
        return np.moveaxis(x, 0, 1) if stacked else x


@respelled(batch="batch_size=", seed="key=jax.random.key(0)")
def stored(
    store: "Store | PathLike",
    *,
    site: str | None = None,
    layer: int | None = None,
    batch_size: int = 4096,
    key: KeyLike | None = None,
    model: ModelLike | None = None,
) -> Stored:
    r"""$i \mapsto X_i$ from disk: batches of activations that `ji.data.save_activations` has written.

    `ji.data.stream` computes the activations instead. Rows of all shards are shuffled in each epoch; the order
    follows from `key` and the number of the epoch.

    **Arguments:**

    - `store`: a `Store`, or its folder.
    - `site`: one that it holds, or a layer of one, `"mlp_post[3]"`; not needed where there is one.
    - `layer`: of those stored.
    - `batch_size`: rows of a batch, 4096 by default.
    - `key`: of the order; by default `jax.random.key(0)`.
    - `model`: checked to be the one that the activations are of.

    **Returns:** a `Stored`, with `batch(i)`.

    **Raises:** `BadStore` for a store of another model, or one that is damaged; ValueError for sites
    that it does not hold.

    ```python
    ji.data.save_activations("stream", model, corpus, "resid_post[2]", dtype="int8")
    batches = ji.data.stored("stream", model=model, batch_size=32)
    sae, history = ji.sae.train(kind, batches, key=key, steps=10_000)
    ```

    Law: an epoch holds rows of the store, none of them twice; batch i is always the same.
    """
    check_batch_size(batch_size)
    found = store if isinstance(store, Store) else Store(store)
    if model is not None:
        found.check(model)
    return Stored(found, site, layer, int(batch_size), key)


def _place(store: Store, site: str | None, layer: int | None) -> tuple[str, int | None]:
    if site is None and len(store.sites) == 1:
        site = store.sites[0]
    if site is not None and site not in store.sites and layer is None:
        base, number = parse(site)
        if base in store.sites and isinstance(number, int):
            return base, number
    if site not in store.sites:
        raise ValueError(
            f"This store holds {store.sites}; got site={site!r}. Name one: "
            f"ji.data.stored(store, site={store.sites[0]!r})."
        )
    return site, layer
