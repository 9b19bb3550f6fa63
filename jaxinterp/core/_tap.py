"""The tap: what a model calls at its sites, and all that it knows of edits and captures.

Model code says `x = tap("z", x)`. The tap of one block applies the edits aimed at the site, in
list order, then records the captures of it, and hands back the value to go on with. One tap lives
for one block of one trace; what it gathered leaves through `recorded`, `states` and `memory`,
which the run carries from block to block.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from ._positions import ordinals
from ._sites import axes_of


class Tap:
    """Applies edits and records captures while one block (or the ends of a model) is traced.

    - `edits` see `jaxinterp.core._edits.Edit`; `states` holds one pytree for each of them;
    - `captures` maps the number of a request to its `jaxinterp.core._captures.At`;
    - `layer` is None at the ends of the model, else the block's number, possibly traced;
    - `start` and `columns` say which positions `x` holds and from where negative ones count:
      generation runs one position at a time, and edits mean the same there;
    - `memory` is the keys and values of earlier positions, or None;
    - `real` is the padding mask `(*batch, pos)`, over all columns that generation will fill.
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
        """Whether an edit is aimed at the site."""
        return any(site in edit.sites for edit in self.edits)

    def named(self, site: str) -> bool:
        """Whether the site must exist: an edit or a capture names it."""
        return self.edited(site) or any(at.site == site for at in self.captures.values())

    def __call__(self, site: str, x: Any) -> Any:
        """The value to go on with: `x`, after the edits aimed at `site`."""
        # The compiler rounds differently when it fuses across a site. Behind a barrier every run
        # computes the same numbers, whoever looks: capturing changes nothing, to the last bit.
        x = lax.optimization_barrier(x)
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

    def past(self, k: Any, v: Any) -> tuple[Any, Any]:
        """The keys and values to attend to: these, written into the remembered ones if any.

        Shapes `(*batch pos kv_head k)`; with a memory the result spans all its columns.
        """
        if self.memory is None:
            return k, v
        axis = k.ndim - 3
        written = [
            lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), self.start, axis)
            for kept, new in zip(self.memory, (k, v), strict=True)
        ]
        self.memory = (written[0], written[1])
        return self.memory

    def indices(self, axis: str, size: int) -> Any:
        """The absolute index of each entry along an axis of a site."""
        offset = self.start if axis in ("pos", "query") else 0
        return jnp.arange(size, dtype=jnp.int32) + jnp.asarray(offset, jnp.int32)

    def numbers(self, axis: str, size: int) -> Any:
        """The number of each entry's token within its prompt `(*batch, size)`, -1 at padding.

        Without padding `(size,)`, the absolute index.
        """
        if self.real is None:
            return self.indices(axis, size)
        offset = self.start if axis in ("pos", "query") else 0
        return lax.dynamic_slice_in_dim(ordinals(self.real), offset, size, self.real.ndim - 1)

    def positions(self, site: str, x: Any) -> Any:
        """The number of each entry's token `(*batch, pos)`; of queries and keys, where a site has both."""
        axes = axes_of(site)
        batch = x.shape[: x.ndim - len(axes)]

        def along(axis: str) -> Any:
            number = self.numbers(axis, x.shape[axes.index(axis) - len(axes)])
            return jnp.broadcast_to(number, (*batch, number.shape[-1]))

        return along("pos") if "pos" in axes else (along("query"), along("key"))

    def prompt_lengths(self) -> Any:
        """How many real tokens each prompt has `(*batch,)`: from where negative positions count."""
        prompt = self.real if self.columns is None else self.real[..., : self.columns]
        return prompt.sum(-1, dtype=jnp.int32)


class SurveyTap(Tap):
    """A tap that asks for every site and notes its shape: what `sites` is made of."""

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
