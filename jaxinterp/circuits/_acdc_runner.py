"""How ACDC runs batches of masks: the units behind what changed, or all blocks from a layer on."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..metrics import Metric
from ._acdc_run import from_layer, whole_run
from ._acdc_sparse import behind, from_known, known_run, plan, suits
from ._run import Experiment

ROOMS = tuple(4**i for i in range(1, 12))
"Numbers of units of which programs are compiled."


@dataclasses.dataclass
class Runner:
    """Evaluates masks in batches of one width, and counts them."""

    setup: Experiment
    metric: Metric
    width: int
    whole: Any = None
    runs: int = 0
    known: Any = None
    "The circuit of which `change` holds what its senders write."
    change: Any = None

    def per_example(self, masks: np.ndarray, layer: int) -> np.ndarray:
        """The metric of masks that are whole before a layer, `(n, *batch)`."""
        if self.whole is None:
            self.whole = whole_run(self.setup)
        found = []
        for start in range(0, len(masks), self.width):
            part = masks[start : start + self.width]
            full = self._filled(part)
            number = jnp.asarray(layer, jnp.int32)
            out = from_layer(self.setup, self.whole, jnp.asarray(full), number, self.metric)
            found.append(np.asarray(out, np.float64)[: len(part)])
        self.runs += len(masks)
        return np.concatenate(found)

    def __call__(self, masks: np.ndarray, kept: np.ndarray, layer: int) -> np.ndarray:
        """The mean over the prompts of at most `width` masks, which cut some edges more than `kept`."""
        found = self._behind(masks, kept, layer) if suits(self.setup) else None
        if found is None:
            found = self.per_example(masks, layer)
        return found.reshape(len(masks), -1).mean(1)

    def _filled(self, masks: np.ndarray) -> np.ndarray:
        """As many masks as the program runs: `width`, or an eighth, for what is left behind a wrong guess."""
        small = max(self.width // 8, 1)
        size = small if len(masks) <= small else self.width
        return np.concatenate([masks, np.repeat(masks[-1:], size - len(masks), 0)])

    def _behind(self, masks: np.ndarray, kept: np.ndarray, layer: int) -> np.ndarray | None:
        """The same from the units behind the changed edges; None where these are too many."""
        graph = self.setup.graph
        active = behind(graph, kept, masks)
        room = next(room for room in ROOMS if room >= active[:-1].sum())
        if room * graph.heads // graph.kv_heads > max(2 * len(graph.senders), 2 * ROOMS[0]):
            return None
        if self.whole is None:
            self.whole = whole_run(self.setup)
        if self.known is None or not np.array_equal(self.known, kept):
            at = jnp.asarray(layer, jnp.int32)
            self.change = known_run(self.setup, self.whole, jnp.asarray(kept), at)
            self.known = kept.copy()
        full = self._filled(masks)
        units, count = plan(graph, kept, full, active, room), jnp.asarray(int(active[:-1].sum()), jnp.int32)
        out = from_known(self.setup, self.whole, self.change, units, count, self.metric)
        self.runs += len(masks)
        return np.asarray(out, np.float64)[: len(masks)]


def width_of(edges: int, fits: int) -> int:
    """How many masks run at once: a power of two that fits, and that the largest stage fills."""
    most = min(fits, 64, max(edges, 1))
    return 1 << (int(most).bit_length() - 1)
