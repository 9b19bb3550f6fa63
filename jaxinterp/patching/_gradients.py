r"""Effects as derivatives: the metric along $x + t\,(x' - x)$, for every cell of every site at once.

Each cell of a sweep has its own number $t$: at 0 the run is as it was, at 1 the cell is patched.
The derivative at 0 is gradient times difference, summed by the chain rule itself over whatever the
cell spans, so that no gradient is stored of the size of its site.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..core._check import Shapes
from ..core._edit import Edit
from ..core._run import run
from ..core._select import Layers
from ..core._sites import axes_of, is_per_layer
from ..metrics import Metric
from ._grid import axis_name


class Lean(Edit):
    r"""$x \mapsto x + t\,(x' - \bar x)$ at one site of every layer.

    `t` `(layer, *batch, ...)` has the axes of the site, of length 1 where one number serves the
    whole axis; `source` is $x'$; `base` is $\bar x$, by default the value itself, held constant.
    """

    t: Array
    source: Array
    base: Array | None
    site: str = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    def per_layer(self, shapes: Shapes) -> Any:
        return jax.tree.map(lambda _: is_per_layer(self.site), self)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        base = jax.lax.stop_gradient(x) if self.base is None else self.base
        # The product and its transpose, a sum, in the wide type of `t`.
        step = self.t * (self.source.astype(self.t.dtype) - base.astype(self.t.dtype))
        return x + jnp.broadcast_to(step, x.shape).astype(x.dtype), state

    def __repr__(self) -> str:
        return f"lean({self.site!r})"


def lean(
    site: str,
    source: Array,
    base: Array | None,
    keep: Sequence[str],
    shape: tuple[int, ...],
    layers: int,
) -> Lean:
    """A `Lean` at 0 with one number per layer, example and entry of the axes `keep` of a site."""
    axes = [axis_name(axis) for axis in axes_of(site)]
    batch = len(shape) - len(axes)
    sizes = [size if i < batch or axes[i - batch] in keep else 1 for i, size in enumerate(shape)]
    stack = [layers] if is_per_layer(site) else []
    dtype = np.promote_types(source.dtype, np.float32)
    return Lean(t=jnp.zeros([*stack, *sizes], dtype), source=source, base=base, site=site)


def lean_gradients(
    model: Any,
    tokens: Any,
    leans: Mapping[str, Lean],
    metric: Metric,
    mask: Any,
    *,
    before: Sequence[Edit] = (),
    after: Sequence[Edit] = (),
) -> tuple[Array, Array, dict[str, Array]]:
    """The metric `(*batch,)`, the logits it read, and its derivatives along the leans, at their `t`.

    `before` and `after` are edits before and after the leans.
    """

    def value(t: dict[str, Array]) -> tuple[Array, tuple[Array, Array]]:
        moved = [eqx.tree_at(lambda edit: edit.t, one, t[name]) for name, one in leans.items()]
        out, _ = run(model, tokens, edits=[*before, *moved, *after], mask=mask, logits=positions(metric))
        each = metric.of(out)
        return each.sum(), (each, out)

    t = {name: one.t for name, one in leans.items()}
    grads, (each, out) = jax.grad(value, has_aux=True)(t)
    return each, out, grads


def positions(metric: Metric) -> Any:
    """What a run unembeds for a metric."""
    return True if metric.pos is None else metric.pos


def entries(derivative: Array, site: str, keep: Sequence[str], layers: int) -> tuple[Array, tuple[str, ...]]:
    """A derivative as (layer, batch, *kept), and the names of the kept axes in the site's order."""
    axes = [axis_name(axis) for axis in axes_of(site)]
    names = tuple(name for name in axes if name in keep)
    sizes = [derivative.shape[axes.index(name) - len(axes)] for name in names]
    return derivative.reshape(layers, -1, *sizes), names


def cells(values: Array, names: Sequence[str], index: Mapping[str, Any], groups: np.ndarray | Array) -> Array:
    """Values (layer, batch, *entry) at the cells of a sweep: (group, job, batch).

    `index` holds the entry of each job along the axes `names`, `(job,)` or `(batch, job)`;
    `groups` (group, layer) is 1 where a layer belongs to a group.
    """
    layers, batch, *sizes = values.shape
    flat = values.reshape(layers, batch, -1)
    if names:
        jobs = index[names[0]].shape[-1]
        at = [jnp.broadcast_to(jnp.asarray(index[name]), (batch, jobs)) for name in names]
        place = at[0]
        for size, entry in zip(sizes[1:], at[1:], strict=True):
            place = place * size + entry
        flat = jnp.take_along_axis(flat, place[None], axis=2)
    return jnp.einsum("gl,lbj->gjb", jnp.asarray(groups, flat.dtype), flat, precision="highest")
