r"""Everything that turns activations into features and back: dictionaries, views of them, neurons."""

import abc
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray, Self

Sites: TypeAlias = str | list[str] | tuple[str, ...]
"A site, or one for each source."


class Coder(eqx.Module):
    r"""$x \mapsto f = E(x)$ and $f \mapsto \hat x = D(f)$.

    An abstract class. A subclass has `encode`, `decode` and `decoder`, whose rows are what the features
    write. Classes of other libraries need not inherit from it: `ji.splice` and the tools of `ji.sae` take
    whatever has `encode` and `decode`, and give the inputs to `decode` where `READS_INPUT` is True.
    """

    decoder: eqx.AbstractVar[JaxArray]
    READS_INPUT: ClassVar[bool] = False  # `decode(f, x)` needs the inputs

    @property
    @abc.abstractmethod
    def d(self) -> int:
        """The width of the rows that it reads."""

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """The number of features."""

    @abc.abstractmethod
    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)` of activations `(..., d)`."""

    @abc.abstractmethod
    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Activations of features `(..., features)`; `x`: the inputs, for classes that need them."""

    def __call__(self, x: ArrayLike) -> JaxArray:
        """The reconstruction of x, `decode(encode(x), x)`."""
        return self.decode(self.encode(x), x)

    @property
    def kind_name(self) -> str:
        """The name of the kind, for messages and titles."""
        return type(self).__name__

    @property
    def writes_back(self) -> bool:
        """Whether it writes to the site that it reads."""
        return not self.READS_INPUT

    def directions(self) -> JaxArray:
        """What a feature of 1 adds to a reconstruction, `(features, d_out)` in float32."""
        return jnp.asarray(self.decoder).astype(jnp.float32)

    def change_at(self, change: JaxArray, x: JaxArray) -> JaxArray:
        """A sum of `directions` in the units of the rows x."""
        return change

    def read_site(self, site: Sites) -> Sites:
        """The site that it reads, or the one of several whose directions `decoder` holds."""
        return site

    def row_mode(self) -> tuple[str | None, "Coder"]:
        """How it normalises rows, or None, and what encodes the normalised rows."""
        return None, self

    def with_origin(self, origin: tuple[str | None, str | None] | None) -> Self:
        """The same with another `Origin`; here there is none to keep."""
        return self


def kind_name(coder: Any) -> str:
    """The name of a dictionary's kind; of other objects the name of their class."""
    return coder.kind_name if isinstance(coder, Coder) else type(coder).__name__
