r"""The Jacobian lens: the average linear effect of a layer's stream on the last one.

$$J_\ell = \mathbb E_{\text{prompt}}\, \frac{1}{|V|} \sum_{t \in V} \sum_{\substack{t' \in V \\ t' \ge t}}
\frac{\partial\, x_{L,t'}}{\partial\, x_{\ell,t}}$$

A row of it is one vector-Jacobian product: with the cotangent $e_j$ at every position of $V$ at
once, the gradient at $t$ sums over all later $t'$. One backward pass serves every layer.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._blocks import layer_count
from ..core._check import as_selector, check_selector
from ..core._edits import add
from ..core._intervene import config_of, split_edits
from ..core._run import run
from ..corpus._batches import Batch
from ..corpus._progress import watched
from ..corpus._scan import fold_rows
from ._read import Lens, token_shape
from ._stream import batches


class JacobianLens(Lens):
    r"""$\text{logits}_r = \mathrm{norm}(J_r\, x_r)\,W_U$: what a stream does to the output, on average.

    - `matrices` `(row, d, d)`: $J$ as it acts on columns, its first axis that of the last stream.
    - `layers`: the blocks whose outputs it reads; -1 stands for the embedding.

    ```python
    lens = ji.lens.fit_jacobian_lens(model, [tokens])
    logits = lens(model, tokens)                        # (len(lens.layers) + 1, *batch, pos, vocab)
    ```

    Law: of a model whose blocks are linear it gives the model's own logits at every row.
    """

    matrices: Float[Array, "row d d"]
    layers: tuple[int, ...] = eqx.field(static=True)

    def rows(self, count: int) -> tuple[int, ...]:
        if max(self.layers, default=-1) > count - 2:
            raise ValueError(
                f"This lens reads the outputs of blocks {self.layers}; of the model's {count} "
                f"blocks it can read those before the last, 0..{count - 2}."
            )
        return tuple(layer + 1 for layer in self.layers)

    def parameters(self) -> Any:
        return self.matrices

    @staticmethod
    def translate(parameters: Any, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        wide = np.promote_types(x.dtype, np.float32)
        out = jnp.einsum("...d,ed->...e", x.astype(wide), parameters.astype(wide), precision="highest")
        return out.astype(x.dtype)


def fit_jacobian_lens(
    model: Any,
    stream: Any,
    *,
    layers: Any = None,
    skip: int = 16,
    skip_last: int = 1,
    reach: str = "later",
    dims_at_once: int = 32,
    progress: bool = True,
) -> JacobianLens:
    r"""$J_\ell = \mathbb E\,[\partial x_L / \partial x_\ell]$, averaged over positions, then over prompts.

    The settings by default are those of the published lenses
    (https://github.com/neuronpedia/jacobian-lens): positions 16 to the last but one, both of the
    source and of the target; a source position's effect is summed over all later target positions;
    every prompt weighs the same.

    **Arguments:**

    - `model`; `stream`, an iterable of token batches `(batch, pos)` or `(tokens, mask)`.
    - `layers`: blocks whose outputs are read; by default all but the last. -1 is the embedding.
    - `skip`, `skip_last`: how many real tokens at either end of a prompt are left out.
    - `reach`: `"later"` sums over target positions; `"same"` takes only the position itself, one
      backward pass per position: far dearer.
    - `dims_at_once`: rows of the matrix found in one backward pass; costs memory, changes nothing.

    **Returns:** a `JacobianLens` in float32 at least.

    ```python
    lens = ji.lens.fit_jacobian_lens(model, prompts)
    ```

    Laws: equal to the full Jacobian summed and averaged; every split into batches and
    `dims_at_once` gives the same.
    """
    layers = _checked_layers(model, layers)
    dims = np.arange(config_of(model).d)
    matrices = jacobian_rows(
        model,
        stream,
        dims,
        layers=layers,
        skip=skip,
        skip_last=skip_last,
        reach=reach,
        dims_at_once=dims_at_once,
        progress=progress,
    )
    return JacobianLens(matrices, layers)


def jacobian_rows(
    model: Any,
    stream: Any,
    dims: Any,
    *,
    layers: Any = None,
    skip: int = 16,
    skip_last: int = 1,
    reach: str = "later",
    dims_at_once: int = 32,
    progress: bool = True,
) -> Float[Array, "layer dim d"]:
    r"""$e_j^\top J_\ell$ for some $j$: rows of the Jacobian lens, at the price of those rows.

    For a look at a large model, or to check a lens of others: a tenth of the rows costs a tenth.

    **Arguments:** `dims` `(n,)`, which coordinates of the last stream; the rest as in
    `fit_jacobian_lens`.

    **Returns:** `(layer, n, d)`.

    Law: equal to those rows of the fitted lens.
    """
    layers = _checked_layers(model, layers)
    if reach not in ("later", "same"):
        raise ValueError(f"reach is 'later' or 'same'; got {reach!r}.")
    dims = np.asarray(as_selector(dims, "dims"))
    check_selector("dim", dims, config_of(model).d, (), "jacobian_rows")
    chunk = next(size for size in range(min(dims_at_once, len(dims)), 0, -1) if len(dims) % size == 0)
    if callable(stream):
        raise ValueError("The prompts to average over are an iterable of token batches; got a function.")
    items = list(stream)
    total, prompts = None, 0
    config = config_of(model)
    found = batches(items, None, 0, len(items), config)
    chunks = jnp.asarray(dims.reshape(-1, chunk))
    for tokens, mask in watched(found, len(items), "Jacobian lens", progress):
        shape = token_shape(tokens)
        valid = valid_positions(shape, mask, skip, skip_last)
        if not valid.any(-1).all():
            raise ValueError(
                f"A prompt has no position left of {shape[-1]} after skip={skip} and "
                f"skip_last={skip_last}: give longer prompts, or skip less."
            )
        if total is None:
            wide = np.promote_types(split_edits(model)[0].w_embed.dtype, np.float32)
            total = jnp.zeros((len(layers), len(dims), config.d), wide)
        total = _added(model, tokens, mask, jnp.asarray(valid), total, chunks, layers, reach)
        prompts += int(np.prod(shape[:-1]))
    if total is None:
        raise ValueError("The Jacobian lens needs at least one batch of tokens (batch, pos); got none.")
    return total / prompts


def _checked_layers(model: Any, layers: Any) -> tuple[int, ...]:
    count = layer_count(model)
    layers = tuple(range(count - 1)) if layers is None else tuple(int(layer) for layer in layers)
    if not layers or min(layers) < -1 or max(layers) > count - 2:
        raise ValueError(
            f"layers are blocks before the last, 0..{count - 2}, or -1 for the embedding; got {layers}."
        )
    return layers


def valid_positions(shape: tuple[int, ...], mask: Any, skip: int, skip_last: int) -> np.ndarray:
    """Real tokens but the first and last few of each prompt, `(*batch, pos)`."""
    real = np.ones(shape, bool) if mask is None else np.asarray(mask)
    number = real.cumsum(-1) - 1
    left = np.flip(np.flip(real, -1).cumsum(-1), -1) - 1
    return real & (number >= skip) & (left >= skip_last)


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
    """`total` and the prompts' mean Jacobians, added up."""
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


class JacobianSums(eqx.Module):
    """One batch of a fold: the mean Jacobian of each prompt, over its positions that count."""

    model: Any
    dims: Any  # (chunks, chunk)
    layers: tuple[int, ...] = eqx.field(static=True)
    reach: str = eqx.field(static=True)

    def __call__(self, total: Array, batch: Batch, acts: Any) -> Float[Array, "layer dim d"]:
        model, layers, valid = self.model, self.layers, batch.positions
        config = config_of(model)
        count, d, shape = config.layers, config.d, valid.shape
        dtype = split_edits(model)[0].w_embed.dtype
        wide = np.promote_types(dtype, np.float32)
        share = valid.astype(wide)
        share = share / jnp.maximum(share.sum(-1, keepdims=True), 1)
        embedding = -1 in layers

        def last(nudges: tuple[Array, Array | None]) -> Array:
            after, before = nudges
            edits = [add("resid_post", after)]
            if before is not None:
                edits.append(add("resid_pre", before, layer=0))
            how: dict[str, Any] = {"capture": "resid_post[-1]", "mask": batch.padding, "logits": False}
            return run(model, batch.tokens, edits=edits, **how)[1]["resid_post[-1]"]

        nothing = jnp.zeros((count, *shape, d), dtype)
        _, pull = jax.vjp(last, (nothing, nothing[0] if embedding else None))

        def pulled(cotangent: Array) -> Array:
            ((after, before),) = pull(cotangent.astype(dtype))
            rows = [before if layer < 0 else after[layer] for layer in layers]
            return jnp.stack(rows).astype(wide)  # (layer row pos d)

        def rows(dims: Array) -> Array:
            def one(dim: Array) -> Array:
                basis = jnp.broadcast_to(jax.nn.one_hot(dim, d, dtype=wide), (*shape, d))
                if self.reach == "later":
                    grads = pulled(basis * valid.astype(wide)[..., None])
                    return jnp.einsum("r...pd,...p->rd", grads, share, precision="highest")

                def at(position: Array) -> Array:
                    here = jax.nn.one_hot(position, shape[-1], dtype=wide)
                    here = jnp.broadcast_to(here, share.shape) * share
                    grads = pulled(basis * jnp.broadcast_to(here[..., None], basis.shape))
                    only = jnp.take(grads, position, axis=-2)
                    return only.reshape(len(layers), -1, d).sum(1)

                positions = jnp.arange(shape[-1], dtype=jnp.int32)
                return lax.map(at, positions).sum(0)

            return jax.vmap(one)(dims)

        chunks = lax.map(rows, self.dims)  # (chunks chunk layer d)
        return total + jnp.moveaxis(chunks.reshape(-1, len(layers), d), 0, 1)
