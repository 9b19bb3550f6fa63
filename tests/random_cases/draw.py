"""Two streams of random numbers: one for what is compiled, one for values.

Cases of one group draw the same structure (sites, kinds of selectors, Python layers, shapes) and
other values, so they share compiled programs.
"""

import zlib
from typing import Any

import numpy as np

from .calls import Normal


class Draw:
    """The numbers of one case: `structure` is that of its group, `values` are its own."""

    def __init__(self, seed: int, kind: str, group: int, member: int) -> None:
        name = zlib.crc32(kind.encode())
        self.group = group
        self.structure = np.random.default_rng([seed, name, group])
        self.values = np.random.default_rng([seed, name, group, member + 1])

    def one_of(self, *choices: Any) -> Any:
        """One of some structures."""
        return choices[self.structure.integers(len(choices))]

    def some_of(self, choices: Any, count: int) -> list[Any]:
        """So many different structures."""
        choices = list(choices)
        return [choices[i] for i in self.structure.permutation(len(choices))[:count]]

    def chance(self, share: float) -> bool:
        """A structure taken in some share of the groups."""
        return bool(self.structure.random() < share)

    def count(self, low: int, high: int) -> int:
        """A number that shapes depend on, `low..high`."""
        return int(self.structure.integers(low, high + 1))

    def ints(self, low: int, high: int, shape: Any = ()) -> np.ndarray:
        """Values in `low..high - 1`."""
        return np.asarray(self.values.integers(low, high, shape), np.int32)

    def bools(self, *shape: int) -> np.ndarray:
        """A mask, at least one True in each row."""
        mask = self.values.random(shape) < 0.5
        np.put_along_axis(mask, self.ints(0, shape[-1], (*shape[:-1], 1)).astype(int), True, -1)
        return mask

    def normal(self, *shape: int, least: float | None = None) -> Normal:
        return Normal(int(self.values.integers(2**31)), shape, least)
