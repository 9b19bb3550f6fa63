"""What a model emits, found by tracing one block without running anything."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ..mesh._automatic import check_automatic
from ._check import as_tokens, check_model, check_tokens, kind_of
from ._edit import Edit, check_edit
from ._sites import SITES, axes_of, is_per_layer
from ._tap import SurveyTap
from ._types import Context


def layer_count(model: Any) -> int:
    """How many blocks are stacked in a model."""
    leaves = jax.tree.leaves(eqx.filter(model.blocks, eqx.is_array))
    if not leaves:
        raise ValueError("The blocks of this model hold no arrays, so it has no layers to run.")
    return leaves[0].shape[0]


def block_at(blocks: Any, layer: Any) -> Any:
    """The block of one layer, of a stack; `layer` may be traced."""
    if isinstance(layer, int):
        return jax.tree.map(lambda leaf: leaf[layer] if eqx.is_array(leaf) else leaf, blocks)
    take = functools.partial(jax.lax.dynamic_index_in_dim, index=layer, keepdims=False)
    return jax.tree.map(lambda leaf: take(leaf) if eqx.is_array(leaf) else leaf, blocks)


def context(
    model: Any, tokens_shape: tuple[int, ...], real: Bool[Array, "*batch pos"] | None
) -> tuple[Int[Array, "*batch pos"], Context]:
    """Positions and attention mask of prompts of one shape `(*batch, pos)`.

    With padding, positions count real tokens only, and nothing attends to padding.
    """
    pos = tokens_shape[-1]
    allowed = jnp.tril(jnp.ones((pos, pos), bool)) if model.config.causal else None
    if real is None:
        positions = jnp.arange(pos, dtype=jnp.int32)
    else:
        positions = jnp.maximum(jnp.cumsum(real, -1, dtype=jnp.int32) - 1, 0)
        keys = jnp.broadcast_to(real[..., None, :], (*real.shape[:-1], pos, pos))
        allowed = keys if allowed is None else keys & jnp.broadcast_to(allowed, keys.shape)
    return positions, shared_context(allowed, model.tables(positions))


def shared_context(allowed: Any, tables: Any) -> Context:
    """What all blocks share, computed once and the same however each block is compiled."""
    return Context(*jax.lax.optimization_barrier((allowed, tables)))


def survey(model: Any, tokens: Any, edits: Sequence[Edit] = ()) -> dict[str, jax.ShapeDtypeStruct]:
    """Every site of a model (with its splices) for tokens of one shape, without a layer axis."""
    arrays, static = eqx.partition((model, tuple(edits)), eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    static_leaves, static_def = jax.tree.flatten(static)
    # NumPy's int64 and float64 become what JAX will make of them.
    spec = tuple((leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves)
    token_spec = (tokens.shape, jax.dtypes.canonicalize_dtype(tokens.dtype))
    found = _survey(spec, treedef, tuple(static_leaves), static_def, token_spec)
    order = {name: i for i, name in enumerate(SITES)}
    return dict(sorted(found.items(), key=lambda item: order[item[0].split(".")[0]]))


@functools.lru_cache(maxsize=512)
def _survey(
    spec: Any, treedef: Any, static_leaves: Any, static_def: Any, token_spec: Any
) -> dict[str, jax.ShapeDtypeStruct]:
    static = jax.tree.unflatten(static_def, static_leaves)

    def emit(leaves: list[Array], tokens: Array) -> dict[str, Array]:
        model, edits = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        tap = SurveyTap(edits)
        soft = jnp.issubdtype(tokens.dtype, jnp.floating)
        shape = tokens.shape[:-1] if soft else tokens.shape
        positions, ctx = context(model, shape, None)
        resid = model.embed(tokens, positions, tap)
        resid = block_at(model.blocks, 0)(resid, ctx.at(0), tap)
        model.unembed(resid, tap)
        return tap.shapes

    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in spec]
    return jax.eval_shape(emit, structs, jax.ShapeDtypeStruct(*token_spec))


class Listing(dict[str, jax.ShapeDtypeStruct]):
    """The sites of a model: a dict from names to shapes and dtypes that prints as a table."""

    def __repr__(self) -> str:
        rows = [("site", "axes", "shape", "dtype")]
        for name, struct in self.items():
            extra = len(struct.shape) - len(axes_of(name)) - is_per_layer(name)
            axes = ["layer"] * is_per_layer(name) + ["batch"] * extra + list(axes_of(name))
            rows.append((name, " ".join(axes), str(tuple(struct.shape)), str(struct.dtype)))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(repr(self))}</pre>"


def sites(model: Any, tokens: Any = None) -> Listing:
    """What `capture` can name: every site of a model, with shapes and dtypes, nothing run.

    **Arguments:** `model`; `tokens` `(*batch, pos)` (or only their shape and dtype), by default
    one prompt of eight.

    **Returns:** a dict `{site: jax.ShapeDtypeStruct}`, with the leading layer axis where captures
    come stacked. It prints as a table.

    ```python
    print(ji.sites(model, tokens))
    ```

    Law: shapes and dtypes are those that `ji.run(..., capture=[site])` returns.
    """
    model, edits = split_edits(model)
    if tokens is None:
        tokens = jax.ShapeDtypeStruct((8,), jnp.int32)
    elif not isinstance(tokens, jax.ShapeDtypeStruct):
        tokens = as_tokens(tokens)
        check_tokens(tokens, model.config)
    layers = layer_count(model)
    listing = Listing()
    for name, struct in survey(model, tokens, edits).items():
        shape = (layers, *struct.shape) if is_per_layer(name) else struct.shape
        listing[name] = jax.ShapeDtypeStruct(shape, struct.dtype)
    return listing


def config_of(model: Any) -> Any:
    """The config of a model, with or without edits of its own; what is no model is told."""
    return split_edits(model)[0].config


class Intervened(eqx.Module):
    """A model with edits that are always on: what `intervene` returns."""

    model: Any
    edits: tuple[Edit, ...]

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def blocks(self) -> Any:
        return self.model.blocks


def intervene(model: Any, edits: Edit | Sequence[Any] | Any | None) -> Intervened:
    r"""$M \mapsto M_{e_1, \dots, e_n}$: a model whose every run applies the edits.

    **Arguments:** `model`; `edits`, one or several, applied in order, before those of a run.

    **Returns:** a model again: pass it to `run`, `generate`, `sites` or to `intervene`.

    ```python
    steered = ji.intervene(model, [ji.add("resid_post", 4.0 * direction, layer=2)])
    ```

    Law: `run(intervene(model, a), t, edits=b)` is `run(model, t, edits=a + b)`.
    """
    base, own, asked = gather_edits(model, edits)
    return Intervened(base, own + asked)


def gather_edits(
    model: Any, edits: Edit | Sequence[Any] | Any | None
) -> tuple[Any, tuple[Edit, ...], tuple[Edit, ...]]:
    """A model without its own edits, those, and those of a call, which come after."""
    base, own = split_edits(model)
    check_automatic(base)
    return base, own, as_edits(edits)


def as_edits(edits: Edit | Sequence[Any] | Any | None) -> tuple[Edit, ...]:
    """One edit, several, or none (None too), each checked to be one."""
    if edits is None or isinstance(edits, Edit):
        return () if edits is None else (edits,)
    if not isinstance(edits, Iterable):
        raise ValueError(
            f"edits is an edit or a list of them; got {kind_of(edits)}. Write edits=[ji.zero('z', layer=0, head=1)]."
        )
    asked = tuple(edits)
    for edit in asked:
        check_edit(edit)
    return asked


def split_edits(model: Any) -> tuple[Any, tuple[Edit, ...]]:
    """A model without its own edits, and those."""
    if isinstance(model, Intervened):
        return model.model, model.edits
    check_model(model)
    return model, ()
