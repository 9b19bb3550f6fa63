r"""BatchTopK: k features per row on average, chosen over the whole batch; a threshold at inference."""

from typing import Any, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, Self
from ._cut_of_batch import largest_above
from ._dictionary import Dictionary
from ._edges import Blocks, candidates, edge_of_batch
from ._kind import INIT, Shapes
from ._largest import LargestKind
from ._losses import Losses, Progress
from ._parts import PartPlace, Terms

START = 1000  # the step from which the threshold is a running mean
DECAY = 0.999
AnyBatchKind = TypeVar("AnyBatchKind", bound="BatchLargestKind")


class BatchThresholdDictionary(Dictionary[AnyBatchKind]):
    r"""$f = \mathrm{ReLU}(\pi)\,[\pi > \theta]$ with one `threshold ()` for all features. An abstract class."""

    threshold: eqx.AbstractVar[JaxArray]

    def fixed(self) -> tuple[str, ...]:
        """The scale and the threshold, which the loss updates."""
        return ("scale", "threshold")

    def activate(self, pre: JaxArray) -> JaxArray:
        """Those above the threshold."""
        return jnp.where(pre > self.threshold, jax.nn.relu(pre), 0)

    def calibrated(self, x: JaxArray) -> Self:
        """The same dictionary with the threshold of one large sample `(n, d)`: for short trainings."""
        f = self.kind.choose(self.pre(x))
        return self.replace(threshold=jnp.min(jnp.where(f > 0, f, jnp.inf)))


@final
class BatchTopKDictionary(BatchThresholdDictionary["BatchTopK"]):
    r"""$f = \mathrm{ReLU}(\pi)\,[\pi > \theta]$ with the `threshold ()` of `BatchTopK`."""

    threshold: JaxArray


class BatchLargestKind(LargestKind):
    """Kinds that choose over a batch, and have a running threshold. An abstract class."""

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {**super().shapes(), "threshold": ()}

    def first_arrays(self, key: KeyLike, x: JaxArray | None) -> dict[str, JaxArray]:
        """First weights, and a threshold of 0."""
        return {**super().first_arrays(key, x), "threshold": jnp.zeros((), jnp.float32)}

    def choose(self, pre: JaxArray, limit: JaxArray | None = None) -> JaxArray:
        """The largest entries of the batch, k a row on average; ties at the edge are left out."""
        count = (self.k if limit is None else limit) * (pre.size // pre.shape[-1])
        return jnp.where(pre > largest_above(pre, count, self.k), pre, 0)

    def chosen(self, pre: JaxArray, place: PartPlace) -> JaxArray:
        """Those of the largest of the batch that are in this part."""
        return jnp.where(pre > place.choice[0], pre, 0)

    def found(self, pre: JaxArray) -> JaxArray:
        """The entries of a block of rows that may be among the largest of the batch."""
        return candidates(pre, self.k)

    def settled(self, found: Any, features: int, blocks: Blocks) -> JaxArray:
        """A number between the last of the largest entries and the next."""
        return edge_of_batch(found, self.k * len(found), features, blocks)

    def updates(self, dictionary: Any, least: JaxArray, now: Progress) -> Terms:
        """The threshold after a batch whose smallest feature above 0 is `least`."""
        return {"threshold": self._threshold_after(dictionary.threshold, least, now.step)}

    def next_threshold(self, threshold: JaxArray, f: JaxArray, step: JaxArray) -> JaxArray:
        """The threshold after a batch with the features f."""
        f = jax.lax.stop_gradient(f).astype(jnp.float32)
        # By columns first, in the pass that counts which features fire.
        least = jnp.min(jax.lax.optimization_barrier(jnp.min(jnp.where(f > 0, f, jnp.inf), 0)))
        return self._threshold_after(threshold, least, step)

    def _threshold_after(self, threshold: JaxArray, least: JaxArray, step: JaxArray) -> JaxArray:
        least = jnp.where(jnp.isfinite(least), least, threshold)
        mean = DECAY * threshold + (1 - DECAY) * least
        return jnp.where(step < START, least, mean)


@final
class BatchTopK(BatchLargestKind):
    r"""$f = \mathrm{ReLU}(\pi)\,[\mathrm{ReLU}(\pi) \text{ among the } Bk \text{ largest of the batch}]$.

    The loss is that of `TopK`. At inference a row must not depend on its batch, so $f = \mathrm{ReLU}(\pi)\,[\pi >
    \theta]$, where $\theta$ is the running mean (decay 0.999, from step 1,000 on) of the smallest activation that is kept
    in a batch. Bussmann et al. 2024 (https://arxiv.org/abs/2412.06410).

    **Arguments:** those of `TopK`; `k` is the mean number of features over the rows of a batch.

    ```python
    sae, history = ji.sae.train(ji.sae.BatchTopK(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    sae.threshold
    ```

    Law: a training batch has at most B k active features; with the threshold L0 is about k.
    """

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        alpha: ArrayLike = 1 / 32,
        aux: int | None = None,
        dead_tokens: int = 10_000_000,
        centred: bool = True,
        matmul: str = "float32",
    ) -> None:
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

    def dictionary(self, **arrays: Any) -> BatchTopKDictionary:
        """The dictionary of these arrays."""
        return BatchTopKDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> BatchTopKDictionary:
        """First weights as those of `TopK`, and a threshold of 0."""
        return self.dictionary(**self.first_arrays(key, x))

    def loss(self, dictionary: BatchTopKDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """FVU and AuxK, and the next threshold."""
        target = y * dictionary.scale
        pre = dictionary.pre(x)
        f = self.choose(pre, now.limit)
        error = target - dictionary.reconstruct(f)
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.aux_loss(dictionary, x, pre, error, now)
        updates = {"threshold": self.next_threshold(dictionary.threshold, f, now.step)}
        return Losses.of(terms, f, updates)
