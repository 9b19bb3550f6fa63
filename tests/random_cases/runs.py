"""Runs: edits with captures, logits at positions, runs resumed, gradients at sites."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from .calls import Call, Named
from .captures import Capture, draw_captures
from .cases import Case, Pairs, draw_setting, masked, model_call
from .changes import Change, Watched, draw_changes
from .draw import Draw
from .prompts import WIDTH, Prompt
from .reference import forward, onward


def edits(draw: Draw) -> Case:
    """Edits x selectors x captures, some of the edits belonging to the model."""
    on = draw_setting(draw)
    changes = draw_changes(draw, on, draw.count(1, 3))
    captures = draw_captures(draw, on, draw.count(1, 3), changes)
    asked = [change.call for change in changes]
    model: Any = model_call(on)
    if draw.chance(0.2):
        model, asked = Call("intervene", model, asked[:1]), asked[1:]
    call = Call(
        "run",
        model,
        on.prompts.tokens,
        edits=asked,
        capture=[c.request for c in captures],
        **masked(on.prompts),
    )

    def pairs(result: Any) -> Pairs:
        logits, acts = result
        compared: Pairs = []
        for prompt in on.prompts:
            watched = Watched(changes, prompt)
            wanted = forward(on.model, prompt.tokens, watched)
            compared.append(("logits", prompt.rows_of(logits, ("pos", "vocab")), wanted))
            compared += captured(captures, acts, watched.seen, prompt)
        return compared

    return Case(call, pairs, on.traced)


def captured(captures: list[Capture], acts: Any, seen: Any, prompt: Prompt) -> Pairs:
    """Captures of one prompt, in the order of the request."""
    return [
        (str(capture.request), capture.found(value, prompt), capture.wanted(seen, prompt))
        for capture, value in zip(captures, acts.values(), strict=True)
    ]


def draw_positions(draw: Draw, prompts: Any) -> Any:
    """One position, several, or several per example."""
    short = prompts.shortest
    form = draw.one_of("last", "int", "ints", "columns")
    if form == "columns" and prompts.batch:
        pos = prompts.columns(draw, draw.count(1, 3))
        return np.where(draw.values.random(pos.shape) < 0.3, pos - WIDTH, pos).astype(np.int32)
    if form == "last":
        return -1
    return draw.ints(-short, short, () if form == "int" else (draw.count(1, 3),))


def at_positions(x: np.ndarray, pos: Any, prompt: Prompt) -> np.ndarray:
    """Rows of one prompt alone at positions as `draw_positions` makes them."""
    pos = np.asarray(pos)
    return x[prompt.column_of(pos[prompt.index]) if pos.ndim > 1 else pos]


def positions(draw: Draw) -> Case:
    """`run(logits=...)`, with an edit now and then."""
    on = draw_setting(draw)
    changes = draw_changes(draw, on, draw.count(0, 1))
    pos = draw_positions(draw, on.prompts)
    call = Call(
        "run",
        model_call(on),
        on.prompts.tokens,
        logits=pos,
        edits=[change.call for change in changes],
        **masked(on.prompts),
    )

    def pairs(result: Any) -> Pairs:
        return [
            (
                "logits",
                prompt.rows_of(result[0], ()),
                at_positions(forward(on.model, prompt.tokens, Watched(changes, prompt)), pos, prompt),
            )
            for prompt in on.prompts
        ]

    return Case(call, pairs, on.traced)


def resume(draw: Draw) -> Case:
    """A suffix from a Python layer, or from a traced one, where captures of earlier layers are NaN."""
    on = dataclasses.replace(draw_setting(draw), resumed=True)
    loop = draw.chance(0.4)
    start = int(draw.ints(0, on.layers + 1)) if loop else draw.count(0, on.layers - 1)
    first = 0 if loop else start
    changes = draw_changes(draw, on, draw.count(0, 2), first=first)
    captures = draw_captures(draw, on, draw.count(1, 2), changes, first=first)
    resid = draw.normal(*on.prompts.tokens.shape, on.model.config.d)
    call = Call(
        "resume",
        model_call(on),
        resid,
        jnp.asarray(start, jnp.int32) if loop else start,
        edits=[change.call for change in changes],
        capture=[c.request for c in captures],
        **masked(on.prompts),
    )

    def pairs(result: Any) -> Pairs:
        logits, acts = result
        compared: Pairs = []
        for prompt in on.prompts:
            whole, watched = Watched(changes, prompt), Watched(changes, prompt)
            alone = prompt.rows_of(resid.array, ("pos", "d"))
            onward(on.model, alone, 0, whole)
            wanted = onward(on.model, alone, start, watched)
            nothing = {key: np.full(x.shape, np.nan) for key, x in whole.seen.items()}
            compared.append(("logits", prompt.rows_of(logits, ("pos", "vocab")), wanted))
            compared += captured(captures, acts, nothing | watched.seen, prompt)
        return compared

    return Case(call, pairs, on.traced)


def gap(logits: Any) -> Any:
    """The metric of `gradients`."""
    return logits[..., 3] - logits[..., 5]


@dataclasses.dataclass(frozen=True)
class Nudge:
    """A step along a direction, at the layers of a capture."""

    capture: Capture
    along: np.ndarray
    size: float

    @property
    def site(self) -> str:
        return self.capture.site

    def applied(self, x: np.ndarray, layer: int | None, prompt: Prompt, hook: Any) -> np.ndarray:
        layers = self.capture.layers
        if not isinstance(layers, list):
            return x + self.size * self.along if layer == layers else x
        return x + self.size * self.along[layers.index(layer)] if layer in layers else x


def gradients(draw: Draw) -> Case:
    """`site_grads` of the last position's logits, along a random direction at each site."""
    on = draw_setting(draw)
    changes = draw_changes(draw, on, draw.count(0, 1))
    captures = [
        capture
        for capture in draw_captures(draw, on, 4, [])
        if isinstance(capture.request, str) and capture.site != "logits"
    ]
    captures = captures or [Capture("z", "z", list(range(on.layers)))]
    call = Call(
        "site_grads",
        model_call(on),
        on.prompts.tokens,
        Named(gap, "lambda logits: logits[..., 3] - logits[..., 5]"),
        at=[c.request for c in captures],
        logits=-1,
        edits=[change.call for change in changes],
        **masked(on.prompts),
    )
    seed = int(draw.values.integers(2**31))

    def pairs(result: Any) -> Pairs:
        value, acts, grads = result
        compared: Pairs = []
        for prompt in on.prompts:
            watched = Watched(changes, prompt)
            wanted = gap(forward(on.model, prompt.tokens, watched)[-1])
            compared.append(("value", prompt.rows_of(value, ()), wanted))
            compared += captured(captures, acts, watched.seen, prompt)
            for capture, grad in zip(captures, grads.values(), strict=True):
                share = capture.found(grad, prompt)
                along = np.random.default_rng(seed).normal(size=share.shape)
                slope = _slope(on.model, changes, prompt, capture, along)
                compared.append((f"gradient at {capture.request}", (share * along).sum(), slope))
        return compared

    return Case(call, pairs, on.traced)


def _slope(model: Any, changes: list[Change], prompt: Prompt, capture: Capture, along: np.ndarray) -> float:
    """The derivative of `gap`, by differences of fourth order."""

    def value(size: float) -> Any:
        watched = Watched([*changes, Nudge(capture, along, size)], prompt)
        return gap(forward(model, prompt.tokens, watched)[-1])

    step = 1e-3
    near, far = value(step) - value(-step), value(2 * step) - value(-2 * step)
    return float((8 * near - far) / (12 * step))
