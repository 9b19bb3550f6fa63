r"""Losses that are a function of sums over features: they can be computed from some of the features at a time."""

import abc
from typing import Any, NamedTuple, TypeAlias

from ...typing import JaxArray
from ._kind import Kind
from ._losses import Losses, Progress

Terms: TypeAlias = dict[str, JaxArray]
"Arrays by name: the terms of a loss, the sums that they are made of, or new values of weights."


class Part(NamedTuple):
    """What some of the features add to a loss.

    - `sums`: arrays by name that are added over the parts, such as reconstructions `(batch, d_out)`.
    - `features (batch, part)`: the values of these features.
    """

    sums: Terms
    features: JaxArray


class PartPlace(NamedTuple):
    """Which features a part has.

    - `first ()`: the number of its first feature.
    - `choice`: what `PartsKind.choice` returned; None where the part has all features.
    """

    first: JaxArray | int = 0
    choice: Any = None


class PartsKind(Kind):
    r"""A kind with the loss $L(\sum_p S(\theta_p, x), x, y)$, in which p goes over parts of the features.

    An abstract class. `part` is S, and `terms` is L. With `max_bytes` a training needs no array of all features of a
    batch, and never holds the whole gradient.
    """

    def __init__(self, d: int, features: int, *, matmul: str = "float32", centred: bool = True) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)

    @abc.abstractmethod
    def part(self, dictionary: Any, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """What the features of `dictionary` add, which are some of its features or all."""

    @abc.abstractmethod
    def terms(self, dictionary: Any, sums: Terms, x: JaxArray, y: JaxArray, now: Progress) -> Terms:
        """The terms of the loss by name. Of `dictionary` it reads no array that has an axis of features."""

    def loss(self, dictionary: Any, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The loss of all features as one part."""
        part = self.part(dictionary, x, now, PartPlace())
        return Losses.of(self.terms(dictionary, part.sums, x, y, now), part.features)

    def choice(self, dictionary: Any, x: JaxArray, now: Progress, most: int) -> Any:
        """What parts must know of all features, such as the cuts of rows, from `most` entries at a time; None by default."""
        return None

    def updates(self, dictionary: Any, least: JaxArray, now: Progress) -> Terms:
        """New values by name of arrays that no gradient trains; `least ()` is the smallest feature above 0, or infinity."""
        return {}

    @property
    def grain(self) -> int:
        """The number of features."""
        return self.features
