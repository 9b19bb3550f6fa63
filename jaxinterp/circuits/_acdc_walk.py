r"""The walk of ACDC over the edges, many decisions ahead of what is known.

An edge is judged in the circuit that the decisions before it left. A window of edges is judged at once: the
decisions are guessed, the circuit before each edge is that of the guesses, and all of them run as one batch.
Values are right up to the first wrong guess, and decisions are accepted up to there. So the walk takes the
path of the plain loop, whatever the guesses are; good ones only make it faster.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._acdc_settings import goes
from ._graph import Graph
from ._numbering import feeds, nodes_of

Evaluate = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"Masks `(n, edge)` and the layer from which they differ from the whole model, to the metric of each."


@dataclasses.dataclass(frozen=True)
class Trail:
    """What a walk saw, step by step: the metric without the edge, and whether the edge went."""

    values: np.ndarray
    gone: np.ndarray


@dataclasses.dataclass
class Walk:
    """One walk with one threshold.

    - `kept`, `deltas` `(edge,)`: the circuit so far, and how the metric changed; 0 at edges that lead nowhere.
    - `metric`: of the circuit so far.
    - `values`, `gone`: of each step.
    """

    graph: Graph
    stages: Sequence[np.ndarray]
    threshold: float
    goal: str
    metric: float
    hint: np.ndarray | None = None
    "Deltas of another threshold, for the first guesses; NaN where nothing is known."

    def __post_init__(self) -> None:
        self.kept = np.ones(self.graph.size, bool)
        self.deltas = np.full(self.graph.size, np.nan)
        self.values: list[float] = []
        self.gone: list[bool] = []

    @property
    def trail(self) -> Trail:
        return Trail(np.asarray(self.values, np.float64), np.asarray(self.gone, bool))

    def run(
        self, evaluate: Evaluate, width: int, trails: Sequence[Trail], moved: Callable[[int], None]
    ) -> None:
        """Decides about every edge. `trails` are earlier walks: where one took the same path, its values hold.

        `moved` hears of the edges that are decided.
        """
        twins = list(trails)
        receiver_of = self.graph.pairs[:, 1]
        pos = self.graph.pos or 1
        read = nodes_of(self.graph).read
        alive = np.zeros(len(self.graph.senders), bool)  # senders with a path to the logits
        for edges in self.stages:
            receivers = receiver_of[edges // pos]
            heard = feeds(self.graph)[receivers] @ alive
            heard |= receivers == len(self.graph.receivers) - 1
            unheard = edges[~heard]
            self.kept[unheard], self.deltas[unheard] = False, 0.0
            moved(len(unheard))
            layer = min(int(read[receivers[0]]) // 2, self.graph.layers - 1)
            twins = self._decide(edges[heard], layer, evaluate, width, twins, moved)
            here = edges[self.kept[edges]] // pos
            alive[self.graph.pairs[here, 0]] = True

    def _decide(
        self,
        edges: np.ndarray,
        layer: int,
        evaluate: Evaluate,
        width: int,
        twins: list[Trail],
        moved: Callable[[int], None],
    ) -> list[Trail]:
        """The edges of one stage, in order; returns the trails that agree so far."""
        guess, done = self._first_guess(edges), 0
        while done < len(edges):
            step = len(self.values)
            known = next((trail for trail in twins if len(trail.values) > step), None)
            if known is None:
                window = edges[done : done + width]
                guessed = guess[done : done + width]
                values = evaluate(self._masks(window, guessed), self.kept, layer)
            else:
                window = edges[done : done + len(known.values) - step]
                guessed = known.gone[step : step + len(window)]
                values = known.values[step : step + len(window)]
            deltas = values - self._before(values, guessed)
            gone = goes(deltas, self.threshold, self.goal)
            wrong = np.flatnonzero(gone != guessed)
            right = int(wrong[0]) + 1 if len(wrong) else len(window)
            guess[done : done + len(window)] = gone
            if known is None and right == len(window) and self.hint is None:
                # Where nothing is known of the edges ahead, they are guessed as most were so far.
                guess[done + right :] = guess[: done + right].mean() >= 0.5
            self._accept(window[:right], values[:right], deltas[:right], gone[:right])
            twins = [
                t
                for t in twins
                if np.array_equal(t.gone[step : step + right], gone[:right][: len(t.gone) - step])
            ]
            done += right
            moved(right)
        return twins

    def _first_guess(self, edges: np.ndarray) -> np.ndarray:
        """As most of the last decisions; with another threshold's deltas, those that would go with these."""
        if self.hint is None:
            return np.full(len(edges), np.mean(self.gone[-64:] or [True]) >= 0.5)
        hint = self.hint[edges]
        return np.isnan(hint) | goes(hint, self.threshold, self.goal)

    def _masks(self, window: np.ndarray, guessed: np.ndarray) -> np.ndarray:
        """For each edge of a window the circuit that the guesses leave before it, without it."""
        count = len(window)
        cut = np.tril(np.broadcast_to(guessed, (count, count)), -1) | np.eye(count, dtype=bool)
        masks = np.repeat(self.kept[None], count, 0)
        masks[:, window] = ~cut
        return masks

    def _before(self, values: np.ndarray, guessed: np.ndarray) -> np.ndarray:
        """The metric of the circuit before each edge, where the guesses are right."""
        last = np.maximum.accumulate(np.where(guessed, np.arange(len(values)), -1))
        last = np.concatenate([[-1], last[:-1]])
        return np.where(last < 0, self.metric, values[last])

    def _accept(self, window: np.ndarray, values: Any, deltas: Any, gone: Any) -> None:
        self.kept[window], self.deltas[window] = ~gone, deltas
        if gone.any():
            self.metric = float(values[gone][-1])
        self.values += values.tolist()
        self.gone += gone.tolist()
