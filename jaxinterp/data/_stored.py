"""Batches of activations from disk, by number."""

from pathlib import Path
from typing import Any

import numpy as np

from ..core._sites import parse
from ._activations import check_batch
from ._files import fingerprint
from ._store import Store


class Stored:
    """See `stored`. `batch(i)` is the same array whenever it is asked for."""

    def __init__(self, store: Store, site: str | None, layer: int | None, batch: int, seed: int):
        self.store, self.name, self.layer = store, *_place(store, site, layer)
        self.site, self.size, self.seed = site or self.name, batch, seed
        if batch > len(store):
            raise ValueError(
                f"A batch of {batch} rows cannot be drawn from {len(store)}: give batch={len(store)} or less."
            )

    def __repr__(self) -> str:
        return f"Stored({self.site!r} of {str(self.store.path)!r}: batches of {self.size}, seed {self.seed})"

    def described(self) -> dict[str, Any]:
        """What its batches follow from, as JSON: two that say the same give the same ones."""
        site = self.name if self.layer is None else f"{self.name}[{self.layer}]"
        model = self.store.about["model"]["sha256"]
        return {
            "store": fingerprint(self.store.about),
            "model": model,
            "site": site,
            "batch": self.size,
            "seed": self.seed,
        }

    def batch(self, number: int) -> np.ndarray:
        """Batch `number`, counted from 0 without end: `(batch, d)`, or `(batch, layer, d)`."""
        rows = self.store.rows_of(number, self.size, key=self.seed)
        x = self.store.read(self.name, rows, layer=self.layer)
        stacked = len(self.store.shape(self.name)) > 2 and self.layer is None
        return np.moveaxis(x, 0, 1) if stacked else x


def stored(
    store: Store | str | Path | Any,
    *,
    site: str | None = None,
    layer: int | None = None,
    batch: int = 4096,
    seed: int = 0,
    model: Any = None,
) -> Stored:
    r"""$i \mapsto X_i$ from disk: what `stream` is for activations that are written already.

    Rows of all shards are shuffled anew each epoch, by `seed` and the epoch alone.

    **Arguments:** `store`, or its folder; `site`: one that it holds, or a layer of one,
    `"mlp_post[3]"`; it may be left out where there is one; `layer` of those stored; `model`: checked
    to be the one that the activations are of.

    **Returns:** a `Stored`, with `batch(i)`.

    **Raises:** `BadStore` for a store of another model, or one that is damaged; ValueError for sites
    that it does not hold.

    ```python
    ji.data.save_activations("acts", model, corpus, "resid_post[2]", dtype="int8")
    sae, history = ji.sae.train(kind, ji.data.stored("acts", model=model), key=key, steps=10_000)
    ```

    Law: an epoch holds rows of the store, none of them twice; batch i is always the same.
    """
    check_batch(batch)
    found = store if isinstance(store, Store) else Store(store)
    if model is not None:
        found.check(model)
    return Stored(found, site, layer, int(batch), int(seed))


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
