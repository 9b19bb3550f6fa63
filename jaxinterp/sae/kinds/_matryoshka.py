r"""Matryoshka: nested prefixes of the features each reconstruct alone, the general ones first."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from ._batch_topk import BatchTopK
from ._dictionary import Losses, Moment, wide


class Matryoshka(BatchTopK):
    r"""$\frac1G \sum_g \mathrm{FVU}(x, \hat x_{1..m_g})$ + AuxK, over nested prefixes $m_1 < \dots < m_G$.

    BatchTopK in which the first $m_g$ features must reconstruct without the rest, so that general
    features are not absorbed by special ones. Bussmann et al. 2025 (https://arxiv.org/abs/2503.17547).

    **Arguments:** as `TopK`, and `groups`: shares of the features, which add up to 1 (by default
    1/32, 1/16, 1/8, 1/4 and the remainder).

    ```python
    sae, history = ji.sae.train(ji.sae.Matryoshka(d=512, features=4096, k=32), stream, key=key, steps=20_000)
    sae.prefixes
    ```

    Law: with one group it is BatchTopK.
    """

    prefixes: tuple[int, ...] = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = BatchTopK.FIXED

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        groups: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32),
        alpha: Any = 1 / 32,
        aux: int | None = None,
        dead_tokens: int = 10_000_000,
        centred: bool = True,
        key: Any = None,
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

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        target = y * self.scale
        pre = self.pre(x)
        f = self.choose(pre, now.limit)
        error = target - wide(self.bias, target)
        shares, start = [], 0
        for end in self.prefixes:
            error = error - self.product(f[..., start:end], self.decoder[start:end])
            shares.append(self.share(error, target))
            start = end
        terms = {
            "reconstruction": sum(shares) / len(shares),
            "aux": self.alpha * self.revive(x, pre, error, now),
        }
        updates = {"threshold": self.follow(f, now.step)}
        return Losses(terms["reconstruction"] + terms["aux"], terms, f, updates)

    def prefix(self, group: int) -> Any:
        """The dictionary of the first groups alone, 0-based."""
        end = self.prefixes[group]
        cut = lambda k: (k.encoder, k.encoder_bias, k.decoder)
        return eqx.tree_at(cut, self, (self.encoder[:, :end], self.encoder_bias[:end], self.decoder[:end]))

    def share_of(self, x: Any, y: Any = None) -> Any:
        """FVU of every prefix on a batch, `(group,)`, with the threshold of inference."""
        f = self.encode(x)
        target = (x if y is None else y) * self.scale
        error, start, found = target - wide(self.bias, target), 0, []
        for end in self.prefixes:
            error = error - self.product(f[..., start:end], self.decoder[start:end])
            found.append(self.share(error, target))
            start = end
        return jnp.stack(found)
