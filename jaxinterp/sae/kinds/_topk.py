r"""TopK: the k largest pre-activations of a row are its features, and nothing penalises them."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ...mesh._dictionaries import is_divisible, largest_entries
from ..training._optimizers import adam
from ._dictionary import (
    Dictionary,
    Losses,
    Moment,
    check_sizes,
    directions,
    geometric_median,
    wide,
)
from ._sparse import decoded, fired, keep, pays, spread, top


class TopK(Dictionary):
    r"""$f = \mathrm{ReLU}(\mathrm{top}_k((x - b) W_e + b_e))$; loss $\mathrm{FVU} + \alpha\, \mathrm{AuxK}$.

    FVU is $\sum \lVert x - \hat x \rVert^2 / \sum \lVert x - \bar x \rVert^2$ of the batch. AuxK lets
    features that have been silent for `dead_tokens` tokens explain what is left: with $e = x - \hat x$
    and $\hat e$ decoded from the `aux` largest dead pre-activations, $\sum \lVert e - \hat e \rVert^2 /
    \sum \lVert e - \bar e \rVert^2$. Gao et al. 2024 (https://arxiv.org/abs/2406.04093).

    **Arguments:** `d`, `features`; `k` features per row; `alpha`; `aux` dead features, by default
    the power of two nearest d/2; `dead_tokens`; `key` for weights at once; `matmul`.

    ```python
    sae, history = ji.sae.train(ji.sae.TopK(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    ```

    Law: at most k features of a row are not zero.
    """

    k: int = eqx.field(static=True)
    alpha: Any
    aux: int = eqx.field(static=True)
    dead_tokens: int = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "alpha")
    UNIT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        alpha: Any = 1 / 32,
        aux: int | None = None,
        dead_tokens: int = 10_000_000,
        centred: bool = True,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_sizes(type(self).__name__, k=k)
        if k > features:
            raise ValueError(
                f"k={k} features of a row cannot be chosen from {features}: k is at most features."
            )
        self.k, self.alpha = k, jnp.asarray(alpha, jnp.float32)
        power = 2 ** max(0, round(jnp.log2(d / 2).item()))
        self.aux = min(features, power if aux is None else aux)
        self.dead_tokens = dead_tokens
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        decoder = directions(key, self.features, self.d)
        return {
            "encoder": decoder.T * self._first_gain(decoder),
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
        }

    def _first_gain(self, decoder: Any) -> Any:
        """What makes the first reconstruction of a unit vector have norm 1."""
        x = directions(jax.random.key(0), 256, self.d)
        pre = jnp.matmul(x, decoder.T, precision="highest")
        f = jax.nn.relu(_top(pre, self.k))
        back = jnp.linalg.norm(jnp.matmul(f, decoder, precision="highest"), axis=-1)
        return 1 / jnp.maximum(jnp.mean(back), 1e-3)

    def activate(self, pre: Any) -> Any:
        """The k largest of each row, those above 0."""
        return jax.nn.relu(_top(pre, self.k))

    def choose(self, pre: Any, limit: Any = None) -> Any:
        """The features of a training batch `(batch, features)`; `limit` in place of k, not above it."""
        return jax.nn.relu(_top(pre, self.k, limit))

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        if pays(self, x, self.k):
            return self.sparse_loss(x, y, now)
        return self.dense_loss(x, y, now)

    def dense_loss(self, x: Any, y: Any, now: Moment) -> Losses:
        """The loss by products of whole matrices."""
        target = y * self.scale
        pre = self.pre(x)
        f = self.choose(pre, now.limit)
        error = target - self.reconstruct(f)
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.revive(x, pre, error, now)
        return Losses(sum(terms.values()), terms, f, {})

    def sparse_loss(self, x: Any, y: Any, now: Moment) -> Losses:
        """The same number and gradients (to rounding) from the entries that are kept."""
        target = y * self.scale
        values, where = keep(self, x, self.k)
        if now.limit is not None:
            values = jnp.where(jnp.arange(self.k, dtype=jnp.int32)[None] < now.limit, values, 0)
        values = jax.nn.relu(values)
        error = target - (decoded(values, where, self.decoder) + self.bias[None])
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.revive(x, None, error, now)
        f = spread(values, where, self.features)
        active = fired(values, where, self.features)
        return Losses(sum(terms.values()), terms, f, {}, active)

    def revive(self, x: Any, pre: Any, error: Any, now: Moment) -> Any:
        """AuxK: what dead features leave of the error, as a share of it; 0 where none is dead.

        `pre` is None in the sparse form: computed again here, in the steps that need it.
        """
        dead = now.dead

        def some() -> Any:
            rest = jax.lax.stop_gradient(error)
            if pre is None:
                values, where = keep(self, x, self.aux, dead)
                guess = decoded(jax.nn.relu(values), where, self.decoder)
            else:
                hidden = jnp.where(wide(dead, pre), pre, -jnp.inf)
                guess = self.product(jax.nn.relu(_top(hidden, self.aux)), self.decoder)
            return self.share(rest - guess, rest)

        if now.revive is None:
            return jax.lax.cond(jnp.any(dead), some, lambda: jnp.zeros((), jnp.float32))
        found = jax.lax.cond(now.revive, some, lambda: jnp.zeros((), jnp.float32))
        return jnp.where(jnp.any(dead), found, 0)

    def optimizer(self, steps: int) -> Any:
        r"""Adam at $2 \cdot 10^{-4} / \sqrt{m / 2^{14}}$, epsilon 6.25e-10."""
        return adam(2e-4 / (self.features / 2**14) ** 0.5, steps, eps=6.25e-10)

    def dead_after(self, batch: int) -> int:
        """`dead_tokens` in steps."""
        return max(1, self.dead_tokens // batch)


def _top(pre: Any, k: int, limit: Any = None) -> Any:
    """Rows with all but their k largest entries 0, or `limit` of them; ties go to the first."""
    if is_divisible(pre):
        return jnp.where(largest_entries(pre, k, limit), pre, 0)
    values, where = top(pre, k)
    values = jnp.where(jnp.isfinite(values), values, 0)
    if limit is not None:
        values = jnp.where(wide(jnp.arange(k, dtype=jnp.int32), values) < limit, values, 0)
    put = lambda row, at, value: row.at[at].set(value, unique_indices=True)
    for _ in range(pre.ndim - 1):
        put = jax.vmap(put)
    return put(jnp.zeros_like(pre), where, values)
