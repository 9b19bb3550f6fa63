"""What a run captures: requests for sites, made by `at` or written as strings."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..typing import CaptureLike, IndexLike, LayersLike, StrLike
from ._check import Shapes, as_selector, check_index, check_selector, is_int, kind_of
from ._positions import selected, spread, take_positions
from ._select import layer_of, slice_ends
from ._sites import axes_of, is_per_layer, parse, position_axis, stage_of, unknown

REDUCTIONS = ("mean", "max", "sum", "last")


class At(eqx.Module):
    """A request for the activation of one site, made by `ji.at`. A string such as `"z[3]"` stands for one too.

    ```python
    last = ji.at("resid_post", layer=1, pos=-1)
    last.site, last.layers, last.name
    ```
    """

    pos: Any
    site: str = eqx.field(static=True)
    layers: int | tuple[int | None, ...] | None = eqx.field(static=True)
    reduce: str | None = eqx.field(static=True)
    name: str = eqx.field(static=True)

    @property
    def stacked(self) -> bool:
        """Whether the capture has a leading layer axis."""
        return is_per_layer(self.site) and not isinstance(self.layers, int)

    def layer_range(self, layers: int) -> range:
        """The layers of the request, for a model with `layers` blocks."""
        if self.layers is None:
            return range(layers)
        if isinstance(self.layers, int):
            layer = self.layers % layers
            return range(layer, layer + 1)
        return range(layers)[slice(*self.layers)]

    def reduced(self, x: Array, real: Array | None = None) -> Array:
        """The positions of the request, reduced. `real` is the padding mask."""
        if self.pos is None and self.reduce is None:
            return x
        axis = position_axis(self.site, x.ndim)
        if self.reduce is None:
            return take_positions(x, self.pos, axis, real)
        hit = spread(self._selected(x.shape[axis], real), axis - x.ndim, x.ndim)
        if self.reduce == "last":
            last = x.shape[axis] - 1 - jnp.argmax(jnp.flip(hit, axis), axis, keepdims=True)
            last = jnp.broadcast_to(last, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
            return jnp.take_along_axis(x, last, axis).squeeze(axis)
        hit = jnp.broadcast_to(hit, x.shape)
        if self.reduce == "max":
            return jnp.where(hit, x, -jnp.inf).max(axis)
        wide = np.promote_types(x.dtype, np.float32)
        total = jnp.where(hit, x, 0).sum(axis, dtype=wide)
        if self.reduce == "mean":
            total = total / hit.sum(axis, dtype=wide)
        return total.astype(x.dtype)

    def _selected(self, size: int, real: Array | None) -> Array:
        """The positions of the request as a mask `(pos,)` or `(*batch, pos)`, without padding."""
        if self.pos is None:
            return jnp.ones((size,), bool) if real is None else real
        hit = selected(self.pos, size, real)
        if real is None or self.pos.dtype != bool:
            return hit
        return real & jnp.broadcast_to(hit, real.shape)


def at(
    site: StrLike,
    *,
    layer: LayersLike | None = None,
    pos: IndexLike | None = None,
    reduce: StrLike | None = None,
    name: StrLike | None = None,
) -> At:
    r"""Requests $r_{p \in P}\, x_p$ at a site: positions are chosen, then reduced, while the model runs.

    Nothing else is stored, so a mean over a corpus needs no memory for all of its activations.

    **Arguments:**

    - `site`: a site, as in a capture string (`"resid_post"`, `"z[3]"`).
    - `layer`: a layer or a slice of layers; None is all of them, stacked.
    - `pos`: which positions. An int drops the axis. An int or ints `(n,)` count real tokens where
      the run has a mask: -1 is the last token of each prompt. Ints per example `(*batch, n)` are
      columns of the padded array. A mask `(pos,)` or `(*batch, pos)` of columns needs a `reduce`,
      and leaves padding out.
    - `reduce`: `"mean"`, `"max"`, `"sum"` or `"last"` over the chosen positions; without `pos` over
      all real ones.
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
    chosen = layer_of(site, base, written, layer)
    if isinstance(chosen, slice):
        layers = slice_ends(chosen)
        if layers[2] == 0:
            raise ValueError(f"{base}: layers in steps of 0 are none; write {base}[2:5], or {base}[::2].")
        label = f"{base}[{_text(layers)}]"
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
    where = None if pos is None else as_selector(pos, f"{base}: pos")
    if where is not None and where.dtype == bool and reduce is None:
        raise ValueError(
            "A mask keeps a number of positions that is not known before the run; add a "
            f"reduction: at({base!r}, pos=mask, reduce='mean')."
        )
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"name is the key of the result, a string; got {name!r}.")
    label = label if name is None else str(name)
    return At(site=base, layers=layers, pos=where, reduce=reduce, name=label)


def as_requests(capture: CaptureLike | None) -> tuple[At, ...]:
    """One capture, several or none, as requests with distinct names."""
    if capture is None or isinstance(capture, str | At):
        capture = [] if capture is None else [capture]
    if isinstance(capture, bytes) or not isinstance(capture, Iterable):
        raise ValueError(
            f"capture is a site or a list of them; got {kind_of(capture)}. Write capture=['resid_post', 'z[3]']."
        )
    requests = []
    for item in capture:
        request = item if isinstance(item, At) else at(item)
        if isinstance(item, str):
            request = dataclasses.replace(request, name=str(item))
        requests.append(request)
    unique = {request.name: request for request in requests}
    if len(unique) < len(requests):
        if all(isinstance(item, str) for item in capture):
            return tuple(unique.values())
        names = [request.name for request in requests]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"Two captures would both be called {twice!r}; name one of them: ji.at(..., name='first')."
        )
    return tuple(requests)


def check_captures(
    captures: Sequence[At], shapes: Shapes, count: int, start: int = 0, *, real: Any = None
) -> None:
    """Captures of sites that this model emits, at layers and positions that exist."""
    for at in captures:
        if at.site not in shapes:
            raise unknown(at.site, shapes)
        if start and stage_of(at.site) == "start":
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
            axis = position_axis(at.site, len(shape))
            check_selector("pos", at.pos, shape[axis], shape[:axis], at.name, real)


def _text(ends: tuple[int | None, ...]) -> str:
    """A slice as it is written between brackets."""
    parts = ends if ends[2] is not None else ends[:2]
    return ":".join("" if part is None else str(part) for part in parts)
