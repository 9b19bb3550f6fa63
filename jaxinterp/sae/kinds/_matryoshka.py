r"""Matryoshka: nested prefixes of the features each reconstruct alone, the general ones first."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, Self
from ._batch_topk import BatchLargestKind, BatchThresholdDictionary
from ._kind import INIT
from ._losses import Losses, Progress
from ._parts import PartPlace, Terms
from ._product import products_of_parts
from ._rows import align


@final
class MatryoshkaDictionary(BatchThresholdDictionary["Matryoshka"]):
    r"""$f = \mathrm{ReLU}(\pi)\,[\pi > \theta]$, whose first features reconstruct without the rest."""

    threshold: JaxArray

    def prefix(self, group: int) -> Self:
        """The dictionary of the first groups alone, up to the group of this number from 0."""
        ends, kind = self.kind.prefixes[: group + 1 or None], self.kind
        end, groups = ends[-1], np.diff(np.asarray([0, *ends])) / ends[-1]
        return self.replace(
            kind=kind.replace(
                features=end, k=min(kind.k, end), aux=min(kind.aux, end), groups=tuple(groups.tolist())
            ),
            encoder=self.encoder[:, :end],
            encoder_bias=self.encoder_bias[:end],
            decoder=self.decoder[:end],
        )

    def prefix_errors(self, f: JaxArray, target: JaxArray, pre: JaxArray | None = None) -> Iterator[JaxArray]:
        """The error of each prefix `(batch, d)` in turn, of features and targets in scaled units.

        `pre`: the pre-activations among which the features were chosen, which then get the gradient.
        """
        error = target - align(self.bias, target)
        for part in products_of_parts(f, self.decoder, self.kind.prefixes, self.kind.matmul, pre):
            error = error - part
            yield error

    def share_of(self, x: JaxArray, y: JaxArray | None = None) -> JaxArray:
        """The share of variance unexplained by each prefix `(group,)`, with the threshold of inference."""
        target = (x if y is None else y) * self.scale
        errors = self.prefix_errors(self.encode(x), target)
        return jnp.stack([self.kind.share(error, target) for error in errors])


@final
class Matryoshka(BatchLargestKind):
    r"""$\frac1G \sum_g \mathrm{FVU}(x, \hat x_{1..m_g})$ + AuxK, over nested prefixes $m_1 < \dots < m_G$.

    It is a `BatchTopK` in which the first $m_g$ features must reconstruct without the others. So general
    features are not absorbed by special ones. Bussmann et al. 2025 (https://arxiv.org/abs/2503.17547).

    **Arguments:** those of `BatchTopK`, and

    - `groups`: shares of the features, which add up to 1; by default 1/32, 1/16, 1/8, 1/4 and the rest.

    ```python
    sae, history = ji.sae.train(ji.sae.Matryoshka(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    sae.prefixes
    ```

    Law: with one group it is BatchTopK.
    """

    prefixes: tuple[int, ...] = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        groups: Sequence[float] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32),
        alpha: ArrayLike = 1 / 32,
        aux: int | None = None,
        dead_tokens: int = 10_000_000,
        centred: bool = True,
        matmul: str = "float32",
    ) -> None:
        ends, total = [], 0.0
        for part in groups:
            total += float(part)
            ends.append(round(total * features))
        if not ends or abs(total - 1) > 1e-6 or sorted({0, *ends}) != [0, *ends]:
            raise ValueError(
                "groups are shares of the features that add up to 1 and leave none empty, as "
                f"(1/4, 1/4, 1/2); got {groups} of {features} features, prefixes {ends}."
            )
        self.prefixes = tuple(ends)
        # Equinox keeps the constructor of `LargestKind`; pyright thinks that fields make another.
        super().__init__(  # pyright: ignore[reportCallIssue]
            d=d,
            features=features,
            k=k,
            alpha=alpha,
            aux=aux,
            dead_tokens=dead_tokens,
            centred=centred,
            matmul=matmul,
        )

    @property
    def groups(self) -> tuple[float, ...]:
        """The shares of the features."""
        return tuple((np.diff(np.asarray([0, *self.prefixes])) / self.features).tolist())

    def dictionary(self, **arrays: Any) -> MatryoshkaDictionary:
        """The dictionary of these arrays."""
        return MatryoshkaDictionary(kind=self, **arrays)

    def init(
        self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None
    ) -> MatryoshkaDictionary:
        """First weights as those of `TopK`, and a threshold of 0."""
        return self.dictionary(**self.first_arrays(key, x))

    @property
    def grain(self) -> int:
        """The greatest common divisor of the prefixes: a part lies in one group."""
        return math.gcd(*self.prefixes)

    def decoded(self, dictionary: Any, f: JaxArray, place: PartPlace) -> Terms:
        """The reconstruction by the group of a part, in its place among the groups `(group, batch, d)`."""
        group = jnp.sum(jnp.asarray(self.prefixes, jnp.int32) <= place.first)
        decoded = dictionary.product(f, dictionary.decoder)
        blank = jnp.zeros((len(self.prefixes), *decoded.shape), decoded.dtype)
        return {"decoded": blank.at[group].set(decoded)}

    def errors(self, dictionary: Any, sums: Terms, target: JaxArray) -> list[JaxArray]:
        """The error of each prefix."""
        error, found = target - align(dictionary.bias, target), []
        for decoded in sums["decoded"]:
            error = error - decoded
            found.append(error)
        return found

    def loss(self, dictionary: MatryoshkaDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The mean FVU of all prefixes and AuxK, and the next threshold."""
        target = y * dictionary.scale
        pre = dictionary.pre(x)
        f = self.choose(pre, now.limit)
        error, shares = target, []
        for error in dictionary.prefix_errors(f, target, pre):
            shares.append(self.share(error, target))
        terms = {
            "reconstruction": sum(shares) / len(shares),
            "aux": self.alpha * self.aux_loss(dictionary, x, pre, error, now),
        }
        updates = {"threshold": self.next_threshold(dictionary.threshold, f, now.step)}
        return Losses.of(terms, f, updates)
