"""A row of a port: our leaf, the checkpoint's name, and an einops pattern from their layout to ours.

Rows are bijections: the same row reads and writes.

    "blocks.attn.w_{q,k,v}" = ["h.{layer}.attn.c_attn.weight", "d (qkv head k) -> qkv head d k"]

`{layer}` in the name runs over the blocks, and the tensors are stacked on a leading layer axis.
`{q,k,v}` in the leaf spreads the first axis of the right-hand side over several leaves.
"""

import dataclasses
import re
from collections.abc import Mapping

import einops
import numpy as np

from ._errors import listed


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a port: the `leaf` of our model, the `name` of the tensor, and the `pattern` between their axes.

    The pattern is one of einops, from the axes of the checkpoint's tensor to the axes of our leaf.

    ```python
    row = ji.hub.all_ports()["gpt_neox"].rows[0]
    row.leaf, row.name, row.pattern
    ```
    """

    leaf: str
    name: str
    pattern: str
    sizes: Mapping[str, int]

    @property
    def leaves(self) -> tuple[str, ...]:
        """The leaves that share this tensor: one, or those that `{a,b}` spells out."""
        spread = re.fullmatch(r"(.*)\{([\w,]+)\}(.*)", self.leaf)
        if spread is None:
            return (self.leaf,)
        return tuple(f"{spread[1]}{part}{spread[3]}" for part in spread[2].split(","))

    @property
    def stacked(self) -> bool:
        """Whether their name runs over the layers, one tensor each."""
        return "{layer}" in self.name

    def name_of(self, layer: int) -> str:
        return self.name.replace("{layer}", str(layer))

    def axes(self, shape: tuple[int, ...]) -> Mapping[str, int]:
        """The size of every axis in the pattern, for a leaf of `shape` (a single layer of it)."""
        sizes = dict(self.sizes)
        theirs, ours = map(_groups, self.pattern.split("->"))
        full = ((len(self.leaves),) if len(self.leaves) > 1 else ()) + tuple(shape)
        if len(ours) != len(full):
            raise ValueError(
                f"Port row {self.leaf!r}: the pattern {self.pattern!r} makes {len(ours)} axes, and "
                f"the leaf has {len(full)} {full}."
            )
        for group, size in zip(ours, full, strict=True):
            unknown = [axis for axis in group if axis not in sizes]
            rest = size
            for axis in group:
                rest = rest // sizes[axis] if axis in sizes else rest
            if len(unknown) == 1:
                sizes[unknown[0]] = rest
            elif unknown:
                raise ValueError(f"Port row {self.leaf!r}: give the sizes of {listed(unknown)}.")
        if {axis for group in theirs for axis in group} - set(sizes):
            raise ValueError(f"Port row {self.leaf!r}: {self.pattern!r} has axes on one side only.")
        return sizes

    def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of their tensor for a leaf of ours."""
        sizes = self.axes(shape)
        theirs = _groups(self.pattern.split("->")[0])
        return tuple(int(np.prod([sizes[axis] for axis in group], dtype=int)) for group in theirs)

    def leading(self, sizes: Mapping[str, int]) -> tuple[str, int, int] | None:
        """The axis that their tensor begins with: its name, which axis of ours it is, its rows for each entry.

        None where it is no axis of ours by itself.
        """
        theirs, ours = map(_groups, self.pattern.split("->"))
        if not theirs or not theirs[0] or [theirs[0][0]] not in ours:
            return None
        name, *rest = theirs[0]
        return name, ours.index([name]), int(np.prod([sizes[axis] for axis in rest], dtype=int))

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Their tensor as our leaves (views where that is possible)."""
        y = einops.rearrange(theirs, self.pattern, **self.axes(shape))
        return list(y) if len(self.leaves) > 1 else [y]

    def to_theirs(self, ours: list[np.ndarray]) -> np.ndarray:
        """Our leaves as their tensor: the inverse of `to_ours`, bit for bit."""
        left, right = (side.strip() for side in self.pattern.split("->"))
        sizes = self.axes(ours[0].shape)
        return einops.rearrange(
            np.stack(ours) if len(self.leaves) > 1 else ours[0], f"{right} -> {left}", **sizes
        )


def _groups(side: str) -> list[list[str]]:
    return [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\w+", side)]
