"""The sites that a model emits, found by tracing one block; nothing is run."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._tabular import Tabular
from .._text import text_table
from ..typing import ModelLike, TokensLike
from ._blocks import at_layer, context, layer_count
from ._check import Shapes, as_tokens, check_tokens, token_shape
from ._edit import Edit
from ._intervene import split_edits
from ._lengths import lengthened
from ._sites import SITES, axes_of, is_per_layer, row_of
from ._tap import ListingTap


def survey(model: Any, tokens: Any, edits: Sequence[Edit] = ()) -> Shapes:
    """Every site of a model (with its splices) for tokens of one shape, without a layer axis.

    A block is traced once for prompts of every length and every batch: the sites of a few short prompts say
    which of their axes are positions and batches.
    """
    emitting = tuple(edit for edit in edits if type(edit).emit is not Edit.emit)
    halves = eqx.partition((model, emitting), eqx.is_array)
    (leaves, treedef), (static_leaves, static_def) = map(jax.tree.flatten, halves)
    # NumPy's int64 and float64 become what JAX will make of them.
    spec = tuple((leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)) for leaf in leaves)
    prompts, dtype = token_shape(tokens), jax.dtypes.canonicalize_dtype(tokens.dtype)
    short = (*range(2, len(prompts) + 1), min(prompts[-1], 5))
    surveyed = functools.partial(_survey, spec, treedef, tuple(static_leaves), static_def)
    found = surveyed((short + tokens.shape[len(prompts) :], dtype))
    shapes = {name: lengthened(found[name], axes_of(name), short, prompts) for name in found}
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    if emitting or len(known) < len(shapes):
        known = surveyed((tokens.shape, dtype))
    return dict(sorted(known.items(), key=lambda item: list(SITES).index(item[0].split(".")[0])))


@functools.lru_cache(maxsize=512)
def _survey(spec: Any, treedef: Any, static_leaves: Any, static_def: Any, token_spec: Any) -> Shapes:
    static = jax.tree.unflatten(static_def, static_leaves)

    def emit(leaves: list[Array], tokens: Array) -> dict[str, Array]:
        model, edits = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        tap = ListingTap(edits)
        positions, ctx = context(model, token_shape(tokens), None)
        resid = model.embed(tokens, positions, tap)
        resid = at_layer(model.blocks, 0)(resid, ctx.at(0), tap)
        model.unembed(resid, tap)
        return tap.shapes

    *structs, tokens = [jax.ShapeDtypeStruct(*each) for each in (*spec, token_spec)]
    return jax.eval_shape(emit, structs, tokens)


class Listing(Tabular, dict[str, jax.ShapeDtypeStruct]):
    """The sites of a model: a dict from names to shapes and dtypes that prints as a table."""

    heading = "Sites"

    def records(self) -> list[dict[str, str]]:
        """A row for each site: its name, axes and shape as a capture has them, dtype and meaning."""
        rows = []
        for name, struct in self.items():
            extra = len(struct.shape) - len(axes_of(name)) - is_per_layer(name)
            axes = ["layer"] * is_per_layer(name) + ["batch"] * extra + list(axes_of(name))
            texts = name, " ".join(axes), str(struct.shape), str(struct.dtype), row_of(name).meaning
            rows.append(dict(zip(["site", "axes", "shape", "dtype", "meaning"], texts, strict=True)))
        return rows

    def __repr__(self) -> str:
        return text_table([{k: row[k] for k in row if k != "meaning"} for row in self.records()])


def sites(model: ModelLike, tokens: TokensLike | jax.ShapeDtypeStruct | None = None) -> Listing:
    """The sites of a model by name, with the shapes and dtypes that captures have. Nothing is run.

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `tokens`: `(*batch, pos)`, or only their shape and dtype; by default one prompt of eight tokens.

    **Returns:** a dict `{site: jax.ShapeDtypeStruct}`, with the leading layer axis where captures
    are stacked. It prints as a table.

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
