"""A device as `estimate` knows it: the numbers of its data sheet."""

import dataclasses

import numpy as np

from ..typing import FloatLike

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The speed and the memory of a device, from its data sheet; the defaults are those of one TPU v5e.

    - `products`: operations per second of matrix products in bfloat16; float32 at "highest" takes six passes.
    - `memory`: bytes of memory; `bandwidth`: bytes per second between memory and cores.
    - `links`: bytes per second between chips along one axis of a mesh.

    ```python
    larger = ji.mesh.Chip(memory=32 * 2**30)
    kind = ji.sae.TopK(d=4096, features=2**18, k=32)
    ji.mesh.estimate(kind, shape=4096, chip=larger).fits
    ```
    """

    name: str = "v5e"
    products: FloatLike = 197e12
    memory: FloatLike = 15.75 * GIB
    bandwidth: FloatLike = 819e9
    links: FloatLike = 1e11

    def __post_init__(self) -> None:
        for name in ("products", "memory", "bandwidth", "links"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float | np.number)
                or not 0 < value < np.inf
            ):
                raise ValueError(
                    f"{name} of a chip is a number above 0, as ji.mesh.Chip({name}={getattr(Chip, name):g}); got {value!r}."
                )
        if not isinstance(self.name, str):
            raise ValueError(f"name of a chip is a string, as ji.mesh.Chip(name='v5p'); got {self.name!r}.")


V5E = Chip()
