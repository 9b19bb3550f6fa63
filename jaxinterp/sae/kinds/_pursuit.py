r"""Matching pursuit: features are chosen one after another, each from what the ones before left."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._dictionary import check_sizes, wide
from ._untrained import Untrained


class MatchingPursuit(Untrained):
    r"""From $r_0 = x - b$, again and again: $i = \arg\max_j r \cdot d_j$, $f_i \mathrel{+}= [r \cdot d_i]_+$, $r \mathrel{-}= [r \cdot d_i]_+ d_i$.

    A row is done when its residual is shorter than `residual`, when a turn brings no new feature
    (`once`), or after `turns` (by default d). Encoder and decoder are one matrix. As SAELens trains
    them; not trained here. Costa et al. 2025 (https://arxiv.org/abs/2506.03093).

    Arguments: `d`, `features`; `residual`, `turns`, `once`; `centred`: the bias is subtracted
    before and added after, or neither.

    ```python
    sae = ji.sae.load("folder")  # of architecture "matching_pursuit"
    ```

    Law: what is left of a row is at right angles to the feature chosen last (decoder rows of norm 1).
    """

    residual: float = eqx.field(static=True)
    turns: int = eqx.field(static=True)
    once: bool = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        residual: float | int = 1e-2,
        turns: int | None = None,
        once: bool = True,
        centred: bool = True,
    ) -> None:
        super().__init__(d, features, centred=centred)
        check_sizes("MatchingPursuit", turns=d if turns is None else turns)
        self.encoder = self.encoder_bias = None
        self.scale = jnp.ones((), jnp.float32)
        self.residual, self.once = float(residual), bool(once)
        self.turns = d if turns is None else turns

    def fold(self) -> Any:
        """Itself: it has no scale."""
        return self

    def encode(self, x: Any) -> Any:
        """Features `(..., features)`, 0 or more."""
        self.check(x)
        rows = x.astype(jnp.float32).reshape(-1, self.d)
        rows = rows - self.bias[None] if self.centred else rows
        f = pursue(rows, self.decoder, least=self.residual, turns=self.turns, once=self.once)
        return f.reshape(*x.shape[:-1], self.features).astype(x.dtype)

    def reconstruct(self, f: Any) -> Any:
        """$f D$, and the bias where it was subtracted."""
        xhat = self.product(f, self.decoder)
        return xhat + wide(self.bias, xhat) if self.centred else xhat


@functools.partial(jax.jit, static_argnames=("least", "turns", "once"))
def pursue(rows: Any, decoder: Any, least: float, turns: int, once: bool) -> Any:
    """Features `(n, features)` of centred rows `(n, d)`."""
    n, features = rows.shape[0], decoder.shape[0]
    every = jnp.arange(n, dtype=jnp.int32)

    def turn(state: Any) -> Any:
        f, left, done, count = state
        at = jnp.argmax(jnp.matmul(left, decoder.T, precision="highest"), -1)
        chosen = decoder[at]
        value = jnp.where(done, 0, jax.nn.relu(jnp.sum(left * chosen, -1)))
        new = f.at[every, at].add(value)
        left = left - value[:, None] * chosen
        if once:
            done = done | jnp.all((new != 0) == (f != 0), -1)
        if least > 0:
            done = done | (jnp.linalg.norm(left, axis=-1) < least)
        return new, left, done, count + 1

    start = jnp.zeros((n, features), jnp.float32), rows, jnp.zeros(n, bool), jnp.int32(0)
    more = lambda state: (state[3] < turns) & ~jnp.all(state[2])
    return jax.lax.while_loop(more, turn, start)[0]
