"""Kinds that other libraries train: read from their files, used, and not trained here."""

from typing import Any

from ._dictionary import Dictionary, Losses, Moment


class Untrained(Dictionary):
    """A dictionary without first weights and without a loss; its encoder may be its decoder."""

    def __init__(self, d: int, features: int, centred: bool = True) -> None:
        super().__init__(d, features, centred=centred)

    @property
    def d(self) -> int:
        """Width of what is read."""
        return self.decoder.shape[-1]

    @property
    def features(self) -> int:
        """Number of features."""
        return self.decoder.shape[0]

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        raise untrained(self)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        raise untrained(self)


def untrained(kind: Any) -> ValueError:
    """What such a kind says when it is to be trained."""
    return ValueError(
        f"A {type(kind).__name__} is read from files of other libraries and is not trained here. "
        "Train a kind that is, for example ji.sae.TopK(d=512, features=4096, k=32)."
    )
