r"""The Jacobian lens: the average linear effect of a layer's stream on the last one.

$$J_\ell = \mathbb E_{\text{prompt}}\, \frac{1}{|V|} \sum_{t \in V} \sum_{\substack{t' \in V \\ t' \ge t}}
\frac{\partial\, x_{L,t'}}{\partial\, x_{\ell,t}}$$

A row of it is one vector-Jacobian product. With the cotangent $e_j$ at all positions of $V$ together, the
gradient at $t$ is the sum over all later $t'$. One backward pass serves all layers.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..core._blocks import layer_count
from ..core._check import as_selector, check_selector
from ..core._intervene import config_of, split_edits
from ..corpus._progress import watched
from ..corpus._scan import fold_rows
from ..mesh._gather import on_mesh
from ..typing import BatchesLike, IndexLike, LayersLike, MaskLike, ModelLike
from ._jacobian import JacobianLens
from ._jacobian_sums import JacobianSums
from ._read import token_shape
from ._stream import batches


def fit_jacobian_lens(
    model: ModelLike,
    stream: BatchesLike,
    *,
    layers: LayersLike | None = None,
    skip: int = 16,
    skip_last: int = 1,
    reach: str = "later",
    dims_at_once: int = 32,
    progress: bool = True,
) -> JacobianLens:
    r"""$J_\ell = \mathbb E\,[\partial x_L / \partial x_\ell]$, averaged over positions, then over prompts.

    The defaults are those of the published lenses (https://github.com/neuronpedia/jacobian-lens).
    Source and target positions run from number 16 to the last but one. The effect of a source position
    is summed over all later target positions. All prompts have the same weight.

    **Arguments:**

    - `model`: any model of the protocol.
    - `stream`: an iterable of token batches `(batch, pos)`, or of pairs `(tokens, mask)`.
    - `layers`: blocks whose outputs are read, -1 for the embedding; None (the default) for all but the
      last block.
    - `skip`: how many real tokens at the start of a prompt are left out; 16 by default.
    - `skip_last`: how many real tokens at its end are left out; 1 by default.
    - `reach`: `"later"` (the default) sums over target positions. `"same"` uses only the source position
      itself; it needs one backward pass per position and takes far longer.
    - `dims_at_once`: rows of the matrix in one backward pass; 32 by default. More rows need more memory
      and give the same result.
    - `progress`: shows a progress bar on stderr; True by default.

    **Returns:** a `JacobianLens` in float32 at least.

    **Raises:** ValueError for a layer out of range, another `reach`, and prompts without a position
    left.

    ```python
    lens = ji.lens.fit_jacobian_lens(model, [prompts], layers=[1])
    ```

    Laws: equal to the full Jacobian summed and averaged; every split into batches and
    `dims_at_once` gives the same.
    """
    numbers = _checked_layers(model, layers)
    dims = np.arange(config_of(model).d)
    matrices = jacobian_rows(
        model,
        stream,
        dims,
        layers=numbers,
        skip=skip,
        skip_last=skip_last,
        reach=reach,
        dims_at_once=dims_at_once,
        progress=progress,
    )
    return JacobianLens(matrices, numbers)


def jacobian_rows(
    model: ModelLike,
    stream: BatchesLike,
    dims: IndexLike,
    *,
    layers: LayersLike | None = None,
    skip: int = 16,
    skip_last: int = 1,
    reach: str = "later",
    dims_at_once: int = 32,
    progress: bool = True,
) -> Float[Array, "layer dim d"]:
    r"""$e_j^\top J_\ell$ for chosen $j$: rows of the Jacobian lens.

    A tenth of the rows costs a tenth of the time. Use some rows to explore a large model, or to check a published
    lens.

    **Arguments:**

    - `model`, `stream`, and the options: as in `fit_jacobian_lens`.
    - `dims`: which coordinates of the last stream, `(n,)`.

    **Returns:** `(layer, n, d)`, in float32 at least.

    ```python
    rows = ji.lens.jacobian_rows(model, [prompts], [7, 8], layers=[1])      # (1, 2, d)
    ```

    Law: equal to those rows of the fitted lens.
    """
    numbers = _checked_layers(model, layers)
    if reach not in ("later", "same"):
        raise ValueError(f"reach is 'later' or 'same'; got {reach!r}.")
    which = np.asarray(as_selector(dims, "dims"))
    check_selector("dim", which, config_of(model).d, (), "jacobian_rows")
    chunk = next(size for size in range(min(dims_at_once, len(which)), 0, -1) if len(which) % size == 0)
    if callable(stream):
        raise ValueError(
            "The prompts to average over are an iterable of token batches; got a function. Write "
            "ji.lens.fit_jacobian_lens(model, [tokens])."
        )
    items = list(stream)
    total, prompts = None, 0
    config = config_of(model)
    chunks = jnp.asarray(which.reshape(-1, chunk))
    parts = batches(items, None, 0, len(items), config)
    for tokens, mask in watched(parts, len(items), "Jacobian lens", progress):
        shape = token_shape(tokens)
        valid = valid_positions(shape, mask, skip, skip_last)
        if not valid.any(-1).all():
            raise ValueError(
                f"A prompt has no position left of {shape[-1]} after skip={skip} and "
                f"skip_last={skip_last}: give longer prompts, or skip less."
            )
        if total is None:
            wide = np.promote_types(split_edits(model)[0].w_embed.dtype, np.float32)
            total = jnp.zeros((len(numbers), len(which), config.d), wide)
        total = _added(model, tokens, mask, jnp.asarray(valid), total, chunks, numbers, reach)
        prompts += int(np.prod(shape[:-1]))
    if total is None:
        raise ValueError("The Jacobian lens needs at least one batch of tokens (batch, pos); got none.")
    return total / prompts


def _checked_layers(model: ModelLike, layers: LayersLike | None) -> tuple[int, ...]:
    """Layers as ints, checked; all blocks but the last for None."""
    count = layer_count(model)
    if layers is None or isinstance(layers, slice):
        numbers = tuple(range(count - 1)[layers or slice(None)])
    else:
        numbers = tuple(int(number) for number in np.atleast_1d(np.asarray(layers)))
    if not numbers or min(numbers) < -1 or max(numbers) > count - 2:
        raise ValueError(
            f"layers are blocks before the last, 0..{count - 2}, or -1 for the embedding; got {numbers}."
        )
    return numbers


def valid_positions(shape: tuple[int, ...], mask: MaskLike | None, skip: int, skip_last: int) -> np.ndarray:
    """Real tokens but the first and last few of each prompt, `(*batch, pos)`."""
    real = np.ones(shape, bool) if mask is None else np.asarray(mask)
    number = real.cumsum(-1) - 1
    left = np.flip(np.flip(real, -1).cumsum(-1), -1) - 1
    return real & (number >= skip) & (left >= skip_last)


@on_mesh
@eqx.filter_jit
def _added(
    model: Any,
    tokens: Array,
    mask: Array | None,
    valid: Array,
    total: Float[Array, "layer dim d"],
    dims: Int[Array, "chunks chunk"],
    layers: tuple[int, ...],
    reach: str,
) -> Float[Array, "layer dim d"]:
    """`total` plus the mean Jacobians of these prompts."""
    shape = token_shape(tokens)
    flat = lambda x: x.reshape(-1, *x.shape[len(shape) - 1 :])
    real = jnp.ones(shape, bool) if mask is None else mask
    return fold_rows(
        model,
        [],
        total,
        JacobianSums(model, dims, layers, reach),
        tokens=flat(tokens),
        mask=flat(real),
        positions=flat(valid),
        size=int(np.prod(shape[:-1])),
        padded=mask is not None,
    )
