"""What is captured: `at` asks for a site, `Acts` holds what came back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._check import Shapes, as_int, as_selector, check_index, check_selector, is_int, kind_of
from ._positions import columns, take_positions
from ._sites import axes_of, is_per_layer, parse, unknown

REDUCTIONS = ("mean", "max", "sum", "last")


class At(eqx.Module):
    """A request for one site: made by `at`, or by a string such as `"z[3]"`."""

    pos: Any
    site: str = eqx.field(static=True)
    layers: int | tuple[int | None, int | None, int | None] | None = eqx.field(static=True)
    reduce: str | None = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def layer_range(self, layers: int) -> range:
        """The layers asked for, of a model with so many."""
        if self.layers is None:
            return range(layers)
        if isinstance(self.layers, int):
            layer = self.layers % layers
            return range(layer, layer + 1)
        return range(layers)[slice(*self.layers)]

    def reduced(self, x: Array, real: Array | None = None) -> Array:
        """The positions asked for, reduced as asked. `real` marks what is not padding."""
        if self.pos is None and self.reduce is None:
            return x
        axis = x.ndim - len(axes_of(self.site)) + axes_of(self.site).index("pos")
        if self.reduce is None:
            return take_positions(x, self.pos, axis, real)
        chosen = _chosen(self.pos, x.shape[axis], real)
        chosen = chosen.reshape((1,) * (axis + 1 - chosen.ndim) + chosen.shape + (1,) * (x.ndim - axis - 1))
        if self.reduce == "last":
            last = x.shape[axis] - 1 - jnp.argmax(jnp.flip(chosen, axis), axis, keepdims=True)
            last = jnp.broadcast_to(last, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
            return jnp.take_along_axis(x, last, axis).squeeze(axis)
        chosen = jnp.broadcast_to(chosen, x.shape)
        if self.reduce == "max":
            return jnp.where(chosen, x, -jnp.inf).max(axis)
        wide = np.promote_types(x.dtype, np.float32)
        total = jnp.where(chosen, x, 0).sum(axis, dtype=wide)
        if self.reduce == "mean":
            total = total / chosen.sum(axis, dtype=wide)
        return total.astype(x.dtype)


def at(
    site: str | Any,
    *,
    layer: int | slice | Any | None = None,
    pos: Any = None,
    reduce: str | Any | None = None,
    name: str | Any | None = None,
) -> At:
    r"""Asks for $r_{p \in P}\, x_p$ at a site: positions chosen, then reduced, as the model runs.

    What is not asked for is never stored, so a mean over a corpus needs no room for the corpus.

    **Arguments:**

    - `site`: a site, as in a capture string (`"resid_post"`, `"z[3]"`).
    - `layer`: a layer or a slice of layers; None is all of them, stacked.
    - `pos`: an int (drops the axis) or ints `(n,)`, which count real tokens where the run has a
      mask (-1 is each prompt's last token); ints per example `(*batch, n)`, the columns of the
      padded array; or a mask `(pos,)` or `(*batch, pos)` of columns, together with `reduce`: what it
      marks of padding counts for nothing.
    - `reduce`: `"mean"`, `"max"`, `"sum"` or `"last"` over the chosen positions; with no `pos`
      over all real ones.
    - `name`: the key of the result; by default the site with its layer.

    **Returns:** a request to put into `capture=[...]`; `acts[name]` or `acts[request]` reads it.

    ```python
    last = ji.at("resid_post", layer=1, pos=-1)
    _, acts = ji.run(model, tokens, capture=[last])
    acts[last].shape                                    # (d,)
    ```

    Law: equal to reducing the full capture afterwards.
    """
    base, written = parse(site)
    if written is not None and layer is not None:
        raise ValueError(f"{site!r} already names its layer; drop layer={layer!r}.")
    chosen = written if layer is None else layer
    if chosen is not None and not is_per_layer(base):
        raise ValueError(f"{base!r} is a site of the model, not of a layer: write at({base!r}).")
    if isinstance(chosen, slice):
        ends = (chosen.start, chosen.stop, chosen.step)
        layers: Any = tuple(end if end is None else as_int(end, "layer") for end in ends)
        if layers[2] == 0:
            raise ValueError(f"{base}: layers in steps of 0 are none; write {base}[2:5], or {base}[::2].")
        label = f"{base}[{_text(slice(*layers))}]"
    elif chosen is None:
        layers, label = None, base
    elif is_int(chosen):
        layers, label = int(chosen), f"{base}[{int(chosen)}]"
    else:
        raise ValueError(
            f"A capture's layer is an int or a slice, known before the run; got {chosen!r}. "
            f"Capture all layers with at({base!r}) and index the result."
        )
    if reduce is not None and (not isinstance(reduce, str) or reduce not in REDUCTIONS):
        raise ValueError(f"reduce is one of {', '.join(REDUCTIONS)}; got {reduce!r}.")
    if (pos is not None or reduce is not None) and "pos" not in axes_of(base):
        raise ValueError(
            f"{base!r} has the axes {' '.join(axes_of(base))} and no pos to select or reduce; "
            f"capture {base!r} and index the result."
        )
    if pos is not None:
        pos = as_selector(pos, f"{base}: pos")
    if pos is not None and pos.dtype == bool and reduce is None:
        raise ValueError(
            "A mask keeps a number of positions that is not known before the run; add a "
            f"reduction: at({base!r}, pos=mask, reduce='mean')."
        )
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"name is the key of the result, a string; got {name!r}.")
    label = label if name is None else str(name)
    return At(site=base, layers=layers, pos=pos, reduce=reduce, name=label)


def as_requests(capture: Any) -> tuple[At, ...]:
    """Strings and requests, one or several or none (None too), to requests with distinct names."""
    if capture is None or isinstance(capture, str | At):
        capture = [] if capture is None else [capture]
    if isinstance(capture, bytes) or not isinstance(capture, Iterable):
        raise ValueError(
            f"capture is a site or a list of them; got {kind_of(capture)}. Write capture=['resid_post', 'z[3]']."
        )
    asked = []
    for item in capture:
        request = item if isinstance(item, At) else at(item)
        if isinstance(item, str):
            request = At(request.pos, request.site, request.layers, request.reduce, str(item))
        asked.append(request)
    unique = {request.name: request for request in asked}
    if len(unique) < len(asked):
        if all(isinstance(item, str) for item in capture):
            return tuple(unique.values())
        names = [request.name for request in asked]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"Two captures would both be called {twice!r}; name one of them: ji.at(..., name='first')."
        )
    return tuple(asked)


def check_captures(
    captures: Sequence[At], shapes: Shapes, count: int, start: int = 0, *, real: Any = None
) -> None:
    """Captures of sites that this model emits, at layers and positions that exist."""
    for at in captures:
        if at.site not in shapes:
            raise unknown(at.site, shapes)
        if start and at.site in ("embed", "pos_embed"):
            raise ValueError(f"{at.site!r} lies before layer {start}, where this run resumes.")
        if is_per_layer(at.site):
            if isinstance(at.layers, int):
                check_index("layer", at.layers, count, f"{at.site}[{at.layers}]")
            layers = at.layer_range(count)
            if not layers:
                raise IndexError(
                    f"{at.name!r} asks for no layer at all: this model has the layers 0..{count - 1}."
                )
            if min(layers) < start:
                raise ValueError(
                    f"{at.name!r} asks for layers before {start}, where this run resumes; "
                    f"capture '{at.site}[{start}:]'."
                )
        if at.pos is not None:
            shape = shapes[at.site].shape
            axis = len(shape) - len(axes_of(at.site)) + axes_of(at.site).index("pos")
            check_selector("pos", at.pos, shape[axis], shape[:axis], at.name, real)


def _chosen(pos: Any, size: int, real: Array | None) -> Array:
    """The positions asked for, as a mask `(pos,)` or `(*batch, pos)`."""
    if pos is None:
        return jnp.ones((size,), bool) if real is None else real
    pos = jnp.asarray(pos)
    if pos.dtype == jnp.bool_:
        return pos if real is None else real & jnp.broadcast_to(pos, real.shape)
    index = columns(pos, size, real)
    every = jnp.arange(size, dtype=index.dtype)
    if index.ndim == 0:
        return every == index
    every = jnp.broadcast_to(every, (*index.shape, size))
    return (every == jnp.broadcast_to(index[..., None], every.shape)).any(-2)


def _text(layers: slice) -> str:
    parts = [layers.start, layers.stop] + ([layers.step] if layers.step is not None else [])
    return ":".join("" if part is None else str(part) for part in parts)


class NotCaptured(KeyError):
    """A key that was not asked for in `capture`."""

    def __str__(self) -> str:
        return str(self.args[0])


@jax.tree_util.register_pytree_with_keys_class
class Acts(Mapping[str, Any]):
    """Captured activations: an immutable mapping and a pytree, keyed by the strings asked for.

    `acts["z"]` and `acts[request]` read, iteration goes in the order of the request, and
    `jax.tree.map` works on the arrays.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str | At | Any) -> Any:
        name = key.name if isinstance(key, At) else key
        if not isinstance(name, str) or name not in self._items:
            raise NotCaptured(
                f"{name!r} was not captured; this run captured {list(self._items)}. "
                f"Ask for it: ji.run(model, tokens, capture=[{name!r}])."
            )
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        rows = [
            f"  {name!r}: {getattr(value, 'dtype', type(value).__name__)}{list(getattr(value, 'shape', []))}"
            for name, value in self._items.items()
        ]
        return "Acts({\n" + ",\n".join(rows) + "\n})" if rows else "Acts({})"

    def tree_flatten_with_keys(self) -> tuple[Sequence[tuple[Any, Any]], tuple[str, ...]]:
        children = [(jax.tree_util.DictKey(name), value) for name, value in self._items.items()]
        return children, tuple(self._items)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], values: Sequence[Any]) -> "Acts":
        return cls(dict(zip(names, values, strict=True)))
