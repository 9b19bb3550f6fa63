"""The tap: what a model calls at its sites, and all that it knows of edits and captures.

Model code calls `x = tap("z", x)`. The tap of one block applies the edits of the site in the order
of their list, then records the captures of it, and returns the value to go on with. One tap lives
for one block of one trace. What it gathered leaves through `recorded`, `states` and `memory`,
which the run carries from block to block.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from ._positions import POSITIONS, ordinals, selected
from ._sites import axes_of


class Tap:
    """Applies edits and records captures while one block, or an end of a model, is traced.

    - `edits`: of the class `Edit`; `states` holds one pytree for each of them.
    - `captures`: the requests `At`, by their number in the run.
    - `layer`: None at the ends of the model, else the number of the block, which may be traced.
    - `start`, `columns`: the first position that `x` holds, and the length from which negative
      positions count. Generation runs one position at a time, and edits mean the same there.
    - `memory`: the keys and values of all layers and positions, `(layer, *batch, pos, kv_head * k)`
      each, or None. `start` is a Python int while the prompt is read.
    - `real`: the padding mask `(*batch, pos)`, over all columns that generation will fill.
    """

    def __init__(
        self,
        edits: Sequence[Any] = (),
        captures: dict[int, Any] | None = None,
        *,
        states: Sequence[Any] = (),
        layer: Any = None,
        start: Any = 0,
        columns: int | None = None,
        memory: Any = None,
        real: Any = None,
    ) -> None:
        self.edits = edits
        self.captures = captures or {}
        self.states = list(states) if states else [None] * len(edits)
        self.layer = layer
        self.start = start
        self.columns = columns
        self.memory = memory
        self.real = real
        self.recorded: dict[int, Any] = {}

    def edited(self, site: str) -> bool:
        """Whether an edit acts at the site."""
        return any(site in edit.sites for edit in self.edits)

    def named(self, site: str) -> bool:
        """Whether the site must be computed: an edit or a capture names it."""
        return self.edited(site) or any(at.site == site for at in self.captures.values())

    def __call__(self, site: str, x: Any) -> Any:
        """The value to go on with: `x`, after the edits of `site`."""
        # The compiler rounds differently when it fuses across a site. Behind a barrier every run
        # computes the same numbers, so that capturing changes nothing, to the last bit.
        x = lax.optimization_barrier(x)
        x = checkpoint_name(x, site) if site == "z" else x
        for i, edit in enumerate(self.edits):
            if site in edit.sites:
                before = x.dtype, x.shape
                x, self.states[i] = edit.apply(self, site, x, self.states[i])
                assert (x.dtype, x.shape) == before, f"{edit} changed the shape of {site!r}"
                x = lax.optimization_barrier(x)
        for number, at in self.captures.items():
            if at.site == site:
                self.recorded[number] = at.reduced(x, self.real)
        return x

    def past(self, k: Array, v: Array) -> tuple[Array, Array]:
        """The keys and values to attend to: these, written into the remembered ones if there are any.

        Shapes `(*batch pos kv_head k)`. A prompt attends within itself; what comes after it, to all
        columns of the memory.
        """
        if self.memory is None:
            return k, v
        # One slice of the carried stack is written in place: no step copies the memory.
        place = [jnp.asarray(at, jnp.int32) for at in (self.layer, *(0,) * (k.ndim - 3), self.start, 0)]
        self.memory = tuple(
            lax.dynamic_update_slice(whole, lax.collapse(new, k.ndim - 2)[None].astype(whole.dtype), place)
            for whole, new in zip(self.memory, (k, v), strict=True)
        )
        if isinstance(self.start, int):
            return k, v
        read = lambda whole: lax.dynamic_index_in_dim(whole, self.layer, keepdims=False)
        k, v = (
            read(whole).reshape(*whole.shape[1:-1], *new.shape[-2:])
            for whole, new in zip(self.memory, (k, v), strict=True)
        )
        return k, v

    def _offset(self, axis: str) -> Any:
        """The index of the first entry that `x` holds along an axis of a site."""
        return self.start if axis in ("pos", "query") else 0

    def selected(self, axis: str, index: Any, size: int) -> Array:
        """Which entries along an axis of a site a selector names: `(size,)` or `(*batch, size)`."""
        if axis not in POSITIONS:
            return selected(index, size)
        return selected(index, size, self.real, start=self._offset(axis), columns=self.columns)

    def positions(self, site: str, x: Array) -> Any:
        """The number of each entry's token `(*batch, pos)`; of queries and keys, where a site has both.

        It counts within the prompt, from 0, and is -1 at padding.
        """
        axes = axes_of(site)
        batch = x.shape[: x.ndim - len(axes)]

        def along(axis: str) -> Array:
            size, start = x.shape[axes.index(axis) - len(axes)], self._offset(axis)
            if self.real is None:
                number = jnp.arange(size, dtype=jnp.int32) + jnp.asarray(start, jnp.int32)
            else:
                number = lax.dynamic_slice_in_dim(ordinals(self.real), start, size, self.real.ndim - 1)
            return jnp.broadcast_to(number, (*batch, size))

        return along("pos") if "pos" in axes else (along("query"), along("key"))


class ListingTap(Tap):
    """A tap that names every site and notes its shape: what `sites` is made of."""

    def __init__(self, edits: Sequence[Any] = ()) -> None:
        super().__init__(edits)
        self.shapes: dict[str, Any] = {}

    def edited(self, site: str) -> bool:
        return True

    def named(self, site: str) -> bool:
        return True

    def __call__(self, site: str, x: Any) -> Any:
        for edit in self.edits:
            if site in edit.sites:
                edit.emit(self, site, x)
        self.shapes[site] = x
        return x
