"""Which directions of a stream a lens depends on."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, check_key
from .._random import host_generator
from .._waiting import waiting
from ..core._check import as_mask
from ..mesh._gather import on_mesh
from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..typing import IntLike, KeyLike, MaskLike, ModelLike, TokensLike
from ._measures import kl, log_softmax
from ._read import Lens, LogitLens, Streams, capture, unembed


@dataclasses.dataclass(frozen=True, eq=False)
class CausalBasis(Result):
    """Directions of a stream by how much a lens depends on them; made by `causal_basis`.

    - `directions (k, d)`: orthonormal, the most influential first.
    - `energy (k,)`: the KL in nats, a mean over tokens, when the first 1, 2, ... directions are removed.
    - `random (k,)`: the same for orthonormal directions that are drawn at random.
    - `row`: the row of the stream; 0 is the embedding.

    ```python
    basis = ji.lens.causal_basis(model, tokens, row=2, key=jax.random.key(0), lens=tuned)
    basis.energy / basis.random                         # how many times more than random directions
    ```
    """

    directions: np.ndarray
    energy: np.ndarray
    random: np.ndarray
    row: int

    def records(self) -> list[Record]:
        """A row for each direction."""
        return [
            {"directions": i + 1, "energy": float(self.energy[i]), "random": float(self.random[i])}
            for i in range(len(self.energy))
        ]

    def figure(self, *, title: str = "What removing directions costs the lens") -> viz.Figure:
        """Nats by the number of directions, beside directions at random."""
        return viz.lines(
            {"causal basis": self.energy, "random": self.random},
            x=np.arange(1, len(self.energy) + 1),
            x_axis="directions removed",
            y_axis="nats",
            title=title,
        )


@waiting("ji.lens.causal_basis: compiling and running")
def causal_basis(
    model: ModelLike,
    tokens: TokensLike,
    *,
    row: IntLike,
    key: KeyLike,
    lens: Lens | None = None,
    top: IntLike = 4,
    mask: MaskLike | None = None,
    steps: IntLike = 60,
) -> CausalBasis:
    r"""$v_i = \arg\max_{v \perp v_{<i}} \mathbb{E}\,\mathrm{KL}\big(p_\ell(x) \,\|\, p_\ell(r(x, [v_1 \dots v_i]))\big)$, with r the mean-ablation of a span.

    Causal basis extraction, Belrose et al. 2023 (https://arxiv.org/abs/2303.08112). Each direction is found by L-BFGS on
    the sphere, orthogonal to the directions before it. The search starts at a random direction.

    **Arguments:**

    - `model`: any model of the protocol.
    - `tokens`: token ids `(*batch, pos)`.
    - `row`: the row of the stream: 0 the embedding, r the output of block r - 1.
    - `key`: a `jax.random.key`, which draws the starts and the random directions.
    - `lens`: a `TunedLens`; None (the default) for the logit lens.
    - `top`: how many directions, 4 by default.
    - `mask`: True at real tokens, over which the means are taken; None by default.
    - `steps`: the largest number of L-BFGS steps for each direction; 60 by default.

    **Returns:** `CausalBasis`.

    **Raises:** ValueError for a row that the lens does not translate, and for a `top` above the width of the stream.

    ```python
    basis = ji.lens.causal_basis(model, tokens, row=2, key=jax.random.key(0), lens=tuned)
    ji.lens.stimulus_response(model, tokens, basis.directions, row=2, lens=tuned)
    ```

    Laws: directions are orthonormal; where the search succeeds, removing one changes the lens more than removing a
    random direction in its place.
    """
    lens = LogitLens() if lens is None else lens
    count, most = as_int(top, "top", 1), as_int(steps, "steps", 1)
    rng = host_generator(check_key(key, "ji.lens.causal_basis(..., key={})"))
    streams, place = row_of(model, tokens, lens, row, mask)
    d = streams.after.shape[-1]
    if count > d:
        raise ValueError(f"A stream of width {d} has at most {d} directions; got top={count}.")
    real = None if mask is None else np.asarray(as_mask(mask))
    x = np.asarray(streams.rows[place])[... if real is None else real].reshape(-1, d)
    parameters = jax.tree.map(lambda leaf: leaf[place], lens.parameters())
    scored = lambda v, found, known: _removed(
        lens, parameters, streams.reader, jnp.asarray(x), v, found, known
    )
    found, energy = np.zeros((count, d), np.float32), []
    for i in range(count):
        known = jnp.arange(count) < i

        def loss(v: np.ndarray, known: Array = known) -> tuple[float, np.ndarray]:
            value, slope = scored(jnp.asarray(v, jnp.float32), jnp.asarray(found), known)
            return -float(value), -np.asarray(slope, np.float64)

        start = rng.normal(size=d) / np.sqrt(d)
        best = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": most})
        energy.append(-float(best.fun))
        v = best.x - found[:i].T @ (found[:i] @ best.x)
        found[i] = v / np.linalg.norm(v)
    chance = np.linalg.qr(rng.normal(size=(d, count)))[0].T.astype(np.float32)
    random = [
        float(scored(jnp.asarray(chance[i]), jnp.asarray(chance), jnp.arange(count) < i)[0])
        for i in range(count)
    ]
    return CausalBasis(found, np.array(energy), np.array(random), int(streams.picked[place]))


def row_of(
    model: ModelLike, tokens: TokensLike, lens: Lens, row: IntLike, mask: MaskLike | None
) -> tuple[Streams, int]:
    """The streams of a run, and the place of the row among those that the lens translates."""
    streams = capture(model, tokens, lens, mask=mask)
    number = as_int(row, "row", 0)
    if number not in streams.picked:
        raise ValueError(
            f"This lens translates the rows {streams.picked[0]}..{streams.picked[-1]}; got row={number}."
        )
    return streams, streams.picked.index(number)


@on_mesh
@eqx.filter_jit
@eqx.filter_value_and_grad
def _value(v: Array, rest: tuple[Any, ...]) -> Array:
    lens, parameters, reader, x, found, known = rest
    kept = jnp.where(known[:, None], found, 0)
    v = v - einsum("kd,k->d", kept, einsum("kd,d->k", kept, v))
    v = v / jnp.linalg.norm(v)
    basis = jnp.concatenate([kept, v[None]])
    off = x - x.mean(0, keepdims=True)
    moved = x - einsum("nk,kd->nd", einsum("nd,kd->nk", off, basis), basis)
    read = lambda h: log_softmax(unembed(reader, lens.translate(parameters, h[:, None])))[:, 0]
    return kl(read(x), read(moved)).mean()


def _removed(
    lens: Lens, parameters: Any, reader: ModelLike, x: Array, v: Array, found: Array, known: Array
) -> tuple[Array, Array]:
    """The nats that removing the known directions and one more costs, and their slope along it."""
    return _value(v, (lens, parameters, reader, x, found, known))
