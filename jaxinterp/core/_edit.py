"""What an edit is: where it acts, how a tap applies it, and how a list of edits is checked."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..typing import EditsLike
from ._check import Shapes, kind_of
from ._select import Layers, Where
from ._sites import stage_of, unknown


class Edit(eqx.Module):
    """The base class of edits. `ji.map` makes most edits; write a subclass for one that carries state through layers.

    - `sites`: the sites at which the edit acts.
    - `layers`: the layers at which it acts, where they are known before the run; None stands for all
      layers, or for those that a traced value decides.

    `apply` is called at each of the sites, block after block. The state that it returns is passed to
    the next call. The first state is the result of `init`.

    ```python
    class Quieter(ji.Edit):
        sites: tuple = eqx.field(static=True, default=("mlp_out",))
        layers: None = eqx.field(static=True, default=None)

        def init(self, shapes, count):
            return jnp.float32(1.0)

        def apply(self, tap, site, x, state):
            return state.astype(x.dtype) * x, 0.5 * state  # each MLP writes half as much as the one before

    logits, _ = ji.run(model, tokens, edits=[Quieter()])
    ```
    """

    if TYPE_CHECKING:  # fields or properties of subclasses
        sites: Any = eqx.field(init=False)
        layers: Any = eqx.field(init=False)
    else:
        sites: eqx.AbstractVar[tuple[str, ...]]
        layers: eqx.AbstractVar[Layers]

    def init(self, shapes: Shapes, count: int) -> Any:
        """The state before the first of `count` blocks; `shapes` are those of the sites."""
        return None

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        """The new value of the site, and the state for the next call."""
        raise NotImplementedError

    def emit(self, tap: Any, site: str, x: Array) -> None:
        """Calls the tap at the new sites that this edit makes, so that `ji.sites` lists them."""

    def per_layer(self, shapes: Shapes) -> Any:
        """A tree of bools: True at leaves with a leading layer axis, of which each block gets its own."""
        return jax.tree.map(lambda _: False, self)

    def resolve(self, count: int) -> "Edit":
        """The same with layers counted from 0, for a model of `count` layers."""
        return self

    def traced_layers(self) -> "Edit":
        """The same with its Python layers as a mask, for blocks whose number is traced."""
        return self

    def check(self, shapes: Shapes, count: int) -> None:
        """Raises what is known to be wrong before anything runs."""

    def check_padding(self, shapes: Shapes, real: Any) -> None:
        """The same for prompts with the padding mask `real`."""


class Aimed(Edit):
    """An edit of one site, at what its selectors name."""

    where: Where
    site: str = eqx.field(static=True)
    layers: Layers = eqx.field(static=True)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    def resolve(self, count: int) -> "Edit":
        where, layers = self.where.resolve(self.site, self.layers, count)
        return dataclasses.replace(self, where=where, layers=layers)

    def traced_layers(self) -> "Edit":
        if self.layers is None:
            return self
        where = self.where.with_layer(np.asarray(self.layers, np.int32))
        return dataclasses.replace(self, where=where, layers=None)

    def check(self, shapes: Shapes, count: int) -> None:
        self.where.check(self.site, shapes[self.site].shape)

    def check_padding(self, shapes: Shapes, real: Any) -> None:
        self.where.check(self.site, shapes[self.site].shape, real)

    def where_selected(self, tap: Any, x: Array, new: Array) -> Array:
        """`new` where the selectors hold, `x` elsewhere."""
        mask = self.where.mask(tap, self.site, x)
        return new if mask is None else jnp.where(mask, new, x)


def resolve_edits(
    edits: Sequence[Edit],
    shapes: Shapes,
    count: int,
    *,
    real: Any = None,
    start: int = 0,
    of_model: int = 0,
) -> tuple[Edit, ...]:
    """Edits with their layers counted from 0, after every check that is possible before the run.

    The first `of_model` edits belong to the model (`intervene`). Where a run resumes behind one of
    these, it is dropped; an edit of the call that can never fire is an error.
    """
    resolved = []
    for number, edit in enumerate(edits):
        for site in edit.sites:
            if site not in shapes:
                raise unknown(site, shapes)
        edit = edit.resolve(count)
        early = start > 0 and (
            all(stage_of(site) == "start" for site in edit.sites)
            or (edit.layers is not None and all(layer < start for layer in edit.layers))
        )
        if early and number < of_model:
            continue
        if early:
            raise ValueError(
                f"{edit} can never fire: the run resumes at layer {start}. Drop it, or resume earlier."
            )
        edit.check(shapes, count)
        if real is not None:
            edit.check_padding(shapes, real)
        resolved.append(edit)
    return tuple(resolved)


def as_edits(edits: EditsLike | None) -> tuple[Edit, ...]:
    """One edit, several or none, as a tuple of checked edits."""
    if edits is None or isinstance(edits, Edit):
        return () if edits is None else (edits,)
    if not isinstance(edits, Iterable):
        raise ValueError(
            f"edits is an edit or a list of them; got {kind_of(edits)}. Write edits=[ji.zero('z', layer=0, head=1)]."
        )
    several = tuple(edits)
    for edit in several:
        if not isinstance(edit, Edit):
            raise ValueError(
                "An edit is made by ji.replace, add, scale, zero, project_out, map or splice; "
                f"got {type(edit).__name__}. Write edits=[ji.zero('z', layer=0, head=1)]."
            )
    return several
