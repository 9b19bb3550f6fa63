r"""AuxK: dead features explain what the others leave. Its gradient is computed only in steps that have dead ones."""

from typing import Any

import jax
import jax.numpy as jnp

from ...typing import JaxArray
from ._kept import choose_largest, kept
from ._product import product


@jax.custom_vjp
def dead_share(
    kind: Any, pre: JaxArray, decoder: JaxArray, rest: JaxArray, dead: JaxArray, revive: JaxArray
) -> JaxArray:
    r"""$\sum \lVert e - \hat e \rVert^2 / \sum \lVert e - \bar e \rVert^2$, $\hat e$ of the `kind.aux` largest dead entries of `pre`.

    - `rest (batch, d)`: e, which gets no gradient.
    - `revive ()`: where False the value and the gradients are 0, and nothing is computed.

    Backwards it needs the rows' cuts and $\hat e$, no array `(batch, features)` more.
    """
    return _forward(kind, pre, decoder, rest, dead, revive)[0]


def _forward(
    kind: Any, pre: JaxArray, decoder: JaxArray, rest: JaxArray, dead: JaxArray, revive: JaxArray
) -> tuple[JaxArray, Any]:
    def run() -> Any:
        choice = choose_largest(pre, kind.aux, among=dead)
        guess = product(jax.nn.relu(kept(pre, choice, dead)), decoder, kind.matmul)
        return kind.share(rest - guess, rest), guess, choice

    empty = lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(run))
    value, guess, choice = jax.lax.cond(revive, run, empty)
    return value, (kind, pre, decoder, rest, dead, revive, guess, choice)


def _backward(saved: Any, g: JaxArray) -> Any:
    kind, pre, decoder, rest, dead, revive, guess, choice = saved
    low = pre.dtype if kind.matmul == "float32" else jnp.dtype(kind.matmul)

    def run() -> tuple[JaxArray, JaxArray]:
        slope = jax.grad(lambda guess: kind.share(rest - guess, rest))(guess) * g.astype(guess.dtype)
        f = jax.nn.relu(kept(pre, choice, dead))
        _, back = jax.vjp(lambda f, decoder: product(f, decoder, kind.matmul), f, decoder)
        of_features, of_decoder = back(slope)
        return jnp.where(f > 0, of_features, 0).astype(low), of_decoder

    empty = lambda: (jnp.zeros(pre.shape, low), jnp.zeros_like(decoder))
    of_pre, of_decoder = jax.lax.cond(revive, run, empty)
    return None, of_pre.astype(pre.dtype), of_decoder, None, None, None


dead_share.defvjp(_forward, _backward)
