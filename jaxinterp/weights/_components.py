"""Components: vectors that sum to a residual stream, each with its name."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._tabular import Record, Tabular, drawing
from .._text import line
from ..core._intervene import split_edits
from ..typing import ModelLike
from ._leaves import wide

if TYPE_CHECKING:
    from ..viz import Figure


class Components(Tabular, eqx.Module):
    """Named parts of a residual stream: `values` (component *batch pos d) and `labels`.

    A pytree whose labels are static, so it goes through `jit` and `vmap` (which puts its axis in
    front of `component`). It unpacks as a pair.

    ```python
    values, labels = ji.weights.by_head(model, tokens, pos=-1)
    parts = ji.weights.by_layer(model, tokens)
    parts["mlp_out[1]"]                     # (*batch, pos, d)
    parts.total()                           # the stream
    ```
    """

    values: Float[Array, "component *rest"]
    labels: tuple[str, ...] = eqx.field(static=True)

    def records(self) -> list[Record]:
        """A row for each component and place: its label, the indices of the place, and the `norm` of what it adds."""
        norms = np.linalg.norm(np.asarray(self.values, np.float64), axis=-1)
        return [
            {
                "component": self.labels[at[0]],
                **{f"axis {i}": j for i, j in enumerate(at[1:], 1)},
                "norm": float(norm),
            }
            for at, norm in np.ndenumerate(norms)
        ]

    def figure(self, *, title: str = "Components of the stream") -> "Figure":
        """A heat map of the norm of each component, a column for each position of each prompt."""
        norms = np.linalg.norm(np.asarray(self.values, np.float64), axis=-1).reshape(len(self.labels), -1)
        axes = ("component", "position")
        return drawing().heatmap(norms, rows=self.labels, axis_names=axes, value="norm", title=title)

    def total(self) -> Float[Array, "*rest"]:
        """The sum over components, taken in float32 at least."""
        return wide(self.values).sum(0).astype(self.values.dtype)

    def __getitem__(self, label: str) -> Float[Array, "*rest"]:
        if label not in self.labels:
            shown = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            raise ValueError(f"There is no component {label!r}; there are {shown}.")
        return self.values[self.labels.index(label)]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.values, self.labels))

    def __repr__(self) -> str:
        shape = list(getattr(self.values, "shape", ()))
        return (
            f"Components({shape}: {', '.join(map(line, self.labels[:4]))}{', ...' * (len(self.labels) > 4)})"
        )


def apply_norm(model: ModelLike, components: Components, stream: Float[Array, "*batch d"]) -> Components:
    r"""$c_i \mapsto \dfrac{c_i - \bar c_i}{s(x)} \odot g$: the last norm of each component, with the scale of the stream $x$.

    With a fixed scale a norm is linear. So with the scale of the whole stream, each component can be
    projected to logits by itself: direct logit attribution, Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `model`: a model of `ji.models`.
    - `components` (component *batch d): the parts of a stream, with any batch axes.
    - `stream` (*batch d): the stream whose scale is used, usually `components.total()` or a captured `resid_post[-1]`.

    **Returns:** the scaled components; if the norm has a bias, it is one more component
    (`"ln_final.bias"`). For an RMSNorm no means are subtracted; for a model without norms the
    components are returned as they are.

    ```python
    parts = ji.weights.by_layer(model, tokens, pos=-1)
    seen = ji.weights.apply_norm(model, parts, parts.total())
    logits = seen.values @ model.w_unembed              # (component, *batch, vocab)
    ```

    Law: the sum is the site `ln_final_out`.
    """
    norm = split_edits(model)[0].ln_final
    if norm is None:
        return components
    values = wide(components.values)
    if norm.centres:
        values = values - values.mean(-1, keepdims=True)
    values = values / jnp.broadcast_to(norm_scale(norm, stream)[None], values.shape)
    if norm.weight is not None:
        values = values * jnp.broadcast_to(wide(norm.weight), values.shape)
    labels = components.labels
    if norm.bias is not None:
        bias = jnp.broadcast_to(wide(norm.bias), values.shape[1:])
        values = jnp.concatenate([values, bias[None]])
        labels = (*labels, "ln_final.bias")
    return Components(values.astype(components.values.dtype), labels)


def norm_scale(norm: Any, stream: Float[Array, "*batch d"]) -> Float[Array, "*batch 1"]:
    """The denominator of a norm at a stream, in float32 at least."""
    full = wide(stream)
    if norm.centres:
        full = full - full.mean(-1, keepdims=True)
    return jnp.sqrt(jnp.square(full).mean(-1, keepdims=True) + norm.eps)


def norm_directions(norm: Any, onto: Float[Array, "d n"]) -> tuple[Array, Array | None]:
    r"""Directions behind a norm as directions before it: $\mathrm{norm}(c) \cdot v = c \cdot v' / s + b \cdot v$.

    Returns $v'$ (d n), with gain and centring in it, and $b \cdot v$ (n,) or None.
    """
    full = wide(onto)
    offset = None
    if norm.bias is not None:
        offset = jnp.einsum("d,dn->n", wide(norm.bias), full, precision="highest")
    if norm.weight is not None:
        full = full * jnp.broadcast_to(wide(norm.weight)[:, None], full.shape)
    if norm.centres:
        full = full - full.mean(0, keepdims=True)
    return full, offset
