"""How a run is executed: layers planned into stretches, scanned or visited, captures gathered.

From what is static in the request (sites, Python layers) the blocks fall into stretches that need
the same treatment. A stretch of several blocks is one `lax.scan`; a block that is edited or
captured by its own number is visited by itself; edits with traced layers are selects inside. A run
ends after the last block that anything needs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ._captures import Acts, At
from ._check import Shapes
from ._edit import Edit
from ._positions import take_positions
from ._sites import is_per_layer
from ._survey import block_at, layer_count
from ._tap import Tap
from ._types import Context

ENDS = ("ln_final_scale", "ln_final_out", "logits")


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Consecutive blocks `start..stop` that need the same edits and captures."""

    start: int
    stop: int
    edits: tuple[int, ...]
    captures: tuple[int, ...]


def plan(start: int, stop: int, edits: Sequence[Edit], captures: Sequence[At], count: int) -> list[Stretch]:
    """The blocks `start..stop` as stretches: equal neighbours together, the others alone."""
    stretches: list[Stretch] = []
    for layer in range(start, stop):
        here = Stretch(
            layer,
            layer + 1,
            tuple(i for i, e in enumerate(edits) if e.layers is None or layer in e.layers),
            tuple(
                i for i, at in enumerate(captures) if is_per_layer(at.site) and layer in at.layer_range(count)
            ),
        )
        before = stretches[-1] if stretches else None
        if before and (before.edits, before.captures) == (here.edits, here.captures):
            stretches[-1] = dataclasses.replace(before, stop=layer + 1)
        else:
            stretches.append(here)
    return stretches


class Engine:
    """One traced run: carries the states of edits, and gathers what is captured."""

    def __init__(
        self,
        model: Any,
        edits: Sequence[Edit],
        captures: Sequence[At],
        real: Array | None,
        shapes: Shapes,
        *,
        offset: Any = 0,
        columns: int | None = None,
        memory: Any = None,
    ) -> None:
        self.model = model
        self.captures = captures
        self.real = real
        self.shapes = shapes
        self.count = layer_count(model)
        self.position = {"start": offset, "columns": columns}
        self.memory = memory
        self.states = [edit.init(shapes, self.count) for edit in edits]
        split = [eqx.partition(edit, edit.per_layer(shapes)) for edit in edits]
        self.edits = edits
        self.layered = [mine for mine, _ in split]
        self.shared = [rest for _, rest in split]
        self.pieces: dict[int, list[Array]] = {}

    def tap_at_ends(self) -> Tap:
        """The tap of the model-level sites; `acts` gathers what it records."""
        captures = {i: at for i, at in enumerate(self.captures) if not is_per_layer(at.site)}
        self.ends = Tap(self.edits, captures, states=self.states, real=self.real, **self.position)
        return self.ends

    def last_needed(self, logits: bool | Array) -> int:
        """The number of blocks that logits and captures need."""
        if logits is not False or any(at.site in ENDS for at in self.captures):
            return self.count
        needed = [at.layer_range(self.count)[-1] + 1 for at in self.captures if is_per_layer(at.site)]
        return max(needed, default=0)

    def blocks(self, resid: Array, ctx: Context, start: int, stop: int) -> Array:
        """The residual stream after the blocks `start..stop`."""
        self.states = self.ends.states if hasattr(self, "ends") else self.states
        for stretch in plan(start, stop, self.edits, self.captures, self.count):
            resid = self._stretch(resid, ctx, stretch)
        return resid

    def _stretch(self, resid: Array, ctx: Context, stretch: Stretch) -> Array:
        arrays, static = eqx.partition(self.model.blocks, eqx.is_array)
        whole = (stretch.start, stretch.stop) == (0, self.count)
        if stretch.stop - stretch.start == 1:
            layer = stretch.start
            carry, (recorded, memory) = self._visit(
                stretch,
                ctx,
                (resid, self._states(stretch)),
                block_at(self.model.blocks, layer),
                self._layer_leaves(stretch, lambda leaf: leaf[layer]),
                layer,
                jax.tree.map(lambda leaf: leaf[layer], self.memory),
            )
            recorded, memory = jax.tree.map(lambda leaf: leaf[None], (recorded, memory))
        else:
            span = slice(stretch.start, stretch.stop)

            def body(carry: Any, xs: Any) -> Any:
                block, leaves, layer, memory = xs
                # Slicing whole stacks copies them, so a part of the layers is indexed instead.
                block = block if whole else block_at(arrays, layer)
                return self._visit(stretch, ctx, carry, eqx.combine(block, static), leaves, layer, memory)

            xs = (
                arrays if whole else None,
                self._layer_leaves(stretch, lambda leaf: leaf[span]),
                jnp.arange(stretch.start, stretch.stop, dtype=jnp.int32),
                jax.tree.map(lambda leaf: leaf[span], self.memory),
            )
            carry, (recorded, memory) = lax.scan(body, (resid, self._states(stretch)), xs)
        if memory is not None:
            self._remember(memory, stretch.start)
        resid, states = carry
        for i, state in zip(stretch.edits, states, strict=True):
            self.states[i] = state
        for i, value in recorded.items():
            self.pieces.setdefault(i, []).append(value)
        return resid

    def _states(self, stretch: Stretch) -> list[Any]:
        return [self.states[i] for i in stretch.edits]

    def _layer_leaves(self, stretch: Stretch, pick: Any) -> list[Any]:
        def own(leaf: Array) -> Array:
            return pick(jnp.broadcast_to(leaf, (self.count, *leaf.shape[1:])))

        return [jax.tree.map(own, self.layered[i]) for i in stretch.edits]

    def _remember(self, memory: Any, start: int) -> None:
        self.memory = jax.tree.map(
            lambda whole, part: (
                part if part.shape == whole.shape else lax.dynamic_update_slice_in_dim(whole, part, start, 0)
            ),
            self.memory,
            memory,
        )

    def _visit(
        self,
        stretch: Stretch,
        ctx: Context,
        carry: tuple[Array, list[Any]],
        block: Any,
        leaves: list[Any],
        layer: Any,
        memory: Any = None,
    ) -> Any:
        """One block with its tap: the carry, and what was captured and remembered."""
        resid, states = carry
        edits = [eqx.combine(mine, self.shared[i]) for i, mine in zip(stretch.edits, leaves, strict=True)]
        captures = {i: self.captures[i] for i in stretch.captures}
        tap = Tap(
            edits,
            captures,
            states=states,
            layer=layer,
            memory=memory,
            real=self.real,
            **self.position,
        )
        resid = block(resid, ctx.at(layer), tap)
        return (resid, tap.states), (tap.recorded, tap.memory)

    def blocks_from(self, resid: Array, ctx: Context, start: Array) -> Array:
        """The residual stream after all blocks from a traced layer on: one dynamic loop.

        Captures of layers that did not run are NaN.
        """
        stretch = Stretch(
            0,
            self.count,
            tuple(range(len(self.edits))),
            tuple(i for i, at in enumerate(self.captures) if is_per_layer(at.site)),
        )

        def visit(carry: Any, layer: Any) -> Any:
            leaves = self._layer_leaves(stretch, lambda leaf: _take(leaf, layer))
            block = block_at(self.model.blocks, layer)
            return self._visit(stretch, ctx, carry, block, leaves, layer)

        states = self._states(stretch)
        _, (recorded, _) = jax.eval_shape(visit, (resid, states), jnp.asarray(0, jnp.int32))
        store = jax.tree.map(lambda leaf: jnp.full((self.count, *leaf.shape), jnp.nan, leaf.dtype), recorded)

        def step(layer: Any, loop: Any) -> Any:
            carry, store = loop
            carry, (recorded, _) = visit(carry, layer)
            store = jax.tree.map(
                lambda all, one: lax.dynamic_update_index_in_dim(all, one, layer, 0),
                store,
                recorded,
            )
            return carry, store

        (resid, self.states), store = lax.fori_loop(start, self.count, step, ((resid, states), store))
        for i, value in store.items():
            layers = sorted(self.captures[i].layer_range(self.count))
            self.pieces[i] = [value[np.asarray(layers, np.int32)]]
        return resid

    def unembed(self, resid: Array, logits: bool | Array) -> Any:
        """Logits as asked for; the ends' sites are full-sized whenever somebody names them."""
        named = any(site in ENDS for edit in self.edits for site in edit.sites)
        captured = any(at.site in ENDS for at in self.captures)
        if logits is False and not captured:
            return None
        tap = self.tap_at_ends() if not hasattr(self, "ends") else self.ends
        tap.states = self.states
        axis = resid.ndim - 2
        # Generation asks for columns; everybody else counts the tokens of padded prompts.
        real = self.real if self.position["columns"] is None else None
        if isinstance(logits, bool) or named or captured:
            out = self.model.unembed(resid, tap)
            if logits is False:
                return None
            return out if logits is True else take_positions(out, logits, axis, real)
        scalar = logits.ndim == 0
        chosen = take_positions(resid, logits[None] if scalar else logits, axis, real)
        out = self.model.unembed(chosen, tap)
        return out.squeeze(axis) if scalar else out

    def acts(self) -> Acts:
        """Everything captured, in the order and under the names of the request."""
        found = dict(self.ends.recorded) if hasattr(self, "ends") else {}
        for i, pieces in self.pieces.items():
            at = self.captures[i]
            stack = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
            if isinstance(at.layers, tuple) and (at.layers[2] or 1) < 0:
                stack = jnp.flip(stack, 0)
            found[i] = stack[0] if isinstance(at.layers, int) else stack
        return Acts({at.name: found[i] for i, at in enumerate(self.captures)})


def _take(leaf: Array, layer: Any) -> Array:
    return lax.dynamic_index_in_dim(leaf, layer, keepdims=False)
