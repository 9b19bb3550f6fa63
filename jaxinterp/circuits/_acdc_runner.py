"""How ACDC runs batches of masks: the units behind what changed, or all blocks from a layer on."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core._positions import columns
from ..metrics import Metric
from ..patching._pairs import PatchingPair
from ..patching.packed._plan import byte_limit
from ..typing import BytesLike
from ._acdc_run import from_layer, known_run, whole_run
from ._acdc_sparse import accepted, from_known, suits
from ._acdc_units import choose, live_edges, needs, plan, slots_of
from ._run import Experiment, at_once, read_count

ROOMS = (8, 64)
"Numbers of wide units of which programs are compiled, beside that of all units."
SPARE = 32
"About how many copies of the stream a unit makes, while it runs."


@dataclasses.dataclass
class Runner:
    """Evaluates masks in batches, and counts them.

    - `width`: how many masks run at once, of whole blocks; `most`: at most, of single units.
    - `start`: before this position, no circuit changes anything.
    - `at`: columns where narrow units run, or None; see `_acdc_units`.
    - `stream_bytes`: of the stream of one circuit from `start` on; `limit`: of what runs at once.
    """

    setup: Experiment
    metric: Metric
    width: int
    most: int = 64
    start: int = 0
    at: Any = None
    stream_bytes: int = 1
    limit: int = 2**30
    runs: int = 0
    known: Any = None
    "The circuit of which `change` holds what its senders write."
    change: Any = None
    _whole: Any = None
    _last: Any = None
    "The masks that ran last, and what their units wrote."

    @property
    def window(self) -> int:
        """How many masks are judged at once."""
        return self.most if suits(self.setup) else self.width

    def whole(self) -> Any:
        """The clean run."""
        if self._whole is None:
            self._whole = whole_run(self.setup)
        return self._whole

    def per_example(self, masks: np.ndarray, layer: int) -> np.ndarray:
        """The metric of masks that are whole before a layer, `(n, *batch)`."""
        found = []
        for start in range(0, len(masks), self.width):
            part = masks[start : start + self.width]
            full = jnp.asarray(filled(part, self.width))
            out = from_layer(self.setup, self.whole(), full, jnp.asarray(layer, jnp.int32), self.metric)
            found.append(np.asarray(out, np.float64)[: len(part)])
        self.runs += len(masks)
        return np.concatenate(found)

    def __call__(self, masks: np.ndarray, kept: np.ndarray, layer: int) -> np.ndarray:
        """The mean over the prompts of at most `window` masks, which cut some edges more than `kept`."""
        found = self._behind(masks, kept, layer) if suits(self.setup) else self.per_example(masks, layer)
        return found.reshape(len(masks), -1).mean(1)

    def _behind(self, masks: np.ndarray, kept: np.ndarray, layer: int) -> np.ndarray:
        """The same from the units behind the changed edges."""
        self._know(kept, layer)
        graph, narrowest = self.setup.graph, self.at is not None
        units, shared = len(slots_of(graph)[0]) - 1, graph.heads // graph.kv_heads
        chosen = choose(graph, kept, masks, narrowest)
        rooms = sorted({min(units, room) for room in (*ROOMS, units)})
        room = next(room for room in rooms if room >= len(chosen.wide))
        size = min(self.most, power_of_two(units_at_once(self.limit, self.stream_bytes, room * shared)))
        found, ran, parts = [], None, None
        for first in range(0, len(masks), size):
            part = masks[first : first + size]
            full = filled(part, size)
            chosen = choose(graph, kept, full, narrowest) if len(masks) > size else chosen
            # Each mask of a window cuts at most one edge more than the one before it.
            parts = plan(graph, kept, full, chosen, (room, units * narrowest, self.most))
            out, ran = from_known(
                self.setup, self.whole(), self.change, parts, self.at, self.metric, self.start
            )
            found.append(np.asarray(out, np.float64)[: len(part)])
        self._last = (masks, parts, ran) if len(masks) <= size else None
        self.runs += len(masks)
        return np.concatenate(found)

    def _know(self, kept: np.ndarray, layer: int) -> None:
        """Brings `change` to a circuit: that of the whole model, one that ran last, or by a run."""
        graph = self.setup.graph
        _, receiver = needs(graph, kept, self.at is not None)
        counts = live_edges(graph, receiver)
        same = lambda masks: (masks[..., counts] == kept[counts]).all(-1)
        if self.known is None:
            self.known, self.change = np.ones_like(kept), jnp.zeros_like(self.whole().wrote)
        if not same(self.known):
            last = self._last
            hits = [] if last is None else np.flatnonzero(same(last[0]))
            if last is not None and len(hits):
                index = jnp.asarray(hits[0], jnp.int32)
                self.change = accepted(self.change, last[1], last[2], index, self.at, self.start)
            else:
                at = jnp.asarray(layer, jnp.int32)
                self.change = known_run(self.setup, self.whole(), jnp.asarray(kept), at)
        self.known, self._last = kept.copy(), None


def filled(masks: np.ndarray, width: int) -> np.ndarray:
    """As many masks as the program runs: `width`, or an eighth, for what is left behind a wrong guess."""
    small = max(width // 8, 1)
    size = small if len(masks) <= small else width
    return np.concatenate([masks, np.repeat(masks[-1:], size - len(masks), 0)])


def runner_of(
    setup: Experiment, pair: PatchingPair, metric: Metric, ablate: str, edges: int, max_bytes: BytesLike
) -> Runner:
    """The runner of an experiment; `edges`: the most that are judged at one stage."""
    fits = at_once(pair, setup.graph, read_count(pair, metric.pos), max_bytes)
    at, start = None, 0
    if ablate == "patch" and pair.same_kind and pair.model.config.causal:
        differs = np.asarray(pair.target != pair.source)
        differs = differs.any(tuple(i for i in range(differs.ndim) if i != len(pair.batch)))
        # One program for each quarter of the prompts, and not one for each position.
        start = round_down(int(differs.argmax()), -(-pair.pos // 4))
    if metric.pos is not None:
        at = columns(jnp.atleast_1d(metric.pos), pair.pos, pair.mask)
        if at.shape[-1] < pair.pos - start:
            start = round_down(min(start, int(at.min())), -(-pair.pos // 4))
        else:
            at = None
    stream = pair.shapes["resid_pre"]
    size = stream.dtype.itemsize * int(np.prod(pair.batch)) * (pair.pos - start) * stream.shape[-1]
    limit = byte_limit(max_bytes)
    single = units_at_once(limit, size, ROOMS[0] * setup.graph.heads // setup.graph.kv_heads)
    width, most = (power_of_two(min(each, 64, max(edges, 1))) for each in (fits, single))
    return Runner(setup, metric, width, most, start, at, size, limit)


def units_at_once(limit: int, stream_bytes: int, rows: int) -> int:
    """How many circuits fit whose single units run, with `rows` of outputs of each."""
    return max(limit // (stream_bytes * (2 * rows + SPARE)), 1)


def round_down(number: int, step: int) -> int:
    """The largest multiple of a step up to a number."""
    return number // step * step


def power_of_two(number: int) -> int:
    """The largest power of two up to a number."""
    return 1 << (int(number).bit_length() - 1)
