"""What an edit is: where it acts, how a tap applies it, and how a list of them is checked."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._check import Shapes
from ._select import Layers, Where
from ._sites import unknown


class Edit(eqx.Module):
    """What a tap knows of an edit. Subclass it to carry state through the layers.

    `sites` names where it acts, `layers` the Python layers it is bound to (None: all, or decided
    by a traced value). `apply` is called at each of its sites, block after block; the state it
    returns comes back at the next call, and starts as `init` of the sites' shapes.
    """

    sites: eqx.AbstractVar[tuple[str, ...]]
    layers: eqx.AbstractVar[Layers]

    def init(self, shapes: Shapes, count: int) -> Any:
        """The state before the first of `count` blocks; `shapes` are those of the sites."""
        return None

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        """The value to go on with, and the state."""
        raise NotImplementedError

    def emit(self, tap: Any, site: str, x: Array) -> None:
        """Calls the tap at the sites that this edit makes, for `ji.sites` to see them."""

    def per_layer(self, shapes: Shapes) -> Any:
        """A tree of bools: the leaves with a leading layer axis, of which a block sees its own."""
        return jax.tree.map(lambda _: False, self)

    def resolve(self, count: int) -> "Edit":
        """The same with layers counted from 0, for a model of `count` layers."""
        return self

    def traced_layers(self) -> "Edit":
        """The same with its Python layers as a mask, for blocks whose number is traced."""
        return self

    def check(self, shapes: Shapes, count: int) -> None:
        """Raises what can be known to be wrong before anything runs."""

    def check_padding(self, shapes: Shapes, real: Any) -> None:
        """The same for prompts with the padding mask `real`."""


class Aimed(Edit):
    """An edit of one site, with selectors."""

    where: Where
    site: str = eqx.field(static=True)
    layers: Layers = eqx.field(static=True)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    def _aim(self, where: Where, layers: Layers) -> "Aimed":
        return eqx.tree_at(
            lambda edit: edit.where,
            _with_static(self, layers=layers),
            where,
            is_leaf=lambda node: node is None,
        )

    def resolve(self, count: int) -> "Edit":
        return self._aim(*self.where.resolve(self.site, self.layers, count))

    def traced_layers(self) -> "Edit":
        if self.layers is None:
            return self
        return self._aim(self.where.with_layer(np.asarray(self.layers, np.int32)), None)

    def check(self, shapes: Shapes, count: int) -> None:
        self.where.check(self.site, shapes[self.site].shape)

    def check_padding(self, shapes: Shapes, real: Any) -> None:
        self.where.check(self.site, shapes[self.site].shape, real)

    def _select(self, tap: Any, x: Array, new: Array) -> Array:
        mask = self.where.mask(tap, self.site, x)
        return new if mask is None else jnp.where(mask, new, x)


def _with_static(module: eqx.Module, **fields: Any) -> Any:
    """A copy of a module with other static fields."""
    copy = object.__new__(type(module))
    for name, value in {**vars(module), **fields}.items():
        object.__setattr__(copy, name, value)
    return copy


def resolve_edits(
    edits: Sequence[Any],
    shapes: Shapes,
    count: int,
    *,
    real: Any = None,
    start: int = 0,
    lenient: int = 0,
) -> tuple[Edit, ...]:
    """Edits with their layers counted from 0, after every check that can be made.

    The first `lenient` ones belong to the model (`intervene`): where a resumed run begins behind
    them they are dropped, while an edit of the call that could never fire is an error.
    """
    kept = []
    for number, edit in enumerate(edits):
        check_edit(edit)
        for site in edit.sites:
            if site not in shapes:
                raise unknown(site, shapes)
        edit = edit.resolve(count)
        early = start > 0 and (
            all(site.split(".")[0] in ("embed", "pos_embed") for site in edit.sites)
            or (edit.layers is not None and all(layer < start for layer in edit.layers))
        )
        if early and number < lenient:
            continue
        if early:
            raise ValueError(
                f"{edit} can never fire: the run resumes at layer {start}. Drop it, or resume earlier."
            )
        edit.check(shapes, count)
        if real is not None:
            edit.check_padding(shapes, real)
        kept.append(edit)
    return tuple(kept)


def check_edit(edit: Any) -> None:
    """What is in a list of edits was made by one of the constructors, or subclasses `Edit`."""
    if not isinstance(edit, Edit):
        raise ValueError(
            "An edit is made by ji.replace, add, scale, zero, project_out, map or splice; "
            f"got {type(edit).__name__}. Write edits=[ji.zero('z', layer=0, head=1)]."
        )
