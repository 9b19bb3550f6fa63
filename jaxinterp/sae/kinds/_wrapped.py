"""What stands before a dictionary and hands it other rows than it was given."""

from typing import Any, ClassVar

import equinox as eqx


class Wrapped(eqx.Module):
    """An `inner` dictionary with its sizes; `decode(f, x)` needs the inputs again."""

    inner: Any

    READS_INPUT: ClassVar[bool] = True

    @property
    def d(self) -> int:
        """Width of a row of the inner dictionary."""
        return self.inner.d

    @property
    def features(self) -> int:
        """Number of features."""
        return self.inner.features

    @property
    def decoder(self) -> Any:
        """Rows of the inner dictionary `(features, d)`."""
        return self.inner.decoder

    def encode(self, x: Any) -> Any:
        """Features of what is read."""
        raise NotImplementedError

    def decode(self, f: Any, x: Any) -> Any:
        """What is written in place of x."""
        raise NotImplementedError

    def __call__(self, x: Any) -> Any:
        """The reconstruction of x."""
        return self.decode(self.encode(x), x)
