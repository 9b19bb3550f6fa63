"""A residual stream, captured with what wrote it, and put together again from parts."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core._blocks import layer_count
from ..core._captures import at
from ..core._check import check_index
from ..core._edit import Edit
from ..core._intervene import split_edits
from ..core._listing import sites
from ..core._run import run
from ..typing import ArrayLike, EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._components import Components, apply_norm, norm_directions, norm_scale
from ._leaves import wide

STREAMS = ("resid_pre", "resid_mid", "resid_post")


class CapturedStream(eqx.Module):
    """What one run captured: the stream, the embeddings, and what blocks wrote to it before."""

    acts: dict[str, Array]
    attn: int = eqx.field(static=True)
    mlp: int = eqx.field(static=True)
    edited: bool = eqx.field(static=True)

    def __getitem__(self, site: str) -> Array | None:
        return self.acts.get(site)


def capture_stream(
    model: ModelLike,
    tokens: TokensLike,
    parts: Sequence[str],
    *,
    layer: int,
    site: str,
    pos: IndexLike | None,
    mask: MaskLike | None,
    edits: EditsLike,
) -> CapturedStream:
    """Runs the model as far as the stream at `site[layer]`, capturing `parts` of earlier blocks."""
    if site not in STREAMS:
        raise ValueError(
            f"A decomposition is of the residual stream: site is one of {', '.join(STREAMS)}; got {site!r}."
        )
    count = layer_count(model)
    check_index("layer", layer, count, f"{site}[{layer}]")
    layer = layer % count
    attn, mlp = layer + (site != "resid_pre"), layer + (site == "resid_post")
    emitted = sites(model, tokens)
    request = [at(site, layer=layer, pos=pos, name="stream")]
    request += [at(name, pos=pos) for name in ("embed", "pos_embed") if name in emitted]
    for name in parts:
        stop = mlp if name.startswith("mlp") else attn
        if stop and name in emitted:
            request.append(at(name, layer=slice(0, stop), pos=pos, name=name))
    _, acts = run(model, tokens, edits=edits, capture=request, mask=mask, logits=False)
    edited = isinstance(edits, Edit) or bool(split_edits(model)[1]) or len(edits) > 0
    return CapturedStream(dict(acts), attn, mlp if "mlp_out" in emitted else 0, edited)


class Reader(eqx.Module):
    """How components are read: whole, or along directions; behind the last norm, or not.

    `along` are the directions as they stand before the norm, `offset` what the norm's bias adds.
    """

    along: Float[Array, "d n"] | None
    offset: Float[Array, " n"] | None
    norm: Any
    single: bool = eqx.field(static=True)

    @staticmethod
    def of(model: ModelLike, onto: ArrayLike | None, norm: bool) -> "Reader":
        """The reader that arguments ask for; `onto` is checked against the model's width."""
        inner: Any = split_edits(model)[0]
        last = inner.ln_final if norm else None
        if onto is None:
            return Reader(None, None, last, False)
        onto = jnp.asarray(onto)
        d = inner.w_embed.shape[-1]
        floats = jnp.issubdtype(onto.dtype, jnp.floating)
        if onto.ndim not in (1, 2) or onto.shape[0] != d or not floats:
            raise ValueError(
                f"onto is a direction (d,) or several (d, n) of floats, with d={d}; got "
                f"{onto.dtype}{list(onto.shape)}. A token's logit is read along "
                "onto=model.w_unembed[:, token]."
            )
        along, offset = wide(onto.reshape(d, -1)), None
        if last is not None:
            along, offset = norm_directions(last, along)
        return Reader(along, offset, last, onto.ndim == 1)

    def read(self, x: Float[Array, "*batch d"]) -> Array:
        """Vectors of the stream, read. Matrices that write to it too: their products are then as
        narrow as the directions, and vectors of width `d` never exist."""
        if self.along is None:
            return x
        return jnp.einsum("...d,dn->...n", wide(x), self.along, precision="highest").astype(x.dtype)


def assemble(
    model: Any, stream: CapturedStream, reader: Reader, parts: Sequence[tuple[Sequence[str], Array]]
) -> Components:
    """The embeddings and `parts` (read already), the remainder that edits made, and the norm."""
    labels: list[str] = []
    values: list[Array] = []
    ends = [(name, stream[name]) for name in ("embed", "pos_embed") if stream[name] is not None]
    read = [((name,), reader.read(x)[None]) for name, x in ends if x is not None]
    for names, value in [*read, *parts]:
        labels += names
        values.append(value)
    whole = stream.acts["stream"]
    if stream.edited:
        total = sum(wide(value).sum(0) for value in values)
        values.append((wide(reader.read(whole)) - total).astype(whole.dtype)[None])
        labels.append("edits")
    components = Components(jnp.concatenate(values), tuple(labels))
    if reader.along is None:
        return components if reader.norm is None else apply_norm(model, components, whole)
    if reader.norm is not None:
        components = _behind_norm(components, reader, whole)
    if reader.single:
        components = Components(components.values[..., 0], components.labels)
    return components


def _behind_norm(components: Components, reader: Reader, whole: Array) -> Components:
    """Projections divided by the norm's scale, and what its bias projects to."""
    values = wide(components.values)
    values = values / jnp.broadcast_to(norm_scale(reader.norm, whole)[None], values.shape)
    labels = components.labels
    if reader.offset is not None:
        values = jnp.concatenate([values, jnp.broadcast_to(reader.offset, values.shape[1:])[None]])
        labels = (*labels, "ln_final.bias")
    return Components(values.astype(components.values.dtype), labels)
