r"""Matching pursuit: features are chosen one after another, each from what the ones before left."""

import functools
from typing import Any, NoReturn, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ...typing import ArrayLike, FloatLike, JaxArray, Self
from ._checks import check_sizes
from ._dictionary import Dictionary
from ._kind import Shapes
from ._rows import align
from ._untrained import UntrainedKind


@final
class PursuitDictionary(Dictionary["MatchingPursuit"]):
    """Features of `pursue`. Encoder and decoder are one matrix, `decoder (features, d)`."""

    @property
    def d(self) -> int:
        """The width of the rows that it reads."""
        return self.decoder.shape[-1]

    @property
    def features(self) -> int:
        """The number of features."""
        return self.decoder.shape[0]

    def fold(self) -> Self:
        """Itself: it has no scale."""
        return self

    def activate(self, pre: JaxArray) -> NoReturn:
        """Raises ValueError: features are chosen one after another, not from pre-activations."""
        raise ValueError("Matching pursuit has no pre-activations. Read features by encode(x).")

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)`, 0 or more."""
        x, kind = jnp.asarray(x), self.kind
        self.check(x)
        rows = x.astype(jnp.float32).reshape(-1, self.d)
        rows = rows - self.bias[None] if kind.centred else rows
        f = pursue(rows, self.decoder, least=kind.residual, turns=kind.turns, once=kind.once)
        return f.reshape(*x.shape[:-1], self.features).astype(x.dtype)

    def reconstruct(self, f: JaxArray) -> JaxArray:
        """$f D$, and the bias where it was subtracted."""
        xhat = self.product(f, self.decoder)
        return xhat + align(self.bias, xhat) if self.kind.centred else xhat


@final
class MatchingPursuit(UntrainedKind):
    r"""From $r_0 = x - b$, again and again: $i = \arg\max_j r \cdot d_j$, $f_i \mathrel{+}= [r \cdot d_i]_+$, $r \mathrel{-}= [r \cdot d_i]_+ d_i$.

    SAELens trains such dictionaries; they are not trained here. Costa et al. 2025
    (https://arxiv.org/abs/2506.03093).

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `residual`: a row ends when its residual is shorter than this, by default 0.01;
    - `turns`: the largest number of turns, by default d;
    - `once`: whether a row ends when a turn brings no new feature, by default True;
    - `centred`: whether the bias is subtracted before and added after, by default True.

    ```python
    kind = ji.sae.MatchingPursuit(d=160, features=320)
    sae = ji.sae.from_arrays(kind, decoder=W_dec, bias=0)       # or `ji.sae.load` of a SAELens folder
    sae.encode(x).shape
    ```

    Law: the residual of a row is orthogonal to the feature chosen last (for decoder rows of norm 1).
    """

    residual: float = eqx.field(static=True)
    turns: int = eqx.field(static=True)
    once: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        residual: FloatLike = 1e-2,
        turns: int | None = None,
        once: bool = True,
        centred: bool = True,
    ) -> None:
        super().__init__(d, features, centred=centred)
        check_sizes("MatchingPursuit", turns=d if turns is None else turns)
        self.residual, self.once = float(residual), bool(once)
        self.turns = d if turns is None else turns

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {"decoder": (self.features, self.d), "bias": (self.d,)}

    def optional_shapes(self) -> Shapes:
        """A scale, which is 1."""
        return {"scale": ()}

    def dictionary(self, **arrays: Any) -> PursuitDictionary:
        """The dictionary of these arrays."""
        scale = jnp.ones((), jnp.float32)
        return PursuitDictionary(
            **{"encoder": None, "encoder_bias": None, "scale": scale, **arrays}, kind=self
        )


@functools.partial(jax.jit, static_argnames=("least", "turns", "once"))
def pursue(rows: JaxArray, decoder: JaxArray, least: float, turns: int, once: bool) -> JaxArray:
    """Features `(n, features)` of centred rows `(n, d)`."""
    n, features = rows.shape[0], decoder.shape[0]
    each = jnp.arange(n, dtype=jnp.int32)

    def turn(state: Any) -> Any:
        f, left, done, count = state
        at = jnp.argmax(jnp.matmul(left, decoder.T, precision="highest"), -1)
        chosen = decoder[at]
        value = jnp.where(done, 0, jax.nn.relu(jnp.sum(left * chosen, -1)))
        new = f.at[each, at].add(value)
        left = left - value[:, None] * chosen
        if once:
            done = done | jnp.all((new != 0) == (f != 0), -1)
        if least > 0:
            done = done | (jnp.linalg.norm(left, axis=-1) < least)
        return new, left, done, count + 1

    start = jnp.zeros((n, features), jnp.float32), rows, jnp.zeros(n, bool), jnp.int32(0)
    more = lambda state: (state[3] < turns) & ~jnp.all(state[2])
    return jax.lax.while_loop(more, turn, start)[0]
