"""Captures, drawn for the library and read from what the reference saw."""

import dataclasses
from typing import Any

import numpy as np

import jaxinterp as ji

from .calls import Call
from .changes import Change, Setting, axes_of
from .draw import Draw
from .prompts import WIDTH, Prompt
from .selectors import chosen


@dataclasses.dataclass(frozen=True)
class Capture:
    """One request: `layers` is None at a site of the model, an int, or those that come stacked."""

    request: Any
    site: str
    layers: Any
    pos: Any = None
    reduce: str | None = None

    def wanted(self, seen: Any, prompt: Prompt) -> np.ndarray:
        """What the reference saw of it, in one prompt."""
        if not isinstance(self.layers, list):
            return self._reduced(seen[self.site, self.layers], prompt)
        return np.stack([self._reduced(seen[self.site, layer], prompt) for layer in self.layers])

    def found(self, value: Any, prompt: Prompt) -> np.ndarray:
        """The same of what the library returned."""
        whole = self.pos is None and self.reduce is None
        axes = axes_of(self.site) if whole else ()
        return prompt.rows_of(value, axes, stacked=isinstance(self.layers, list))

    def _reduced(self, x: np.ndarray, prompt: Prompt) -> np.ndarray:
        if self.pos is None and self.reduce is None:
            return x
        if self.reduce is None:
            pos = np.asarray(self.pos)
            return x[prompt.column_of(pos[prompt.index]) if pos.ndim > 1 else pos]
        here = np.ones(len(x), bool)
        if self.pos is not None:
            here = chosen(self.pos, "pos", len(x), prompt)
        x = x[here]
        return x[-1] if self.reduce == "last" else getattr(x, self.reduce)(0)


def draw_captures(
    draw: Draw, on: Setting, count: int, changes: list[Change], *, first: int = 0
) -> list[Capture]:
    """So many captures at random sites, of layers from `first` on, and of a splice among the edits."""
    sites = [site for site in on.sites if not first or site not in ("embed", "pos_embed")]
    captures = [draw_capture(draw, on, site, i, first) for i, site in enumerate(draw.some_of(sites, count))]
    for change in changes:
        layer = change.where.get("layer")
        if change.kind == "splice" and (layer is None or isinstance(layer, int)) and not first:
            base = f"{change.site}.{change.call.options.get('name', 'sae')}"
            site = f"{base}.{draw.one_of('feature', 'recon', 'error')}"
            if not ji.SITES[change.site].per_layer:
                captures.append(Capture(site, site, None))
            elif layer is None:
                captures.append(Capture(site, site, list(range(on.layers))))
            else:
                captures.append(Capture(f"{site}[{layer}]", site, layer % on.layers))
    return captures if len({str(c.request) for c in captures}) == len(captures) else captures[:count]


def draw_capture(draw: Draw, on: Setting, site: str, number: int, first: int) -> Capture:
    """A capture of one site: a string, or `ji.at` with positions and reductions."""
    layers: Any = None
    written, options = site, {}
    if ji.SITES[site].per_layer:
        layers = list(range(on.layers))
        form = draw.one_of("all", "int", "slice") if not first else draw.one_of("int", "slice")
        if form == "int":
            layer = draw.count(first - on.layers if first else -on.layers, -1)
            layer += on.layers * draw.chance(0.5)
            written, options, layers = f"{site}[{layer}]", {"layer": layer}, layer % on.layers
        elif form == "slice":
            bounds = draw.one_of((first or None, None), (on.layers - 1, None), (first, 3, 2))
            if not first:
                bounds = draw.one_of(bounds, (None, 2), (None, None, -1), (-2, None))
            written = f"{site}[{':'.join('' if b is None else str(b) for b in bounds)}]"
            options, layers = {"layer": Call("slice", *bounds)}, layers[slice(*bounds)]
    if draw.chance(0.4):
        return Capture(written, site, layers)
    pos, reduce = None, None
    if "pos" in axes_of(site):
        form = draw.one_of("int", "ints", "columns", "reduce", "reduce int", "reduce mask")
        short, batch = on.prompts.shortest, on.prompts.batch
        if form in ("int", "reduce int"):
            pos = draw.ints(-short, short)
        elif form == "ints" or (form == "columns" and not batch):
            pos = draw.ints(-short, short, (draw.count(1, 3),))
        elif form == "columns":
            pos = on.prompts.columns(draw, draw.count(1, 3))
        elif form == "reduce mask":
            # Columns of real tokens: a mask that marks padding asks for what no prompt has.
            pos = draw.bools(*draw.one_of(() if on.prompts.mask is None else batch, batch), WIDTH)
            pos = pos & on.prompts.real if on.prompts.mask is not None else pos
            pos[..., WIDTH // 2] = True  # a real token of every prompt
        if form.startswith("reduce"):
            reduce = draw.one_of("mean", "max", "sum", "last")
    options |= {"pos": pos, "reduce": reduce, "name": f"capture {number}"}
    options = {name: value for name, value in options.items() if value is not None}
    return Capture(Call("at", site, **options), site, layers, pos, reduce)
