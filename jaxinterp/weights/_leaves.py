"""Leaves of a model by their paths, and new models with some of them replaced."""

import dataclasses
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core._check import check_model
from ..core._intervene import Intervened
from ..typing import ModelLike

READERS = {
    "blocks.ln1": [
        ("blocks.attn.w_q", "blocks.attn.b_q"),
        ("blocks.attn.w_k", "blocks.attn.b_k"),
        ("blocks.attn.w_v", "blocks.attn.b_v"),
    ],
    "blocks.ln2": [
        ("blocks.mlp.w_in", "blocks.mlp.b_in"),
        ("blocks.mlp.w_gate", "blocks.mlp.b_gate"),
    ],
    "ln_final": [("w_unembed", "b_unembed")],
}
"""Each norm with the matrices that read its output, `(..., d, out)`, and their biases."""

WRITERS = (
    "w_embed",
    "w_pos",
    "blocks.attn.w_o",
    "blocks.attn.b_o",
    "blocks.mlp.w_out",
    "blocks.mlp.b_out",
)
"""The leaves that write to the residual stream, `(..., d)`."""


def leaf(model: Any, path: str) -> Any:
    """The leaf at a path such as `"blocks.attn.w_q"`; None where the model has none."""
    for name in path.split("."):
        model = getattr(model, name, None)
    return model


def put(model: Any, leaves: Mapping[str, Any]) -> Any:
    """The model with other leaves; None is a leaf too."""
    where = [attrgetter(path) for path in leaves]
    return eqx.tree_at(
        lambda module: [get(module) for get in where],
        model,
        list(leaves.values()),
        is_leaf=lambda node: node is None,
    )


def check_layout(model: ModelLike, caller: str) -> Any:
    """The model, which has the leaves that weight functions read. No edits may act on it."""
    if isinstance(model, Intervened):
        raise ValueError(
            f"weights.{caller} changes or reads weights and cannot see the edits of an intervened "
            f"model. Give it the model inside, then intervene again: "
            f"ji.intervene(ji.weights.{caller}(model.model), model.edits)."
        )
    needed = ("w_embed", "blocks.attn.w_q", "blocks.attn.w_o")
    missing = [path for path in needed if leaf(model, path) is None]
    if missing:
        if isinstance(model, tuple | str):  # what ji.load returns, or takes
            check_model(model)
        raise ValueError(
            f"weights.{caller} reads a transformer with the leaves of ji.models (w_embed, "
            f"blocks.attn.w_q, ...); this {type(model).__name__} has no {', '.join(missing)}."
        )
    return model


def untied(model: Any) -> Any:
    """The same model with an unembedding of its own, a transposed copy of the embedding."""
    if model.w_unembed is not None:
        return model
    model = put(model, {"w_unembed": model.w_embed.T})
    if getattr(model.config, "tied", False):
        config = dataclasses.replace(model.config, tied=False)
        model = dataclasses.replace(model, config=config)
    return model


def wide(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """`x` in float32 at least, where means and products are taken."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def matmul(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """`a @ b` at full precision, leading axes broadcast."""
    lead = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = jnp.broadcast_to(a, (*lead, *a.shape[-2:]))
    b = jnp.broadcast_to(b, (*lead, *b.shape[-2:]))
    return jnp.matmul(a, b, precision="highest")


def per_query_head(model: Any, w: Float[Array, "layer kv_head *rest"]) -> Float[Array, "layer head *rest"]:
    """A leaf of the key/value heads, once per query head that reads it."""
    attn = model.blocks.attn
    return jnp.repeat(w, attn.w_q.shape[-3] // attn.w_k.shape[-3], axis=1)
