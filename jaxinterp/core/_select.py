"""Where an edit acts: its layers, and selectors along the axes of a site, as leaves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._check import as_array, as_int, as_selector, check_index, check_selector, concrete
from ._positions import POSITIONS as POSITIONS
from ._positions import spread
from ._sites import axes_of, is_per_layer, parse

Layers = tuple[Any, ...] | None
"""Layers known before the run: ints, or `("slice", start, stop, step)` and `("mask", *bools)` until the
model is known."""

SELECTORS = {"pos": ("pos",), "head": ("head", "kv_head"), "query": ("query",), "key": ("key",)}
"The axes that a selector acts along; `unit` acts along the last one."


class Where(eqx.Module):
    """Which entries of a site: one leaf per selector, None for all."""

    layer: Any = None
    pos: Any = None
    head: Any = None
    unit: Any = None
    query: Any = None
    key: Any = None

    def along_axes(self) -> dict[str, Any]:
        """The selectors along axes of the site that are not None."""
        names = ("pos", "head", "unit", "query", "key")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def axis(self, name: str, site: str) -> int:
        """The axis of a selector, counted from the last: -1 is the last one."""
        axes = axes_of(site)
        if name == "unit":
            return -1
        return next(i - len(axes) for i, axis in enumerate(axes) if axis in SELECTORS[name])

    def resolve(self, site: str, layers: Layers, count: int) -> tuple["Where", Layers]:
        """The same with layers counted from 0, for a model of `count` layers."""
        if layers is not None:
            return self, _resolved(site, layers, count)
        if self.layer is None:
            return self, None
        check_selector("layer", self.layer, count, (), site)
        if self.layer.dtype == bool:
            return self, None
        return self.with_layer(jnp.where(self.layer < 0, self.layer + count, self.layer)), None

    def with_layer(self, layer: Any) -> "Where":
        """The same at other traced layers."""
        return Where(layer, self.pos, self.head, self.unit, self.query, self.key)

    def check(self, site: str, shape: tuple[int, ...], real: Any = None) -> None:
        """Selectors in range, for a site of this shape and prompts with the padding mask `real`."""
        batch = shape[: len(shape) - len(axes_of(site))]
        for name, value in self.along_axes().items():
            padding = real if name in POSITIONS else None
            check_selector(name, value, shape[self.axis(name, site)], batch, site, padding)

    def mask(self, tap: Any, site: str, x: Array) -> Array | None:
        """True where the selection holds, of the rank of `x`; None when it holds everywhere."""
        hits = []
        for name, value in self.along_axes().items():
            axis = self.axis(name, site)
            hits.append(spread(tap.selected(name, value, x.shape[axis]), axis, x.ndim))
        if tap.real is not None and "key" in axes_of(site):
            # Nothing attends to padding, whatever an edit of the pattern puts there.
            hits.append(spread(tap.real[..., : x.shape[-1]], -1, x.ndim))
        if self.layer is not None:
            layer, here = jnp.asarray(self.layer), jnp.asarray(tap.layer, jnp.int32)
            hit = layer[here] if layer.dtype == jnp.bool_ else (layer == here).any()
            hits.append(hit.reshape((1,) * x.ndim))
        mask = None
        for hit in hits:
            mask = hit if mask is None else mask & hit
        return mask


def _resolved(site: str, layers: tuple[Any, ...], count: int) -> tuple[int, ...]:
    """Layers known before the run, counted from 0 and in order."""
    kind, *entries = layers or (None,)
    if kind == "slice":
        chosen = range(count)[slice(*entries)]
    elif kind == "mask":
        here = np.asarray(entries, bool)
        check_selector("layer", here, count, (), site)
        chosen = np.flatnonzero(here).tolist()
    else:
        for layer in layers:
            check_index("layer", layer, count, site)
        chosen = sorted({layer % count for layer in layers})
    if not chosen:
        raise IndexError(f"{site}: no layer is selected; there are 0..{count - 1}.")
    return tuple(chosen)


def selection(site: str, where: dict[str, Any]) -> tuple[Where, str, Layers]:
    """The selectors as leaves, the site's name, and its layers where they are known before the run."""
    base, written = parse(site)
    known = ("layer", "pos", "head", "unit", "query", "key")
    for name in where:
        if name not in known:
            raise ValueError(
                f"{name!r} is no selector; an edit is aimed with {', '.join(known)}: "
                f"ji.zero({base!r}, layer=1, pos=-1)."
            )
    static, traced = static_layers(layer_of(site, base, written, where.get("layer")))
    axes = axes_of(base)
    leaves = {}
    for name, value in where.items():
        if value is None or name == "layer":
            continue
        if name not in selectors_of(axes):
            raise ValueError(
                f"{base!r} has the axes {' '.join(axes)}, so it cannot be selected by {name}; "
                f"it takes {', '.join(selectors_of(axes))}."
            )
        leaf = as_selector(value, f"{base}: {name}")
        if leaf.dtype != bool and not np.issubdtype(leaf.dtype, np.integer):
            raise ValueError(f"{name} selects by ints or by a mask; got {value!r} of dtype {leaf.dtype}.")
        if name == "unit" and leaf.dtype == bool and leaf.ndim > 1:
            raise ValueError(f"A mask for unit has one axis; got the shape {leaf.shape}.")
        leaves[name] = leaf
    return Where(layer=traced, **leaves), base, static


def layer_of(site: str, base: str, written: Any, layer: Any) -> Any:
    """The layer of `z[3]` or of `layer=3`, of which one may be written, and neither for a site of the model."""
    if written is not None and layer is not None:
        raise ValueError(f"{site!r} already names its layer; drop layer={layer!r}.")
    layer = written if layer is None else layer
    if layer is not None and not is_per_layer(base):
        raise ValueError(
            f"{base!r} is a site of the model, not of a layer: write {base!r} and drop layer={layer!r}."
        )
    return layer


def slice_ends(layer: slice) -> tuple[int | None, ...]:
    """Start, stop and step of a slice of layers, as Python ints."""
    ends = (layer.start, layer.stop, layer.step)
    return tuple(end if end is None else as_int(end, "layer") for end in ends)


def static_layers(layer: Any) -> tuple[Layers, Any]:
    """Layers as a static tuple (Python and NumPy ints, slices, ranges), or else as a leaf."""
    if layer is None:
        return None, None
    if isinstance(layer, jax.Array) and layer.dtype.kind in "biu":
        return None, as_selector(layer, "layer")
    if isinstance(layer, slice):
        return ("slice", *slice_ends(layer)), None
    array = as_array(layer)
    if array.dtype == bool and array.ndim == 1:
        return ("mask", *array.tolist()), None
    if array.ndim <= 1 and np.issubdtype(array.dtype, np.integer):
        return tuple(int(i) for i in np.atleast_1d(array)), None
    raise ValueError(f"layer is an int, several ints, a slice, a mask or a JAX array; got {layer!r}.")


def selectors_of(axes: tuple[str, ...]) -> list[str]:
    """The selectors that a site with these axes takes."""
    names = [name for name, along in SELECTORS.items() if any(axis in axes for axis in along)]
    return ["layer", *names] + (["unit"] if "key" not in axes else [])


def describe(kind: str, site: str, layers: Layers, where: Where) -> str:
    """An edit as the call that makes it, arrays by their shape."""
    parts = [repr(site)]
    if layers is not None:
        one = layers[0] if len(layers) == 1 else layers
        parts.append(f"layer={list(layers[1:]) if layers[:1] == ('mask',) else one}")
    selectors = {"layer": where.layer, **where.along_axes()}
    for name, value in selectors.items():
        if value is not None:
            shape = getattr(value, "shape", ())
            text = str(value) if concrete(value) and not shape else f"<{shape}>"
            parts.append(f"{name}={text}")
    return f"{kind}({', '.join(parts)})"
