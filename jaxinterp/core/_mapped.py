"""The edit of `ji.map`: any function of a site's value that keeps its shape."""

import re
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from ._arithmetic import named_shape
from ._check import Shapes
from ._edit import Aimed
from ._select import describe
from ._tap import Tap


class Function:
    """The static half of a function and its arguments; equal when both structures are."""

    def __init__(self, leaves: tuple[Any, ...], structure: Any) -> None:
        self.key = (leaves, structure)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, *inputs: Any) -> Any:
        *seen, dynamic = inputs
        leaves, structure = self.key
        static = jax.tree.unflatten(structure, leaves)
        fn, args = eqx.combine(dynamic, static)
        return fn(*seen, *args)


class Mapped(Aimed):
    """`x` becomes `fn(x, args)` or `fn(x, positions, args)` where the selectors hold."""

    value: Any
    "The arrays of the function and of its arguments."
    fn: Function = eqx.field(static=True)
    positions: bool = eqx.field(static=True)
    "Whether `fn` is called with the positions of `x` after it."

    def check(self, shapes: Shapes, count: int) -> None:
        super().check(shapes, count)
        struct = shapes[self.site]
        seen = jax.eval_shape(lambda x: self._inputs(Tap(), x)[1:], struct)
        # The function itself, so that the second call finds what the first one traced.
        try:
            new = jax.eval_shape(self.fn, struct, *seen, self.value)
        except TypeError as error:
            if not (kind := re.search(r"type <class '(\w+)'>, which is not a valid", str(error))):
                raise
            new, returned = None, kind[1]
        else:
            returned = getattr(new, "shape", type(new).__name__)
        if getattr(new, "shape", None) != struct.shape:
            raise ValueError(
                f"{self}: the function must keep the shape {named_shape(self.site, struct.shape)}; "
                f"it returned {returned}."
            )

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        new = self.fn(*self._inputs(tap, x), self.value)
        if new.shape != x.shape:
            raise ValueError(
                f"{self}: generation shows a function one position at a time, here "
                f"{named_shape(site, x.shape)}, and it returned {new.shape}. A function that depends on "
                "positions takes them as its second argument: ji.map(site, fn, with_positions=True)."
            )
        return self.where_selected(tap, x, new.astype(x.dtype)), state

    def _inputs(self, tap: Any, x: Array) -> tuple[Any, ...]:
        """What `fn` reads of a site: the value, and its positions where it takes these."""
        return (x, tap.positions(self.site, x)) if self.positions else (x,)

    def __repr__(self) -> str:
        return describe("map", self.site, self.layers, self.where)
