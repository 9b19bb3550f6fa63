"""How a run is executed: layers are planned into stretches, scanned or visited, and captures gathered.

From what is static in the request (sites, Python layers) the blocks fall into stretches that need
the same treatment. A stretch of several blocks is one `lax.scan`. A block that is edited or captured
by its own number is visited by itself. Edits with traced layers are selects inside. A run ends after
the last block that anything needs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..mesh._gather import gather_weights, over_data
from ._acts import Acts
from ._blocks import at_layer
from ._captures import At
from ._edit import Edit
from ._positions import take_positions
from ._request import Request
from ._sites import is_per_layer, stage_of
from ._tap import Tap
from ._types import Context


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
    """One traced run: it carries the states of edits, and gathers what is captured.

    - `offset`, `columns`, `memory`: see `Tap`; of generation, which reads the prompt and then one
      position at a time.
    """

    def __init__(
        self, request: Request, *, offset: Any = 0, columns: int | None = None, memory: Any = None
    ) -> None:
        self.model, self.edits, self.captures = request.model, request.edits, request.captures
        self.count, self.remat = request.count, request.remat
        self.columns, self.memory = columns, memory
        self.of_prompt = {"start": offset, "columns": columns, "real": request.mask}
        shapes = request.shapes()
        split = [eqx.partition(edit, edit.per_layer(shapes)) for edit in self.edits]
        whole = lambda leaf: jnp.broadcast_to(leaf, (self.count, *leaf.shape[1:]))
        self.layered = [jax.tree.map(whole, own) for own, _ in split]
        self.shared = [rest for _, rest in split]
        at_ends = {i: at for i, at in enumerate(self.captures) if not is_per_layer(at.site)}
        states = [edit.init(shapes, self.count) for edit in self.edits]
        self.ends = Tap(self.edits, at_ends, states=states, **self.of_prompt)
        "The tap of the sites before and behind the blocks."
        self.states = self.ends.states
        "One list: the taps of the blocks take the states from it and put them back."
        self.pieces: dict[int, list[Array]] = {}

    def last_needed(self, logits: bool | Array) -> int:
        """The number of blocks that logits and captures need."""
        if logits is not False or any(stage_of(at.site) == "end" for at in self.captures):
            return self.count
        needed = [at.layer_range(self.count)[-1] + 1 for at in self.captures if is_per_layer(at.site)]
        return max(needed, default=0)

    def run_blocks(self, resid: Array, ctx: Context, start: int, stop: int) -> Array:
        """The residual stream after the blocks `start..stop`."""
        for stretch in plan(start, stop, self.edits, self.captures, self.count):
            resid = self._run_stretch(resid, ctx, stretch)
        return resid

    def _run_stretch(self, resid: Array, ctx: Context, stretch: Stretch) -> Array:
        carry = resid, [self.states[i] for i in stretch.edits], self.memory
        if stretch.stop - stretch.start == 1:
            visit = lambda carry: self._visit_layer(stretch, ctx, carry, stretch.start)
            carry, gathered = self._computed_again(visit)(carry)
            gathered = jax.tree.map(lambda leaf: leaf[None], gathered)
        else:
            carry, gathered = self._scan(stretch, ctx, carry)
        resid, states, self.memory = carry
        for i, state in zip(stretch.edits, states, strict=True):
            self.states[i] = state
        for i, value in gathered.items():
            self.pieces.setdefault(i, []).append(value)
        return resid

    def _scan(self, stretch: Stretch, ctx: Context, carry: Any) -> Any:
        arrays, static = eqx.partition(self.model.blocks, eqx.is_array)
        whole = (stretch.start, stretch.stop) == (0, self.count)

        def body(carry: Any, xs: Any) -> Any:
            block, own, layer = xs
            # Slicing whole stacks copies them, so the blocks of a part are indexed one by one.
            block = block if whole else at_layer(arrays, layer)
            return self._visit(stretch, ctx, carry, eqx.combine(block, static), own, layer)

        layers = jnp.arange(stretch.start, stretch.stop, dtype=jnp.int32)
        part = lambda leaf: leaf[stretch.start : stretch.stop]
        own = jax.tree.map(part, [self.layered[i] for i in stretch.edits])
        return lax.scan(
            self._computed_again(body, in_loop=True), carry, (arrays if whole else None, own, layers)
        )

    def _computed_again(self, visit: Callable[..., Any], in_loop: bool = False) -> Callable[..., Any]:
        """`visit`, of which a backward pass keeps the arguments and `z`, the dearest to compute, if `remat`."""
        if not self.remat:
            return visit
        # The compiler merges nothing across turns of a loop, and there needs no barriers against it.
        kept = jax.checkpoint_policies.save_only_these_names("z")
        return jax.checkpoint(visit, prevent_cse=not in_loop, policy=kept)

    def _visit_layer(self, stretch: Stretch, ctx: Context, carry: Any, layer: int | Array) -> Any:
        """One block by its number, which may be traced."""
        block = at_layer(self.model.blocks, layer)
        own = [at_layer(self.layered[i], layer) for i in stretch.edits]
        return self._visit(stretch, ctx, carry, block, own, layer)

    def _visit(
        self,
        stretch: Stretch,
        ctx: Context,
        carry: tuple[Array, list[Any], Any],
        block: Any,
        own: list[Any],
        layer: Any,
    ) -> Any:
        """One block with its tap: the carry (stream, states of edits, memory), and what was captured."""
        resid, states, memory = carry
        edits = [eqx.combine(layered, self.shared[i]) for i, layered in zip(stretch.edits, own, strict=True)]
        captures = {i: self.captures[i] for i in stretch.captures}
        tap = Tap(edits, captures, states=states, layer=layer, memory=memory, **self.of_prompt)
        resid = gather_weights(block, "blocks.", layer=True)(over_data(resid, 2), ctx.at(layer), tap)
        return (resid, tap.states, tap.memory), tap.recorded

    def everything(self) -> Stretch:
        """All blocks as one stretch, with every edit and every capture of the blocks."""
        per_layer = tuple(i for i, at in enumerate(self.captures) if is_per_layer(at.site))
        return Stretch(0, self.count, tuple(range(len(self.edits))), per_layer)

    def run_block(self, resid: Array, ctx: Context, layer: Array) -> tuple[Array, dict[int, Array]]:
        """The residual stream after one block of a traced number, and the captures there by their number."""
        carry = resid, list(self.states), self.memory
        (resid, states, _), recorded = self._visit_layer(self.everything(), ctx, carry, layer)
        self.states[:] = states
        return resid, recorded

    def run_blocks_from(self, resid: Array, ctx: Context, start: Array) -> Array:
        """The residual stream after all blocks from a traced layer on: one dynamic loop.

        Captures of layers that did not run are NaN.
        """
        stretch = self.everything()

        visit = lambda carry, layer: self._visit_layer(stretch, ctx, carry, layer)
        carry = resid, list(self.states), self.memory
        _, recorded = jax.eval_shape(visit, carry, jnp.asarray(0, jnp.int32))
        store = jax.tree.map(lambda leaf: jnp.full((self.count, *leaf.shape), jnp.nan, leaf.dtype), recorded)

        def step(layer: Any, loop: Any) -> Any:
            carry, store = loop
            carry, recorded = visit(carry, layer)
            put = lambda all, one: lax.dynamic_update_index_in_dim(all, one, layer, 0)
            return carry, jax.tree.map(put, store, recorded)

        (resid, states, _), store = lax.fori_loop(start, self.count, step, (carry, store))
        self.states[:] = states
        for i, value in store.items():
            layers = sorted(self.captures[i].layer_range(self.count))
            self.pieces[i] = [value[np.asarray(layers, np.int32)]]
        return resid

    def unembed(self, resid: Array, logits: bool | Array) -> Any:
        """The logits of the request; sites behind the blocks are whole whenever one of them is named."""
        edited = any(stage_of(site) == "end" for edit in self.edits for site in edit.sites)
        captured = any(stage_of(at.site) == "end" for at in self.captures)
        if logits is False and not captured:
            return None
        axis = resid.ndim - 2
        # Generation asks for columns; all else counts the tokens of padded prompts.
        real = self.of_prompt["real"] if self.columns is None else None
        if isinstance(logits, bool) or edited or captured:
            out = gather_weights(self.model).unembed(resid, self.ends)
            if logits is False:
                return None
            return out if logits is True else take_positions(out, logits, axis, real)
        scalar = logits.ndim == 0
        chosen = take_positions(resid, logits[None] if scalar else logits, axis, real)
        out = gather_weights(self.model).unembed(chosen, self.ends)
        return out.squeeze(axis) if scalar else out

    def acts(self) -> Acts:
        """Everything captured, in the order and under the names of the request."""
        values = dict(self.ends.recorded)
        for i, pieces in self.pieces.items():
            at = self.captures[i]
            stack = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
            if isinstance(at.layers, tuple) and (at.layers[2] or 1) < 0:
                stack = jnp.flip(stack, 0)
            values[i] = stack if at.stacked else stack[0]
        return Acts({at.name: values[i] for i, at in enumerate(self.captures)})
