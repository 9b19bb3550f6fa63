"""Whether a lens and the model answer alike when directions are removed."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._waiting import waiting
from ..core._check import as_mask, as_tokens
from ..core._run import resume
from ..mesh._gather import on_mesh
from ..nn._linear import einsum
from ..stats._results import Result
from ..typing import ArrayLike, IntLike, MaskLike, ModelLike, TokensLike
from ._causal_basis import row_of
from ._measures import log_softmax
from ._read import Lens, LogitLens, unembed


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment(Result):
    """How similarly a lens and the model change when a direction is removed; made by `stimulus_response`.

    - `similarity (k,)`: the cosine of both changes in Aitchison's geometry, a mean over tokens. It is 1 where they agree.
    - `stimulus (k,)`, `response (k,)`: the mean length of the change of the lens, and that of the model.

    ```python
    alignment = ji.lens.stimulus_response(model, tokens, basis.directions, row=2)
    alignment.similarity, alignment.response
    ```
    """

    similarity: np.ndarray
    stimulus: np.ndarray
    response: np.ndarray

    def figure(self, *, title: str = "Answers of lens and model") -> viz.Figure:
        """The cosine of both changes, direction by direction."""
        return viz.lines({"cosine": self.similarity}, x_axis="direction", y_axis="cosine", title=title)


def aitchison(a: ArrayLike, b: ArrayLike, weights: ArrayLike) -> Float[Array, "*batch"]:
    r"""$\langle a, b \rangle_w = \sum_v w_v (a_v - \bar a)(b_v - \bar b)$ of log-probabilities, with $\bar a = \sum_v w_v a_v$.

    **Arguments:**

    - `a`, `b (..., vocab)`: logits, log-probabilities, or differences of these.
    - `weights (..., vocab)`: the weight of each token; they sum to 1.

    **Returns:** `(...)`.

    ```python
    logits = ji.lens.logit_lens(model, tokens, pos=-1)
    p = jax.nn.softmax(logits[-1])
    ji.lens.aitchison(logits[2], logits[-1], p)         # the inner product of row 2 and the model
    ```

    Law: a number added to all logits changes nothing.
    """
    x, y, w = (jnp.asarray(each) for each in (a, b, weights))
    x, y = (each - (w * each).sum(-1, keepdims=True) for each in (x, y))
    return (w * x * y).sum(-1)


@waiting("ji.lens.stimulus_response: compiling and running")
def stimulus_response(
    model: ModelLike,
    tokens: TokensLike,
    directions: ArrayLike,
    *,
    row: IntLike,
    lens: Lens | None = None,
    mask: MaskLike | None = None,
) -> Alignment:
    r"""$\cos(\Delta \text{lens}, \Delta \text{model})$ for each direction that is mean-ablated in a row of the stream.

    Belrose et al. 2023 (https://arxiv.org/abs/2303.08112). The stimulus is the change of the lens; the response is the
    change of the model's output. Both are changes of log-probabilities. They are compared by the inner product
    `aitchison`, whose weights are the model's own probabilities.

    **Arguments:**

    - `model`, `tokens`, `row`, `lens`, `mask`: as in `causal_basis`. One run for each direction holds all logits.
    - `directions (k, d)`: each is removed alone, at all positions. Their lengths do not matter.

    **Returns:** `Alignment`.

    **Raises:** ValueError for directions of another width or of length 0.

    ```python
    ji.lens.stimulus_response(model, tokens, basis.directions, row=2, lens=tuned).similarity
    ```

    Law: where the blocks behind the row add nothing, the logit lens changes as the model does, and the similarity is 1.
    """
    lens = LogitLens() if lens is None else lens
    streams, place = row_of(model, tokens, lens, row, mask)
    v = np.asarray(directions, np.float32)
    if v.ndim != 2 or v.shape[1] != streams.after.shape[-1] or not (np.isfinite(v).all() and v.any(1).all()):
        raise ValueError(
            f"directions are (k, {streams.after.shape[-1]}), finite, none of length 0; got the shape {v.shape}."
        )
    v = jnp.asarray(v / np.linalg.norm(v, axis=1, keepdims=True))
    real = jnp.ones(as_tokens(tokens).shape, bool) if mask is None else as_mask(mask)
    parameters = jax.tree.map(lambda leaf: leaf[place], lens.parameters())
    x = streams.rows[place]
    found = _alignment(lens, parameters, streams.reader, model, x, real, v, streams.picked[place])
    return Alignment(*(np.asarray(each) for each in found))


@on_mesh
@eqx.filter_jit
def _alignment(
    lens: Lens,
    parameters: Any,
    reader: ModelLike,
    model: ModelLike,
    x: Array,
    real: Array,
    directions: Array,
    row: int,
) -> tuple[Array, Array, Array]:
    read = lambda h: log_softmax(unembed(reader, lens.translate(parameters, h)))
    rest = lambda h: log_softmax(resume(model, h, row, mask=real)[0])
    weight = real.astype(x.dtype)
    weight = weight / weight.sum()
    mean = einsum("...pd,...p->d", x, weight)
    before, own = read(x), rest(x)
    p = jnp.exp(own)

    def one(v: Array) -> tuple[Array, Array, Array]:
        off = einsum("...d,d->...", x - jnp.broadcast_to(mean, x.shape), v)
        moved = x - off[..., None] * jnp.broadcast_to(v, x.shape)
        stimulus, response = read(moved) - before, rest(moved) - own
        both, a, b = (
            aitchison(*pair, p) for pair in ((stimulus, response), (stimulus, stimulus), (response, response))
        )
        size = jnp.sqrt(a * b)
        cosine = jnp.where(size > 0, both / jnp.where(size > 0, size, 1), 0)
        return (cosine * weight).sum(), (jnp.sqrt(a) * weight).sum(), (jnp.sqrt(b) * weight).sum()

    return jax.lax.map(one, directions)
