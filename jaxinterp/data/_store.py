"""Activations on disk: shards that are mapped, not loaded, and a manifest that says what they are."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._read import check, shown
from ..corpus._model_hash import model_hash
from ..typing import PathLike
from ._files import BadStore, open_array, read_json
from ._int8 import Codes, decode
from ._layout import FORMAT, MANIFEST, MODEL, RECORD, SITE, VERSION, dtype_of, file_name
from ._order import seeds_of


class Store:
    r"""$i \mapsto X_i$ from disk: the rows that `save_activations` wrote, by index or by batch.

    Opening reads the manifest alone; shards are memory-mapped on first use. Nothing is
    unpickled, and no file outside of the folder is opened.

    - `len(store)`: rows; `store.sites`: names; `store.index` `(row,)`: `seq * ctx + pos` of each
      token, or the number of each sequence;
    - `store.finished`: whether every shard is there; `store.shards`: `(first row, last row)`;
    - `store.max_error`: by site, the largest difference between what was stored and what the model
      gave, measured while writing (0 unless stored in a smaller dtype or int8);
    - `store.about`: the record of the manifest: model, data, site, versions.

    **Raises:** `BadStore` (a `ValueError`) for a folder that is damaged, of another format, or
    unfinished when all rows are needed; `FileNotFoundError` where there is none.

    ```python
    store = ji.data.Store(path)
    x = store.read("mlp_post", layer=2)                 # (row, ff)
    for rows, x in store.batches(256, site="mlp_post", key=jax.random.key(0)):
        ...
    ```

    Law: reads what `ji.data.activations` returns for the same request, up to `max_error`.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        manifest = self.path / "manifest.json"
        if not manifest.is_file():
            raise FileNotFoundError(
                f"{self.path} holds no manifest.json, so it is no store. Make one: "
                "ji.data.save_activations(path, model, tokens, site)."
            )
        self.about: dict[str, Any] = read_json(manifest)
        self._shuffled: tuple[tuple[list[int], int], np.ndarray] | None = None
        self._read_manifest(manifest)

    def _read_manifest(self, manifest: Path) -> None:
        if not isinstance(self.about, dict) or self.about.get("format") != FORMAT:
            raise BadStore(f"{self.path} is no store of activations of this library.")
        if self.about.get("version") != VERSION:
            raise BadStore(
                f"{self.path} is written in version {shown(self.about.get('version'))} of the format; this "
                f"is version {VERSION}. Write it again, or take the version that wrote it."
            )
        check(manifest, self.about, MANIFEST, required=MANIFEST, error=BadStore)
        check(f"{manifest}, model", self.about["model"], MODEL, required=MODEL, error=BadStore)
        self.int8 = self.about["int8"]
        bounds = list(self.about["shards"])
        if len(bounds) < 2 or bounds[0] != 0 or any(np.diff(bounds) <= 0):
            raise BadStore(f"{self.path}: the manifest's shards do not follow each other: {shown(bounds)}.")
        self.shards = list(itertools.pairwise(bounds))
        self._bounds = np.asarray(bounds)
        self.sites: list[str] = []
        self._shapes: list[tuple[int | None, tuple[int, ...], np.dtype]] = []
        for site in self.about["sites"]:
            check(f"{manifest}, sites", site, SITE, required=SITE, error=BadStore)
            layers, row = site["layers"], tuple(site["row"])
            self.sites.append(site["name"])
            self._shapes.append((layers, row, dtype_of(site["dtype"], self.path)))

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def __repr__(self) -> str:
        done = sum(self._record(i) is not None for i in range(len(self.shards)))
        sites = ", ".join(
            f"{name} {list(self.shape(name))} {'int8' if self.int8 else shape[2]}"
            for name, shape in zip(self.sites, self._shapes, strict=True)
        )
        return f"Store({str(self.path)!r}: {sites}; {done} of {len(self.shards)} shards)"

    def shape(self, site: str | None = None) -> tuple[int, ...]:
        """The shape of all of a site, `(*layer, row, ...)`."""
        layers, row, _ = self._shapes[self._site(site)]
        return (*(() if layers is None else (layers,)), len(self), *row)

    @property
    def index(self) -> np.ndarray:
        """`(row,)`: `seq * ctx + pos` of each token, or the number of each sequence."""
        path = self.path / "index.npy"
        return np.asarray(open_array(path, self.path, np.dtype(np.int64), (len(self),)))

    @property
    def finished(self) -> bool:
        """Whether every shard is written."""
        return all(self._record(i) is not None for i in range(len(self.shards)))

    def has(self, shard: int) -> bool:
        """Whether a shard is written and its files are what the manifest says."""
        try:
            for site in range(len(self.sites)):
                self._codes(site, shard)
        except BadStore:
            return False
        return True

    @property
    def max_error(self) -> Mapping[str, float]:
        """By site, the largest error of what is stored, measured as it was written."""
        records = [self._done(i) for i in range(len(self.shards))]
        return {
            name: max(float(record["max_error"][i]) for record in records)
            for i, name in enumerate(self.sites)
        }

    def check(self, model: Any) -> None:
        """Raises `BadStore` unless the activations are this model's, by the hash of its weights."""
        if (found := model_hash(model)) != self.about["model"]["sha256"]:
            raise BadStore(
                f"{self.path} holds activations of another model: weights "
                f"{self.about['model']['sha256'][:12]}, and these are {found[:12]}."
            )

    def read(self, site: str | None = None, rows: Any = None, *, layer: int | Any | None = None) -> Any:
        """Rows as an array `(*layer, row, ...)`; of all sites, where there are several, a dict.

        **Arguments:**

        - `site`: the site to read; it may be left out when the store has one site.
        - `rows`: by default None, all rows; a slice, or ints in any order.
        - `layer`: number of one stored layer; by default None, all layers. With a number the layer axis is
          dropped.
        """
        if site is None and len(self.sites) > 1:
            return {name: self.read(name, rows, layer=layer) for name in self.sites}
        which = self._site(site)
        layers, row, dtype = self._shapes[which]
        if layer is not None:
            if layers is None:
                raise ValueError(f"{self.sites[which]!r} is stored without a layer axis; drop layer=.")
            if not -layers <= layer < layers:
                raise IndexError(f"{self.sites[which]!r} is stored at {layers} layers; got layer={layer}.")
        rows = self._rows(rows)
        lead = (layers,) if layers is not None and layer is None else ()
        stacked = bool(lead)
        out = np.empty((*lead, len(rows), *row), np.float32 if self.int8 else dtype)
        shard_of = np.searchsorted(self._bounds, rows, side="right") - 1
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            inside = rows[here] - self._bounds[shard]
            if len(inside) > 1 and (np.diff(inside) == 1).all():
                inside = slice(int(inside[0]), int(inside[-1]) + 1)
            codes = self._codes(which, int(shard))
            x, offset, scale = codes
            if layer is not None:
                x = x[layer]
                offset, scale = offset[layer] if self.int8 else offset, scale[layer] if self.int8 else scale
            x = x[:, inside] if stacked else x[inside]
            if self.int8:
                x = decode(Codes(x, offset, scale), axis=int(stacked))
            if stacked:
                out[:, here] = x
            else:
                out[here] = x
        return out

    def find(self, index: Any) -> np.ndarray:
        """The rows of given tokens (`seq * ctx + pos`) or sequences; `IndexError` if one is absent."""
        mine, index = self.index, np.asarray(index)
        rows = np.minimum(np.searchsorted(mine, index), len(mine) - 1)
        if (mine[rows] != index).any():
            missing = index[mine[rows] != index]
            raise IndexError(
                f"{len(missing)} of the {index.size} requested rows are not in the store (the first is "
                f"{missing.flat[0]}): its positions left them out."
            )
        return rows

    def batch(self, number: int | Any, size: int | Any, *, site: str | None = None, key: Any = None) -> Any:
        """Batch `number` of an endless series: `(rows, x)`, whichever batches came before.

        Each epoch visits every row once. With a `key` each epoch has another order. The same number always
        gives the same batch, so a run can resume at any batch. Rows that do not fill the last batch of
        an epoch are left out of that epoch.

        **Arguments:**

        - `number`: the number of the batch, from 0 without end.
        - `size`: rows of a batch.
        - `site`: as in `read`.
        - `key`: a `jax.random.key` for a new order in each epoch; by default None, the order of the store.
        """
        rows = self.rows_of(number, size, key=key)
        return rows, self.read(site, rows)

    def rows_of(self, number: int | Any, size: int | Any, *, key: Any = None) -> np.ndarray:
        """Which rows `batch` reads."""
        if not 1 <= size <= len(self):
            raise ValueError(f"A batch has 1..{len(self)} rows of this store; got size={size}.")
        if number < 0:
            raise IndexError(f"Batches count from 0; got {number}.")
        epoch, place = divmod(number, len(self) // size)
        rows = np.arange(place * size, (place + 1) * size)
        return rows if key is None else self._order(key, epoch)[rows]

    def _order(self, key: Any, epoch: int) -> np.ndarray:
        seeds = seeds_of(key, "store.batches(..., key={})")
        if self._shuffled is None or self._shuffled[0] != (seeds, epoch):
            own = [*np.random.default_rng(seeds).integers(2**32, size=4), epoch]
            self._shuffled = (seeds, epoch), np.random.default_rng(own).permutation(len(self))
        return self._shuffled[1]

    def batches(
        self,
        size: int,
        *,
        site: str | None = None,
        key: Any = None,
        start: int = 0,
        epochs: int = 1,
    ) -> Iterator[Any]:
        """`batch(start), batch(start + 1), ...` to the end of so many epochs.

        **Arguments:**

        - `size`, `site`, `key`: as in `batch`.
        - `start`: number of the first batch; 0 by default.
        - `epochs`: the series ends after so many epochs; 1 by default.
        """
        for number in range(start, epochs * (len(self) // size if size else 0)):
            yield self.batch(number, size, site=site, key=key)

    def _site(self, site: str | None) -> int:
        if site is None and len(self.sites) == 1:
            return 0
        if site not in self.sites:
            raise ValueError(f"This store holds {self.sites}; got site={site!r}.")
        return self.sites.index(site)

    def _rows(self, rows: Any) -> np.ndarray:
        n = len(self)
        if rows is None or isinstance(rows, slice):
            return np.arange(n)[rows or slice(None)]
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == (n,):
            return np.flatnonzero(rows)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                f"rows are a slice, ints (n,) or a mask ({n},); got {rows.shape} of {rows.dtype}."
            )
        if rows.size and not (-n <= rows.min() and rows.max() < n):
            raise IndexError(f"This store has the rows 0..{n - 1}; got {rows.min()}..{rows.max()}.")
        return np.where(rows < 0, rows + n, rows)

    def _codes(self, site: int, shard: int) -> Codes:
        self._done(shard)
        layers, row, dtype = self._shapes[site]
        first, last = self.shards[shard]
        lead = () if layers is None else (layers,)

        def load(kind: str, of: Any, shape: tuple[int, ...]) -> np.ndarray:
            path = self.path / file_name(site, shard, kind)
            return open_array(path, self.path, np.dtype(of), shape)

        if not self.int8:
            return Codes(load("x", dtype, (*lead, last - first, *row)), np.empty(0), np.empty(0))
        return Codes(
            load("x", np.uint8, (*lead, last - first, *row)),
            load("offset", np.float32, (*lead, *row)),
            load("scale", np.float32, (*lead, *row)),
        )

    def _record(self, shard: int) -> Any:
        """What was noted when a shard was complete, or None: its files may be there in part."""
        path = self.path / f"{shard:06d}.json"
        return read_json(path) if path.is_file() else None

    def _done(self, shard: int) -> Any:
        record = self._record(shard)
        if record is None:
            raise BadStore(
                f"{self.path} is not finished: shard {shard} of {len(self.shards)} is missing. "
                "Call save_activations again with the same arguments; it writes the missing shards."
            )
        where = f"{self.path}: the record of shard {shard}"
        check(where, record, RECORD, required=RECORD, error=BadStore)
        if len(record["max_error"]) != len(self.sites):
            raise BadStore(f"{where} is damaged: it is of {len(record['max_error'])} sites.")
        return record
