"""Views: what stands around a dictionary and hands it other rows than it is given."""

from typing import Any, ClassVar

import equinox as eqx

from ...typing import JaxArray, Self
from ._coder import Coder


class View(Coder):
    """An `inner` dictionary that reads other rows; `decode(f, x)` needs the inputs. An abstract class."""

    inner: eqx.AbstractVar[Any]

    READS_INPUT: ClassVar[bool] = True

    @property
    def d(self) -> int:
        """The width of a row of the inner dictionary."""
        return self.inner.d

    @property
    def features(self) -> int:
        """The number of features."""
        return self.inner.features

    @property
    def decoder(self) -> JaxArray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The decoder of the inner dictionary `(features, d)`."""
        return self.inner.decoder

    @property
    def origin(self) -> Any:
        """The `Origin` of the inner dictionary."""
        return self.inner.origin

    def with_origin(self, origin: tuple[str | None, str | None] | None) -> Self:
        """The same view of a dictionary with another `Origin`."""
        return eqx.tree_at(lambda view: view.inner, self, self.inner.with_origin(origin))

    def directions(self) -> JaxArray:
        """What a feature of 1 adds to a reconstruction by the inner dictionary."""
        return self.inner.directions()
