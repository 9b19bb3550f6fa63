r"""What `TopK`, `BatchTopK` and `Matryoshka` share: features that are the largest, and AuxK for dead ones."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike, Self
from ..training._optimizers import adam
from ._aux import dead_share
from ._checks import check_sizes
from ._edges import Blocks, edges_of_rows
from ._kept import keep_largest, kept, moved
from ._losses import Progress
from ._median import geometric_median
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import random_directions
from ._sparse import decode_entries, largest_with_gradients
from ._unit_rows import UnitRowsKind


class LargestKind(UnitRowsKind, PartsKind):
    """Settings of kinds that keep the largest pre-activations. An abstract class.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `k`: the number of features per row;
    - `alpha`: the weight of AuxK;
    - `aux`: the number of dead features of AuxK, by default the power of two nearest d/2;
    - `dead_tokens`: the number of tokens without firing that make a feature dead;
    - `centred`, `matmul`: as in `Kind`.
    """

    k: int = eqx.field(static=True)
    alpha: JaxArray
    aux: int = eqx.field(static=True)
    dead_tokens: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        alpha: ArrayLike,
        aux: int | None,
        dead_tokens: int,
        centred: bool,
        matmul: str,
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=centred)
        check_sizes(type(self).__name__, k=k)
        if k > features:
            raise ValueError(
                f"k={k} features of a row cannot be chosen from {features}: k is at most features."
            )
        self.k, self.alpha = k, jnp.asarray(alpha, jnp.float32)
        power = 2 ** max(0, round(math.log2(d / 2)))
        self.aux = min(features, power if aux is None else aux)
        self.dead_tokens = dead_tokens

    @abc.abstractmethod
    def choose(self, pre: JaxArray, limit: JaxArray | None = None) -> JaxArray:
        """The features of a training batch `(batch, features)`; `limit` in place of k, not above it."""

    @abc.abstractmethod
    def chosen(self, pre: JaxArray, place: PartPlace) -> JaxArray:
        """The features of a part of the features, by the choice of its place."""

    def part(self, dictionary: Any, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions by features, and of the error by dead ones."""
        pre = dictionary.pre(x)
        f = self.chosen(pre, place)
        dead = jnp.broadcast_to(now.dead, (dictionary.features,))

        def of_dead() -> JaxArray:
            chosen = kept(pre, moved(place.choice[1], place.first), dead)
            return dictionary.product(jax.nn.relu(chosen), dictionary.decoder)

        none = lambda: jnp.zeros((len(x), dictionary.decoder.shape[-1]), pre.dtype)
        guess = jax.lax.cond(jnp.any(dead), of_dead, none)
        return Part({**self.decoded(dictionary, f, place), "guess": guess}, f)

    def decoded(self, dictionary: Any, f: JaxArray, place: PartPlace) -> Terms:
        """Reconstructions of features, by name."""
        return {"decoded": dictionary.product(f, dictionary.decoder)}

    def errors(self, dictionary: Any, sums: Terms, target: JaxArray) -> list[JaxArray]:
        """The errors whose shares the loss averages; AuxK is of the last."""
        return [target - dictionary.shifted(sums["decoded"])]

    def terms(self, dictionary: Any, sums: Terms, x: JaxArray, y: JaxArray, now: Progress) -> Terms:
        """FVU and AuxK."""
        target = y * dictionary.scale
        errors = self.errors(dictionary, sums, target)
        rest = jax.lax.stop_gradient(errors[-1])
        aux = jnp.where(jnp.any(now.dead), self.share(rest - sums["guess"], rest), 0)
        shares = [self.share(error, target) for error in errors]
        return {"reconstruction": sum(shares[1:], shares[0]) / len(shares), "aux": self.alpha * aux}

    def choice(self, dictionary: Any, x: JaxArray, now: Progress, most: int) -> Any:
        """The cuts of features and of dead features, block of rows by block."""
        dead = jnp.broadcast_to(now.dead, (dictionary.features,))
        sizes = [size for size in range(1, len(x) + 1) if not len(x) % size and size * len(dead) <= most]
        rows = x.reshape(-1, max(sizes, default=1), x.shape[-1])

        def blocks(function: Any) -> Any:
            return jax.lax.map(lambda chunk: function(jax.lax.stop_gradient(dictionary.pre(chunk))), rows)

        def cuts(pre: JaxArray) -> Any:
            none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_dead, pre))
            return self.found(pre), jax.lax.cond(jnp.any(dead), of_dead, lambda _: none, pre)

        of_dead = lambda pre: edges_of_rows(pre, self.aux, dead)
        found = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), blocks(cuts))
        return self.settled(found[0], dictionary.features, blocks), found[1]

    def found(self, pre: JaxArray) -> Any:
        """What a block of rows says about the choice: arrays with an axis of rows. By default the cuts of its rows."""
        return edges_of_rows(pre, self.k)

    def settled(self, found: Any, features: int, blocks: Blocks) -> Any:
        """The choice, of what all blocks of rows said. By default the same."""
        return found

    def first_arrays(self, key: KeyLike, x: JaxArray | None) -> dict[str, JaxArray]:
        """First weights: random decoder rows, and the encoder that reconstructs unit vectors by them."""
        decoder = random_directions(key, self.features, self.d)
        return {
            "encoder": decoder.T * self._first_gain(decoder),
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
        }

    def _first_gain(self, decoder: JaxArray) -> JaxArray:
        """What makes the first reconstruction of a unit vector have norm 1."""
        x = random_directions(jax.random.key(0), 256, self.d)
        pre = jnp.matmul(x, decoder.T, precision="highest")
        f = jax.nn.relu(keep_largest(pre, self.k))
        back = jnp.linalg.norm(jnp.matmul(f, decoder, precision="highest"), axis=-1)
        return 1 / jnp.maximum(jnp.mean(back), 1e-3)

    def aux_loss(
        self, dictionary: Any, x: JaxArray, pre: JaxArray | None, error: JaxArray, now: Progress
    ) -> JaxArray:
        """AuxK: what dead features leave of the error, as a share of it. It is 0 where none is dead.

        `pre` is None in the sparse form: it is computed again here, in the steps that need it.
        """
        dead = jnp.broadcast_to(now.dead, (dictionary.features,))
        rest = jax.lax.stop_gradient(error)
        revive = jnp.any(dead) if now.revive is None else now.revive
        if pre is None:

            def of_dead() -> JaxArray:
                values, where = largest_with_gradients(dictionary, x, self.aux, dead)
                guess = decode_entries(jax.nn.relu(values), where, dictionary.decoder)
                return self.share(rest - guess, rest)

            value = jax.lax.cond(revive, of_dead, lambda: jnp.zeros((), jnp.float32))
        else:
            value = dead_share(self, pre, dictionary.decoder, rest, dead, revive)
        return value if now.revive is None else jnp.where(jnp.any(dead), value, 0)

    def optimizer(self, steps: int) -> OptimizerLike:
        r"""Adam at $2 \cdot 10^{-4} / \sqrt{m / 2^{14}}$, epsilon 6.25e-10."""
        return adam(2e-4 / (self.features / 2**14) ** 0.5, steps, eps=6.25e-10)

    def dead_after(self, batch_size: int) -> int:
        """`dead_tokens` in steps."""
        return max(1, self.dead_tokens // batch_size)

    @property
    def limit(self) -> int | None:
        """k: a smaller one is a mask."""
        return self.k

    def with_limit(self, limit: int) -> Self:
        """The same kind with another k."""
        return self.replace(k=limit)

    def member_settings(self) -> tuple[str, ...]:
        """The static settings in which members of one program may differ."""
        return ("features", "k", "dead_tokens")
