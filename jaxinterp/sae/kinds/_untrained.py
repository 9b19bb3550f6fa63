"""Kinds that other libraries train: read from their files, used, and not trained here."""

from typing import Any, NoReturn

from ...typing import JaxArray, KeyLike
from ._kind import Kind
from ._losses import Progress


class UntrainedKind(Kind):
    """A kind without first weights, without a loss and without an optimizer. An abstract class."""

    def __init__(self, d: int, features: int, *, centred: bool = True) -> None:
        super().__init__(d, features, centred=centred)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> NoReturn:
        """Raises ValueError."""
        raise self._untrained()

    def loss(self, dictionary: Any, x: JaxArray, y: JaxArray, now: Progress) -> NoReturn:
        """Raises ValueError."""
        raise self._untrained()

    def optimizer(self, steps: int) -> NoReturn:
        """Raises ValueError."""
        raise self._untrained()

    def _untrained(self) -> ValueError:
        return ValueError(
            f"A {type(self).__name__} is read from files of other libraries and is not trained here. "
            "Train a kind that is, for example ji.sae.TopK(d=512, features=4096, k=32)."
        )
