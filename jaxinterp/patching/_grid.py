"""What a sweep visits: the axes of `over`, as patches of layers and of entries within a site."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core._check import check_selector, concrete, is_int, shown
from ..core._positions import counts_tokens
from ..core._select import POSITIONS
from ..core._sites import axes_of, is_per_layer, parse, unknown
from ..typing import AxesLike, IntLike, SitesLike
from ._pairs import PatchingPair, known_columns

AXES = ("layer", "pos", "head", "query", "key", "unit")
"""The axes that a sweep may go over; `head` is `kv_head` where a site has that."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The cells of a sweep: patches of layers (group) times patches within the site (job).

    `groups` (group, 2): the first and last layer that are patched together. `index[axis]` is the
    entry of each job along an axis of the site, `(job,)` or, for positions, `(batch, job)`.
    `sizes` are the lengths of the axes in the order of `over`, `order` the axes of (group, job...)
    that make them.
    """

    site: str
    groups: np.ndarray
    index: dict[str, np.ndarray]
    sizes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def jobs(self) -> int:
        return next(iter(self.index.values())).shape[-1] if self.index else 1

    def position_sizes(self) -> list[int]:
        """The lengths of its axes of positions."""
        return [size for name, size in zip(self.names, self.sizes, strict=True) if name in POSITIONS]

    def covers_positions(self, pos: int) -> bool:
        """Whether each position begins as many suffixes: all are swept over, the same for all examples."""
        begins = next((self.index[axis] for axis in ("query", "pos", "key") if axis in self.index), None)
        if begins is None or begins.ndim > 1:
            return False
        return len(set(np.bincount(begins, minlength=pos))) == 1

    def arrange(self, values: Any) -> Any:
        """Values (group, job, *rest) with the axes of `over`, in its order, in front."""
        inner = [name for name in self.names if name != "layer"]
        sizes = dict(zip(self.names, self.sizes, strict=True))
        shape = [sizes[name] for name in inner]
        if "layer" in self.names:
            values = values.reshape(len(self.groups), *shape, *values.shape[2:])
            inner = ["layer", *inner]
        else:
            values = values.reshape(*shape, *values.shape[2:])
        order = [inner.index(name) for name in self.names]
        return values.transpose(*order, *range(len(order), values.ndim))


def axis_name(axis: str) -> str:
    """The name under which a sweep goes over an axis of a site."""
    return {"kv_head": "head"}.get(axis, axis if axis in AXES else "unit")


def site_axes(site: str) -> dict[str, int]:
    """The axes of a site that a sweep may go over, and where they are, counted from the last."""
    axes = axes_of(site)
    return {axis_name(axis): i - len(axes) for i, axis in enumerate(axes)}


def make_grid(site: str, over: AxesLike, pair: PatchingPair, adjacent: IntLike = 1) -> Grid:
    """The grid of `over` for a site, checked; `adjacent` layers make a patch."""
    base, written = parse(site)
    shapes, batch = pair.shapes, pair.batch
    if base not in shapes:
        raise unknown(base, shapes)
    if written is not None:
        raise ValueError(
            f"A sweep takes its layers from `over`, and {site!r} names one: write site={base!r}, "
            f"over={{'layer': [{written if isinstance(written, int) else 0}], ...}}."
        )
    axes_over = dict(over) if isinstance(over, Mapping) else dict.fromkeys(_names(over))
    axes = site_axes(base)
    known = (["layer"] if is_per_layer(base) else []) + list(axes)
    for name in axes_over:
        if name not in known:
            hint = " (attention sites have query and key in place of pos)" if name == "pos" else ""
            raise ValueError(
                f"{base!r} has no axis {name!r} to sweep over{hint}; it has {', '.join(known)}: "
                f"over={tuple(known[:2])!r}."
            )
    shape = shapes[base].shape
    index, sizes = {}, []
    inner = [name for name in axes_over if name != "layer"]
    for name in inner:
        index[name] = _entries(name, axes_over[name], shape[axes[name]], batch, base, pair.mask)
    flat = _product([index[name] for name in inner])
    groups = _groups(axes_over.get("layer"), pair.layers, adjacent, base, "layer" in axes_over)
    for name in axes_over:
        sizes.append(len(groups) if name == "layer" else index[name].shape[-1])
    return Grid(base, groups, dict(zip(inner, flat, strict=True)), tuple(sizes), tuple(axes_over))


def chosen_positions(over: AxesLike) -> bool:
    """Whether `over` chooses entries along an axis of positions, which count from the end of the prompts."""
    return isinstance(over, Mapping) and any(over.get(name) is not None for name in POSITIONS)


def check_stackable(grids: Sequence[Grid]) -> None:
    """Several sites come back as one array, so that there is one at least and their axes are equal."""
    if not grids:
        raise ValueError("site names a site, or several: site=('z', 'q', 'k', 'v'); got none.")
    if len({grid.sizes for grid in grids}) > 1:
        sizes = ", ".join(f"{grid.site} {grid.sizes}" for grid in grids)
        raise ValueError(
            f"Several sites come stacked, so they need equal axes; got {sizes}. Ask for them one by one."
        )


def site_names(site: SitesLike) -> tuple[str, ...]:
    """One site or several, as several."""
    if isinstance(site, str):
        return (site,)
    if not isinstance(site, Iterable):
        raise ValueError(f"site names a site, or several: site=('z', 'q', 'k', 'v'); got {shown(site)}.")
    return tuple(site)


def _names(over: Any) -> tuple[str, ...]:
    names = (over,) if isinstance(over, str) else tuple(over) if isinstance(over, Iterable) else ()
    hashable = all(isinstance(name, str | int) for name in names)
    if not names or not hashable or len(set(names)) < len(names):
        raise ValueError(f"`over` names each axis once, at least one: over=('layer', 'pos'); got {over!r}.")
    return names


def _entries(
    name: str, chosen: Any, size: int, batch: tuple[int, ...], site: str, mask: Any = None
) -> np.ndarray:
    """The entries of one axis, counted from 0: `(n,)`, or positions per example `(batch, n)`.

    Chosen positions of padded prompts count real tokens, and become columns per example.
    """
    if chosen is None:
        return np.arange(size, dtype=np.int32)
    if not concrete(chosen):
        raise ValueError(
            f"The entries of {name!r} to sweep over decide what runs, so they are known before: "
            "give NumPy ints, not a traced array."
        )
    entries = np.atleast_1d(np.asarray(chosen))
    if not np.issubdtype(entries.dtype, np.integer) or entries.size == 0:
        raise ValueError(f"Entries of {name!r} are ints, at least one; got {chosen!r}.")
    per_example = name in POSITIONS and entries.ndim == len(batch) + 1 and batch
    if entries.ndim > 1 and not (per_example and entries.shape[:-1] == batch):
        more = f", or one row per example {(*batch, 'n')}" if name in POSITIONS else ""
        raise ValueError(f"Entries of {name!r} are ints (n,){more}; got the shape {entries.shape}.")
    padding = mask if name in POSITIONS else None
    check_selector(name, entries, size, batch, site, padding)
    if counts_tokens(entries, padding):
        if not concrete(padding):
            raise ValueError(
                f"Chosen entries of {name!r} count real tokens where prompts are padded, so the mask "
                "is known before, no traced array. Sweep over all positions, or give columns per "
                "example."
            )
        entries = known_columns(entries, size, padding)
    entries = np.where(entries < 0, entries + size, entries).astype(np.int32)
    return entries.reshape(-1, entries.shape[-1]) if entries.ndim > 1 else entries


def _product(axes: list[np.ndarray]) -> list[np.ndarray]:
    """Each axis's entry at every cell of their product, the last axis fastest."""
    sizes = [entries.shape[-1] for entries in axes]
    cells = np.indices(sizes).reshape(len(sizes), -1) if sizes else []
    return [entries[..., cell] for entries, cell in zip(axes, cells, strict=True)]


def _groups(entries: Any, layers: int, adjacent: IntLike, site: str, swept: bool) -> np.ndarray:
    """First and last layer of each patch; all layers at once where `over` has no layer."""
    if not is_int(adjacent) or adjacent < 1 or (adjacent > 1 and not swept):
        raise ValueError(
            f"adjacent is how many adjacent layers a cell patches, 1 or more, with 'layer' in "
            f"`over`; got {adjacent!r}."
        )
    if not swept:
        return np.asarray([[0, layers - 1]], np.int32)
    at = _entries("layer", entries, layers, (), site)
    first = np.maximum(at - (adjacent - 1) // 2, 0)
    return np.stack([first, np.minimum(at + adjacent // 2, layers - 1)], 1).astype(np.int32)
