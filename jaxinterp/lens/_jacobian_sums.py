"""The sums behind a Jacobian lens: one step of a fold over prompts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._edits import add
from ..core._intervene import config_of, split_edits
from ..core._run import run
from ..corpus._batches import Batch


class JacobianSums(eqx.Module):
    """One step of a fold: adds the mean Jacobian of each prompt, over its positions that count."""

    model: Any
    dims: Int[Array, "chunks chunk"]
    "The rows of the matrix, `chunk` of them in one backward pass."
    layers: tuple[int, ...] = eqx.field(static=True)
    "The blocks whose outputs are read; -1 is the embedding."
    reach: str = eqx.field(static=True)
    "`later` or `same`, as in `fit_jacobian_lens`."

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
