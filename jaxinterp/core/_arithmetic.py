"""Edits with one value that broadcasts against the site: replace, add, scale, zero, project_out."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._check import Shapes
from ._edit import Aimed
from ._positions import POSITIONS
from ._select import describe
from ._sites import axes_of, is_per_layer
from ._subspace import without_span


class Arithmetic(Aimed):
    """`x` becomes `fn(x, value)` where the selectors hold; the value broadcasts against the site.

    The value is None where `fn` needs none.
    """

    value: Any
    fn: Callable[[Array, Any], Array] = eqx.field(static=True)

    @property
    def projects(self) -> bool:
        """Whether the value is a set of directions."""
        return self.fn is without_span

    @property
    def extent(self) -> tuple[int, ...]:
        """The value's shape along the site's axes: a set of directions `(..., n, d)` counts as `(..., d)`."""
        shape = () if self.value is None else self.value.shape
        return (*shape[:-2], shape[-1]) if self.projects and len(shape) > 1 else shape

    @property
    def everywhere(self) -> bool:
        """Whether the edit acts in all layers, so that its value may have a layer axis."""
        return self.layers is None and self.where.layer is None and is_per_layer(self.site)

    def per_layer(self, shapes: Shapes) -> Any:
        spec = jax.tree.map(lambda _: False, self)
        if len(self.extent) <= shapes[self.site].ndim:
            return spec
        return eqx.tree_at(lambda edit: edit.value, spec, True)

    def check(self, shapes: Shapes, count: int) -> None:
        super().check(shapes, count)
        site, extent = shapes[self.site].shape, self.extent
        target = (count, *site) if self.everywhere and len(extent) == len(site) + 1 else site
        fits = len(extent) <= len(target) and all(
            size in (1, whole) for size, whole in zip(extent[::-1], target[::-1], strict=False)
        )
        if fits and (not self.projects or extent[-1] == target[-1]):
            return
        stacked = named_shape(self.site, (count, *site), layer=True)
        raise ValueError(
            f"{self}: the value has the shape {tuple(self.value.shape)}, which does not broadcast to the "
            f"site's {named_shape(self.site, site)}"
            + (f", nor stacked over layers to {stacked}" if self.everywhere else "")
            + ". Selectors choose where it lands; they do not change the shape it must have."
            + (_SETS if self.projects else "")
        )

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        if tap.columns is not None and _has_positions(self.extent, site, x):
            return x, state
        value = self.value
        if value is not None and not self.projects:
            value = jnp.broadcast_to(value, x.shape).astype(x.dtype)
        return self.where_selected(tap, x, self.fn(x, value).astype(x.dtype)), state

    def __repr__(self) -> str:
        name = "project_out" if self.projects else self.fn.__name__.lstrip("_")
        return describe(name, self.site, self.layers, self.where)


_SETS = (
    " n directions are (n, d), the subspace they span; axes before these two broadcast against the "
    "site's axes before the last, so sets of directions per position are (pos, n, d), and one "
    "direction per position is (pos, 1, d)."
)


def named_shape(site: str, shape: tuple[int, ...], layer: bool = False) -> str:
    """A shape with its axes named: `(batch=2, pos=5, d=8)`."""
    names = list(axes_of(site))
    batch = len(shape) - len(names) - layer
    names = ["layer"] * layer + ["batch"] * batch + names
    return "(" + ", ".join(f"{n}={s}" for n, s in zip(names, shape, strict=True)) + ")"


def _has_positions(shape: tuple[int, ...], site: str, x: Array) -> bool:
    """Whether a value belongs to the positions of the prompt, so that it does not act on new ones."""
    axes = axes_of(site)
    along = [i - len(axes) for i, axis in enumerate(axes) if axis in POSITIONS]
    return any(len(shape) >= -i and shape[i] not in (1, x.shape[i]) for i in along)
