r"""TopK: the k largest pre-activations of a row are its features, and nothing penalises them."""

from typing import Any, final

import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike
from ._dictionary import Dictionary
from ._kept import keep_largest, kept, moved
from ._kind import INIT
from ._largest import LargestKind
from ._losses import Losses, Progress, firing
from ._parts import PartPlace
from ._sparse import active_features, decode_entries, dense_rows, is_sparse_faster, largest_with_gradients


@final
class TopKDictionary(Dictionary["TopK"]):
    r"""$f = \mathrm{ReLU}(\mathrm{top}_k((x - b) W_e + b_e))$."""

    def activate(self, pre: JaxArray) -> JaxArray:
        """The k largest of each row, those above 0."""
        return jax.nn.relu(keep_largest(pre, self.kind.k))


@final
class TopK(LargestKind):
    r"""$f = \mathrm{ReLU}(\mathrm{top}_k((x - b) W_e + b_e))$; loss $\mathrm{FVU} + \alpha\, \mathrm{AuxK}$.

    FVU is $\sum \lVert x - \hat x \rVert^2 / \sum \lVert x - \bar x \rVert^2$ of the batch. AuxK trains
    features that have not fired for `dead_tokens` tokens on the error. With $e = x - \hat x$
    and $\hat e$ decoded from the `aux` largest dead pre-activations, it is $\sum \lVert e - \hat e \rVert^2 /
    \sum \lVert e - \bar e \rVert^2$. Gao et al. 2024 (https://arxiv.org/abs/2406.04093).

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `k`: the number of features per row;
    - `alpha`: the weight of AuxK, by default 1/32;
    - `aux`: the number of dead features of AuxK, by default the power of two nearest d/2;
    - `dead_tokens`: the number of tokens without firing that make a feature dead;
    - `centred`: whether the bias is subtracted from inputs, by default True;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    sae, history = ji.sae.train(ji.sae.TopK(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    ```

    Law: at most k features of a row are not zero.
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
        super().__init__(
            d=d,
            features=features,
            k=k,
            alpha=alpha,
            aux=aux,
            dead_tokens=dead_tokens,
            centred=centred,
            matmul=matmul,
        )

    def dictionary(self, **arrays: Any) -> TopKDictionary:
        """The dictionary of these arrays."""
        return TopKDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> TopKDictionary:
        """Random decoder rows, the encoder their scaled transpose; the bias is the sample's median."""
        return self.dictionary(**self.first_arrays(key, x))

    def choose(self, pre: JaxArray, limit: JaxArray | None = None) -> JaxArray:
        """The features of a training batch `(batch, features)`; `limit` in place of k, not above it."""
        return jax.nn.relu(keep_largest(pre, self.k, limit))

    def chosen(self, pre: JaxArray, place: PartPlace) -> JaxArray:
        """Those of the k largest of each row that are in this part."""
        return jax.nn.relu(kept(pre, moved(place.choice[0], place.first)))

    def loss(self, dictionary: TopKDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """FVU and AuxK, in the form that is faster on the platform that it is compiled for."""
        if not is_sparse_faster(dictionary, x, self.k):
            return self.dense_loss(dictionary, x, y, now)
        sparse: Any = lambda *given: type(self).sparse_loss(*given)
        dense: Any = lambda *given: type(self).dense_loss(*given)
        return jax.lax.platform_dependent(self, dictionary, x, y, now, cpu=sparse, default=dense)

    def dense_loss(self, dictionary: TopKDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The loss by products of whole matrices."""
        target = y * dictionary.scale
        pre = dictionary.pre(x)
        f = self.choose(pre, now.limit)
        error = target - dictionary.reconstruct(f)
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.aux_loss(dictionary, x, pre, error, now)
        return Losses.of(terms, f, None, firing(f))

    def sparse_loss(self, dictionary: TopKDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The same number and gradients (to rounding) from the k entries of each row."""
        target = y * dictionary.scale
        values, where = largest_with_gradients(dictionary, x, self.k)
        if now.limit is not None:
            values = jnp.where(jnp.arange(self.k, dtype=jnp.int32)[None] < now.limit, values, 0)
        values = jax.nn.relu(values)
        error = target - (decode_entries(values, where, dictionary.decoder) + dictionary.bias[None])
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.aux_loss(dictionary, x, None, error, now)
        f = dense_rows(values, where, dictionary.features)
        active = active_features(values, where, dictionary.features)
        return Losses.of(terms, f, None, active)
