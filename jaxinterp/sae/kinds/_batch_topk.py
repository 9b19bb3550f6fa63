r"""BatchTopK: k features per row on average, chosen over the whole batch; a threshold at inference."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import current_mesh
from ._dictionary import Losses, Moment, filled
from ._sparse import grouped, top
from ._topk import TopK

START = 1000  # steps after which the threshold is a running mean
DECAY = 0.999
ADDED = 16  # rows added to one another before all are counted
WIDER = 4  # candidates of a row for the cut of a batch, in multiples of k


class BatchTopK(TopK):
    r"""$f = \mathrm{ReLU}(\pi)\,[\mathrm{ReLU}(\pi) \text{ among the } Bk \text{ largest of the batch}]$.

    Loss as `TopK`. At inference a row must not depend on its batch: $f = \mathrm{ReLU}(\pi)\,[\pi >
    \theta]$, with $\theta$ the running mean (decay 0.999, from step 1,000 on) of the smallest
    activation kept. Bussmann et al. 2024 (https://arxiv.org/abs/2412.06410).

    **Arguments:** as `TopK`.

    ```python
    sae, history = ji.sae.train(ji.sae.BatchTopK(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    sae.threshold
    ```

    Law: a training batch has B k active features, no more; with the threshold L0 is about k.
    """

    threshold: Any

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "alpha", "threshold")

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
        self.threshold = jnp.zeros((), jnp.float32)
        super().__init__(
            d=d,
            features=features,
            k=k,
            alpha=alpha,
            aux=aux,
            dead_tokens=dead_tokens,
            centred=centred,
            key=key,
            matmul=matmul,
        )

    def activate(self, pre: Any) -> Any:
        """Those above the threshold."""
        return jnp.where(pre > self.threshold, jax.nn.relu(pre), 0)

    def choose(self, pre: Any, limit: Any = None) -> Any:
        """The batch's largest, ties at the edge left out."""
        f = jax.nn.relu(pre)
        count = (self.k if limit is None else limit) * (pre.size // pre.shape[-1])
        return jnp.where(f > below(f, count, self.k), f, 0)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        target = y * self.scale
        pre = self.pre(x)
        f = self.choose(pre, now.limit)
        error = target - self.reconstruct(f)
        terms = {"reconstruction": self.share(error, target)}
        terms["aux"] = self.alpha * self.revive(x, pre, error, now)
        return Losses(sum(terms.values()), terms, f, {"threshold": self.follow(f, now.step)})

    def follow(self, f: Any, step: Any) -> Any:
        """The threshold after this batch."""
        f = jax.lax.stop_gradient(f).astype(jnp.float32)
        least = jnp.min(jnp.where(f > 0, f, jnp.inf))
        least = jnp.where(jnp.isfinite(least), least, self.threshold)
        mean = DECAY * self.threshold + (1 - DECAY) * least
        return jnp.where(step < START, least, mean)

    def calibrated(self, x: Any) -> Any:
        """The same dictionary with the threshold of one large sample `(n, d)`: for short trainings."""
        f = self.choose(self.pre(x))
        return filled(self, threshold=jnp.min(jnp.where(f > 0, f, jnp.inf)))


def below(f: Any, count: Any, k: int | None = None) -> Any:
    r"""The largest value that leaves at most `count` entries of `f >= 0` above it, exactly.

    On a CPU with many features, given the average `k` of a row, first among the 4 k largest of each
    row: that is all where no row has more above the cut (its least candidate is not above it). Else
    among all entries.
    """
    f = jax.lax.stop_gradient(f).astype(jnp.float32)
    few = WIDER * (k or f.shape[-1])
    if current_mesh() is not None or not grouped(f.shape[-1], few):
        return bisect(f, count)
    candidates, _ = top(f, few)
    cut = bisect(candidates, count)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where nobody needs it.
    sure = jnp.all(candidates[..., -1] <= cut)
    turn = lambda state: (bisect(f, count), jnp.bool_(True))
    return jax.lax.while_loop(lambda state: ~state[1], turn, (cut, sure))[0]


def bisect(f: Any, count: Any) -> Any:
    """The same by bisection over the bits: floats of one sign are ordered as the integers of their bits.

    Thirty-one counts, each a sum over all devices where f is sharded; no sort.
    """
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(f).astype(jnp.float32), jnp.int32)

    def narrow(_: Any, ends: Any) -> Any:
        low, high = ends  # more than `count` lie above low - 1; at most `count` above high
        middle = low + (high - low) // 2
        fits = _above(bits, middle) <= count
        return jnp.where(fits, low, middle + 1), jnp.where(fits, middle, high)

    # The least threshold at which no more than `count` are above.
    _, high = jax.lax.fori_loop(0, 32, narrow, (jnp.int32(0), jnp.int32(0x7F7FFFFF)))
    return jax.lax.bitcast_convert_type(high, jnp.float32).astype(f.dtype)


def _above(bits: Any, middle: Any) -> Any:
    """How many are above. A CPU adds rows to rows 3.4 times as fast as all to one number."""
    if jax.default_backend() != "cpu" or current_mesh() is not None or bits.ndim != 2 or len(bits) % ADDED:
        return jnp.sum((bits > middle).astype(jnp.int32))
    parts = bits.reshape(-1, ADDED, bits.shape[1])
    return jnp.sum(sum((parts[:, i] > middle).astype(jnp.int32) for i in range(ADDED)))
