r"""A penalty that anneals from $L_1$ to $L_p$: $\sum_i f_i^p$, with p falling below 1 late in a training."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._arguments import as_int, as_number
from ...typing import ArrayLike, FloatLike, IntLike, JaxArray
from ._losses import Progress
from ._parts import Part, PartPlace, Terms
from ._penalised_relu import PenalisedReLU
from ._relu import ReLUDictionary
from ._rows import align

SMALL = 1e-6  # below it a feature has the slope that it has there: that of f^p is infinite at 0


@final
class Annealed(PenalisedReLU):
    r"""$\frac1B \sum_b \bigl[ \lVert x - \hat x \rVert^2 + \lambda_p \sum_i (f_i \lVert d_i \rVert)^{p} \bigr]$, p from 1 down to `power`.

    p-annealing, Karvonen et al. 2024 (https://arxiv.org/abs/2408.00113). The penalty is nearer to the number of active
    features than $L_1$. p falls linearly from step `begin` to step `end`. $\lambda_p$ is chosen so that each batch has the
    same penalty as with $L_1$. The paper rescales at each change of p by a mean over recent batches. Everything else is as
    in `Standard`.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$ of $L_1$, of sums over d and over features, by default 5;
    - `power`: the last p, above 0 and at most 1, by default 0.2;
    - `begin`, `end`: the steps between which p falls, by default 10,000 and 50,000;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    kind = ji.sae.Annealed(d=512, features=4096, begin=20_000, end=50_000)
    sae, history = ji.sae.train(kind, stream, key=key, steps=50_000)
    ```

    Laws: up to `begin` it is `Standard`; the penalty of a batch has the same value for every p.
    """

    power: JaxArray
    begin: int = eqx.field(static=True)
    end: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: ArrayLike = 5.0,
        power: FloatLike = 0.2,
        begin: IntLike = 10_000,
        end: IntLike = 50_000,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, sparsity=sparsity, matmul=matmul)
        first, last = as_int(begin, "begin", 0), as_int(end, "end", 1)
        if last <= first:
            raise ValueError(
                f"p falls from step begin to a later step end; got begin={first} and end={last}."
            )
        self.power = jnp.asarray(as_number(power, "power", 0.01, 1), jnp.float32)
        self.begin, self.end = first, last

    def part(self, dictionary: ReLUDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions, and sums of features times the norms of their rows and of powers of these."""
        f = dictionary.activate(dictionary.pre(x))
        norms = jnp.linalg.norm(dictionary.decoder.astype(jnp.float32), axis=-1)
        size = f.astype(jnp.float32) * align(norms, f)
        share = jnp.clip((now.step - self.begin) / (self.end - self.begin), 0, 1)
        p = 1 - (1 - self.power) * share.astype(jnp.float32)
        # (f + s)^p - s^p is f for p = 1, 0 at 0, and has a finite slope there.
        bent = (size + SMALL) ** p - SMALL**p
        decoded = dictionary.product(f, dictionary.decoder)
        return Part({"decoded": decoded, "plain": jnp.sum(size), "bent": jnp.sum(bent)}, f)

    def terms(
        self, dictionary: ReLUDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The squared error, and powers of features times the norms of their rows."""
        error = y * dictionary.scale - dictionary.shifted(sums["decoded"])
        plain, total = sums["plain"], sums["bent"]
        rescaled = jax.lax.stop_gradient(plain / jnp.where(total > 0, total, 1))
        penalty = rescaled * total / len(x)
        return {
            "reconstruction": jnp.mean(self.squares(error)),
            "sparsity": now.warm * self.sparsity * penalty,
        }
