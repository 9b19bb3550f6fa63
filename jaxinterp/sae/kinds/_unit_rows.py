"""Kinds whose decoder rows keep norm 1."""

from typing import Any

import equinox as eqx

from ...typing import OptimizerLike
from ..training._constraint import unit_rows
from ._kind import Kind
from ._rows import unit_norm


class UnitRowsKind(Kind):
    r"""A kind with $\lVert d_i \rVert = 1$ for every decoder row. An abstract class, for kinds of your own.

    ```python
    kind = ji.sae.Vanilla(d=160, features=320)          # a kind with unit rows
    jnp.linalg.norm(kind.init(key).decoder, axis=1)     # 1 for each row
    ```
    """

    def __init__(self, d: int, features: int, *, matmul: str = "float32", centred: bool = True) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)

    def constrain(self, optimizer: OptimizerLike) -> OptimizerLike:
        """`ji.sae.unit_rows` of the optimizer."""
        return unit_rows(optimizer)

    def project(self, dictionary: Any) -> Any:
        """The same dictionary with decoder rows of norm 1."""
        return eqx.tree_at(lambda s: s.decoder, dictionary, unit_norm(dictionary.decoder))
