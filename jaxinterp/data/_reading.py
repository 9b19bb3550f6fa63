"""What is read off a model, planned before it runs: which rows, of which positions.

A row is one token (`reduce=None`) or one sequence. The plan knows the number and the order of all
rows in advance, so any stretch of them can be computed on its own: arrays are filled batch by
batch, and an interrupted store continues where it stopped.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..core._blocks import layer_count
from ..core._captures import REDUCTIONS, At, as_requests, check_captures
from ..core._check import as_array, as_int32, check_selector, check_tokens
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._sites import axes_of, is_per_layer
from ..corpus._batches import Batch, CorpusBatches, counts_tokens
from ..corpus._corpus import as_corpus, counting
from ..corpus._fold import folded
from ..corpus._size import check_batch_size
from ..typing import AnyCorpus
from ._row_captures import RowCaptures, taken


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A checked request, and the rows that come out.

    - `index` `(row,)`: `seq * ctx + pos` of each token, or the number of each sequence, ascending;
    - `sequences` `(n,)`: those that have rows at all; `starts` `(n + 1,)`: their first rows;
    - `shapes`: name to `(layers or None, shape of a row, dtype)`.
    """

    model: Any
    corpus: AnyCorpus
    captures: RowCaptures
    per_sequence: np.ndarray | None
    padded: bool
    index: np.ndarray
    sequences: np.ndarray
    starts: np.ndarray
    shapes: dict[str, tuple[int | None, tuple[int, ...], np.dtype]]

    @property
    def by_token(self) -> bool:
        """Whether a row is a token."""
        return self.captures.by_token

    def read(
        self,
        keep: Callable[[int, dict[str, np.ndarray]], None],
        size: int,
        *,
        start: int = 0,
        stop: int | None = None,
        progress: bool | str = False,
    ) -> None:
        """Calls `keep(first row, {name: (*layer, row, ...)})` for each batch of the sequences `start..stop`.

        `start` is a multiple of `size`, the sequences of a batch.
        """
        stop = len(self.sequences) if stop is None else stop
        parts = CorpusBatches(self.corpus, self.model, size, extra=self.per_sequence, padded=self.padded)
        size = parts.size

        def step(number: int, batch: Batch, values: Any) -> int:
            here = parts.rows_of(number)
            keep(int(self.starts[number * size]), self._rows_of(here, values))
            return number + 1

        first = start // size
        numbers = range(first, -(-stop // size))
        folded(
            parts, self.model, self.captures, first, step, per_batch=taken, batches=numbers, progress=progress
        )

    def _rows_of(self, sequences: np.ndarray, values: Any) -> dict[str, np.ndarray]:
        positions, acts = values
        n, out = len(sequences), {}
        there = np.asarray(positions)[:n]
        if self.captures.width < there.shape[1]:
            there = np.arange(self.captures.width) < there.sum(1)[:, None]
        for name, (layers, _, _) in self.shapes.items():
            x = np.asarray(acts[name])
            x = x[:n] if layers is None else x[:, :n]
            if self.by_token:
                x = x[there] if layers is None else x[:, there]
            finite = np.isfinite(x.astype(np.float32) if x.dtype.kind == "V" else x).all()
            self.check_finite(name, bool(finite), sequences)
            out[name] = x
        return out

    def check_finite(self, name: str, finite: bool, rows: np.ndarray) -> None:
        """Raises ValueError where the activations of these sequences are not finite."""
        if not finite:
            raise ValueError(
                f"Activations at {name!r} are NaN or infinite (among the sequences {rows.min()}.."
                f"{rows.max()}): nothing can be learned from them. Are the weights finite, and "
                "does the dtype reach? A model in float16 often overflows: load it in float32."
            )


def plan(
    model: Any,
    tokens: Any,
    site: Any,
    *,
    mask: Any = None,
    positions: Any = None,
    reduce: str | None = None,
    pos: Any = None,
    index: Any = None,
) -> Reading:
    """Checks everything that can be checked before the model runs."""
    if index is not None and (positions is not None or reduce is not None or pos is not None):
        raise ValueError("index= names tokens by itself; drop positions=, reduce= and pos=.")
    if pos is not None and positions is not None and reduce is not None:
        raise ValueError("pos= and positions= both say which positions to reduce over; give one.")
    corpus = as_corpus(tokens, mask=mask)
    shape = (int(corpus.tokens.shape[0]), int(corpus.tokens.shape[1]))
    if index is not None:
        positions = _of_index(index, shape)
        if (positions & ~corpus.mask).any():
            raise ValueError("index= names padding; it holds seq * ctx + pos of real tokens.")
    if pos is not None:
        positions = np.asarray(corpus.mask)
    corpus = corpus if positions is None else counting(corpus, positions)
    base, edits = split_edits(model)
    sample = corpus.tokens if isinstance(corpus.tokens, np.ndarray) else corpus.tokens[np.arange(1)]
    check_tokens(sample, base.config)
    requests = as_requests(site)
    if reduce is not None and reduce not in REDUCTIONS:
        raise ValueError(
            f"reduce is one of {', '.join(REDUCTIONS)}, or None for a row per token; got {reduce!r}."
        )
    real = None if corpus.mask.all() else np.asarray(corpus.mask)
    if pos is not None:
        pos = np.asarray(as_array(pos))
        if not np.issubdtype(pos.dtype, np.integer):
            raise ValueError("pos= is an int, ints (n,) or ints per sequence (seq, n).")
        pos = as_int32(pos, "pos")
        check_selector("pos", pos, shape[1], shape[:1], "activations", real)
    if not requests:
        raise ValueError("Name at least one site: site='mlp_post', or ['mlp_post', 'resid_post'].")
    own = [r for r in requests if r.pos is not None or r.reduce is not None]
    by_token = reduce is None and pos is None and not own
    _check_requests(requests, own, reduce, pos, by_token)
    found = survey(base, jax.ShapeDtypeStruct((1, shape[1]), np.int32), edits)
    count = layer_count(base)
    check_captures(requests, found, count, real=real)
    counts = corpus.positions.sum(-1)
    width = int(counts.max())
    if by_token:
        index_out = np.flatnonzero(corpus.positions)
    else:
        if not counts.all():
            empty = np.flatnonzero(counts == 0)
            raise ValueError(
                f"A reduction needs at least one position of every sequence; positions= leaves none "
                f"in {len(empty)} of them (the first is sequence {empty[0]}). Drop those rows: "
                "keep = positions.any(-1); tokens[keep], positions[keep]."
            )
        counts, width = np.ones(shape[0], np.int64), shape[1]
        index_out = np.arange(shape[0])
    sequences = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[sequences])])
    shapes = {}
    for request in requests:
        struct = found[request.site]
        stacked = is_per_layer(request.site) and not isinstance(request.layers, int)
        # A request with its own positions or reduction goes by those, the others by the call's.
        chosen = request if request in own else At(None, request.site, None, reduce, "")
        at_pos = request.pos if request in own else pos
        lead = () if at_pos is None or chosen.reduce is not None else at_pos.shape[-1:]
        rest = tuple(struct.shape[struct.ndim - len(axes_of(request.site)) + 1 :])
        layers = len(request.layer_range(count)) if stacked else None
        shapes[request.name] = (layers, (*lead, *rest), np.dtype(struct.dtype))
    per_sequence = pos if pos is not None and pos.ndim == 2 else None
    shared = pos if per_sequence is None else None
    padded = shared is not None or counts_tokens([r for r in own if r.pos is not None])
    captures = RowCaptures(requests, shared, reduce, by_token, width, bool(corpus.positions.all()))
    return Reading(
        model, corpus, captures, per_sequence, padded, index_out.astype(np.int64), sequences, starts, shapes
    )


def batch_of(reading: Reading, size: Any) -> int:
    """The number of sequences of a batch: the requested one, and at most all."""
    check_batch_size(size)
    return min(int(size), len(reading.sequences))


def _of_index(index: Any, shape: tuple[int, ...]) -> np.ndarray:
    index = np.asarray(index)
    if index.ndim != 1 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"index= holds ints (n,), each seq * ctx + pos; got {index.shape} of {index.dtype}.")
    if index.min() < 0 or index.max() >= shape[0] * shape[1]:
        raise IndexError(
            f"A token's index is seq * ctx + pos, here in 0..{shape[0] * shape[1] - 1}; got "
            f"{index.min() if index.min() < 0 else index.max()}."
        )
    positions = np.zeros(shape, bool)
    positions.reshape(-1)[index] = True
    return positions


def _check_requests(requests: Any, own: Any, reduce: Any, pos: Any, by_token: bool) -> None:
    for request in requests:
        if "pos" not in axes_of(request.site):
            raise ValueError(
                f"{request.site!r} has the axes {' '.join(axes_of(request.site))}, and no axis "
                f"pos, so it gives no rows. Use ji.run for single prompts."
            )
    for request in own:
        if request.pos is not None and request.pos.ndim > 1:
            raise ValueError(
                f"{request.name!r} has positions for each example of one batch; over a dataset "
                "give them to the call: activations(..., pos=positions)."
            )
    if own and not by_token and len(own) < len(requests) and reduce is None and pos is None:
        bare = next(r for r in requests if r not in own)
        raise ValueError(
            f"{own[0].name!r} gives a row per sequence and {bare.name!r} one per token; reduce "
            "both, or read them in two calls."
        )
    if own and (reduce is not None or pos is not None):
        raise ValueError(
            f"{own[0].name!r} already says how to reduce; drop reduce= and pos=, or name the bare "
            f"site {own[0].site!r}."
        )
