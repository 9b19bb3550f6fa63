"""An edit of many cells of a site at once: those of a mask stay, all others get given values."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..core import Edit
from ..core._check import Shapes


class KeptCells(Edit):
    """A site with the values of another run in every cell that is not kept."""

    value: Array
    "Of the other run, `(layer, *batch, *axes)`."
    keep: Array
    "Which cells stay, `(layer, *axes)`, with an axis of 1 where a cell is whole."
    site: str = eqx.field(static=True)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    @property
    def layers(self) -> None:
        return None

    def per_layer(self, shapes: Shapes) -> "KeptCells":
        return jax.tree.map(lambda _: True, self)

    def apply(self, tap: object, site: str, x: Array, state: None) -> tuple[Array, None]:
        return jnp.where(self.keep, x, self.value.astype(x.dtype)), state


def kept_heads(value: Array, keep: Array) -> KeptCells:
    """The heads of `keep (layer, head)` stay; all others have `z` of another run."""
    return KeptCells(value, keep[:, None, :, None], "z")
