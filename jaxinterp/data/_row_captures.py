"""What is captured of each batch, so that only the rows that count leave the device."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..core._captures import At
from ..corpus._batches import Batch


class RowCaptures(eqx.Module):
    """The captures of a batch, at its own positions."""

    requests: tuple[At, ...]
    pos: Any
    reduce: str | None = eqx.field(static=True)
    by_token: bool = eqx.field(static=True)
    width: int = eqx.field(static=True)
    every: bool = eqx.field(static=True)  # whether all positions count: nothing is masked then

    def __call__(self, batch: Batch) -> list[At]:
        pos: Any = self.pos
        if self.by_token and self.width < batch.tokens.shape[1]:
            pos = chosen_first(batch.positions, self.width)
        elif batch.extra is not None:
            pos = batch.extra
        elif self.reduce is not None and pos is None and not self.every:
            pos = batch.positions
        wanted = []
        for own in self.requests:
            if own.pos is None and own.reduce is None:
                own = At(site=own.site, layers=own.layers, pos=pos, reduce=self.reduce, name=own.name)
            elif own.pos is None and not self.every:
                own = At(
                    site=own.site, layers=own.layers, pos=batch.positions, reduce=own.reduce, name=own.name
                )
            wanted.append(own)
        return wanted


def chosen_first(positions: Any, width: int) -> Any:
    """Columns `(row, width)`, those that count first and in order: only these leave the device."""
    return jnp.argsort(~positions, axis=1, stable=True)[:, :width].astype(jnp.int32)


def taken(batch: Batch, acts: Any) -> Any:
    """What leaves the device of each batch: positions that count, and activations."""
    return batch.positions, dict(acts.items())
