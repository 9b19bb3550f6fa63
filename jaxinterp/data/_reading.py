"""What is to be read off a model, planned before it runs: which rows, of which positions.

A row is one token (`reduce=None`) or one sequence. The plan knows the number and the order of all
rows in advance, so any stretch of them can be computed on its own: arrays are filled batch by
batch, and a store that was interrupted goes on where it stopped.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ..core._blocks import layer_count
from ..core._captures import REDUCTIONS, At, as_requests, check_captures
from ..core._check import as_array, as_int32, check_mask, check_selector, check_tokens
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._run import run
from ..core._sites import axes_of, is_per_layer


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A checked request: `tokens` and masks `(seq, pos)`, and the rows that come out.

    - `index` `(row,)`: `seq * ctx + pos` of each token, or the number of each sequence, ascending;
    - `sequences` `(n,)`: those that have rows at all; `starts` `(n + 1,)`: their first rows;
    - `shapes`: name to `(layers or None, shape of a row, dtype)`.
    """

    model: Any
    tokens: np.ndarray
    real: np.ndarray | None
    mask: np.ndarray | None
    reduce: str | None
    pos: np.ndarray | None
    by_token: bool
    index: np.ndarray
    sequences: np.ndarray
    starts: np.ndarray
    requests: tuple[At, ...]
    shapes: dict[str, tuple[int | None, tuple[int, ...], np.dtype]]

    @functools.cached_property
    def width(self) -> int:
        """The most positions that any sequence has rows of."""
        return int(np.asarray(self.mask).sum(-1).max())

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Of the sequences `start..stop`: `(first row, {name: (*layer, row, ...)})` by batches.

        The last batch is filled up with repetitions, so that one program serves all.
        """
        stop = len(self.sequences) if stop is None else stop
        for first in range(start, stop, size):
            here = self.sequences[first : min(first + size, stop)]
            padded = np.concatenate([here, np.repeat(here[-1:], size - len(here))])
            yield int(self.starts[first]), self._read(padded, len(here))

    def _read(self, rows: np.ndarray, n: int) -> dict[str, np.ndarray]:
        real = None if self.real is None else self.real[rows]
        requests, valid = self._requests(rows)
        _, acts = run(self.model, self.tokens[rows], capture=list(requests), mask=real, logits=False)
        out = {}
        for request in requests:
            stacked = self.shapes[request.name][0] is not None
            x = np.asarray(acts[request.name])
            x = x[:, :n] if stacked else x[:n]
            if self.by_token:
                x = x[:, valid[:n]] if stacked else x[valid[:n]]
            self._check_finite(request.name, x, rows)
            out[request.name] = x
        return out

    def _requests(self, rows: np.ndarray) -> tuple[list[At], Any]:
        """The captures of a batch, and in token mode which of the positions taken are rows."""
        pos, valid, reduce = self.pos, None, self.reduce
        if self.by_token:
            assert self.mask is not None
            mask = np.asarray(self.mask)[rows]
            if self.width < mask.shape[1]:
                # The chosen positions first, in order: only those leave the device.
                pos = np.argsort(~mask, axis=1, kind="stable")[:, : self.width].astype(np.int32)
                valid = np.take_along_axis(mask, pos, 1)
            else:
                valid = mask
        elif pos is not None and pos.ndim == 2:
            pos = pos[rows]
        elif reduce is not None and self.mask is not None:
            pos = self.mask[rows]
        asked = []
        for own in self.requests:
            if own.pos is None and own.reduce is None:
                own = At(site=own.site, layers=own.layers, pos=pos, reduce=reduce, name=own.name)
            elif own.pos is None and self.mask is not None:
                own = At(
                    site=own.site,
                    layers=own.layers,
                    pos=self.mask[rows],
                    reduce=own.reduce,
                    name=own.name,
                )
            asked.append(own)
        return asked, valid

    def _check_finite(self, name: str, x: np.ndarray, rows: np.ndarray) -> None:
        if not np.isfinite(x.astype(np.float32) if x.dtype.kind == "V" else x).all():
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
    real: Any = None,
    reduce: str | None = None,
    pos: Any = None,
    index: Any = None,
) -> Reading:
    """Checks everything that can be checked before the model runs."""
    if hasattr(tokens, "tokens") and hasattr(tokens, "real"):  # a Corpus
        mask = tokens.mask if mask is None and index is None else mask
        real = tokens.real if real is None else real
        tokens = tokens.tokens
    base, edits = split_edits(model)
    tokens = rows_of_ids(tokens)
    if not tokens.shape[0]:
        raise ValueError("There is no sequence to run: tokens has the shape (0, pos).")
    tokens = as_int32(tokens, "A token id")
    check_tokens(tokens, base.config)
    requests = as_requests(site)
    mask, real = _masks(tokens, mask, real, base.config.causal)
    if real is None and mask is not None and _counts(pos, requests) and _pads_right(mask):
        # Integer positions count real tokens, also where the model needs not know of padding.
        real = mask
    if reduce is not None and reduce not in REDUCTIONS:
        raise ValueError(
            f"reduce is one of {', '.join(REDUCTIONS)}, or None for a row per token; got {reduce!r}."
        )
    if index is not None:
        if mask is not None or reduce is not None or pos is not None:
            raise ValueError("index= names tokens by itself; drop mask=, reduce= and pos=.")
        mask = _of_index(index, tokens.shape)
    if pos is not None:
        if mask is not None and reduce is not None:
            raise ValueError("pos= and mask= both say which positions to reduce over; give one.")
        pos = np.asarray(as_array(pos))
        if not np.issubdtype(pos.dtype, np.integer):
            raise ValueError("pos= is an int, ints (n,) or ints per sequence (seq, n).")
        pos = as_int32(pos, "pos")
        check_selector("pos", pos, tokens.shape[1], tokens.shape[:1], "activations", real)
        mask = None
    if not requests:
        raise ValueError("Name at least one site: site='mlp_post', or ['mlp_post', 'resid_post'].")
    own = [r for r in requests if r.pos is not None or r.reduce is not None]
    by_token = reduce is None and pos is None and not own
    _check_requests(requests, own, reduce, pos, by_token)
    found = survey(base, jax.ShapeDtypeStruct((1, tokens.shape[1]), np.int32), edits)
    count = layer_count(base)
    check_captures(requests, found, count, real=real)
    if by_token:
        mask = np.ones(tokens.shape, bool) if mask is None and real is None else mask
        mask = real if mask is None else mask
        counts = mask.sum(-1)
        index_out = np.flatnonzero(mask)
        if not len(index_out):
            raise ValueError("The mask selects no token at all.")
    else:
        if mask is not None and not mask.any(-1).all():
            empty = np.flatnonzero(~mask.any(-1))
            raise ValueError(
                f"A reduction needs at least one position of every sequence; the mask leaves none "
                f"in {len(empty)} of them (the first is sequence {empty[0]}). Drop those rows: "
                "keep = mask.any(-1); tokens[keep], mask[keep]."
            )
        counts = np.ones(len(tokens), np.int64)
        index_out = np.arange(len(tokens))
    sequences = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[sequences])])
    shapes = {}
    for request in requests:
        struct = found[request.site]
        stacked = is_per_layer(request.site) and not isinstance(request.layers, int)
        # A request with its own positions or reduction goes by those, the others by the call's.
        chosen = request if request in own else At(None, request.site, None, reduce, "")
        at_pos = request.pos if request in own else pos
        some = () if at_pos is None or chosen.reduce is not None else at_pos.shape[-1:]
        rest = tuple(struct.shape[struct.ndim - len(axes_of(request.site)) + 1 :])
        layers = len(request.layer_range(count)) if stacked else None
        row = (*some, *rest)
        shapes[request.name] = (layers, row, np.dtype(struct.dtype))
    return Reading(
        model,
        tokens,
        real,
        mask,
        reduce,
        pos,
        by_token,
        index_out.astype(np.int64),
        sequences,
        starts,
        requests,
        shapes,
    )


def rows_of_ids(tokens: Any) -> np.ndarray:
    """Ids `(seq, pos)`, one context to a row."""
    tokens = np.asarray(as_array(tokens))
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"Tokens are int ids (seq, pos), one context to a row; got the shape {tokens.shape} of "
            f"{tokens.dtype}. From texts: ji.data.pack(tokenizer, texts, ctx=64)."
        )
    return tokens


def _counts(pos: Any, requests: Sequence[At]) -> bool:
    """Whether integer positions are asked for, by the call or by a request of its own."""
    return any(
        where is not None and np.asarray(where).dtype != bool and np.ndim(where) <= 1
        for where in (pos, *(request.pos for request in requests))
    )


def _pads_right(mask: np.ndarray) -> bool:
    """Whether a mask has the form of padding on the right."""
    return bool(mask[:, 0].all() and (mask[:, 1:] <= mask[:, :-1]).all())


def _masks(tokens: np.ndarray, mask: Any, real: Any, causal: bool) -> tuple[Any, Any]:
    """Both masks checked; a mask that has the form of padding says what is real, too."""
    if real is not None:
        real = np.asarray(real)
        check_mask(real, tokens.shape)
    if mask is None:
        return None, None if real is None or real.all() else real
    mask = np.asarray(mask)
    if mask.shape == tokens.shape[1:]:
        mask = np.broadcast_to(mask, tokens.shape)
    if mask.shape != tokens.shape or mask.dtype != bool:
        raise ValueError(
            f"A mask is of bools with the shape of the tokens {tokens.shape}, True at positions "
            f"that count; got {mask.shape} of {mask.dtype}."
        )
    if real is not None:
        if (mask & ~real).any():
            raise ValueError("The mask selects padding: mask is True where real= is False.")
        return mask, None if real.all() else real
    if mask.all() or not mask.any():
        return mask, None
    first, last = mask.argmax(-1), mask.shape[1] - mask[:, ::-1].argmax(-1)
    one_run = mask.any(-1).all() and (mask.sum(-1) == last - first).all()
    to_the_end, from_the_start = (last == mask.shape[1]).all(), (first == 0).all()
    if one_run and from_the_start:
        return mask, None if causal else mask  # padding right: nothing earlier reads it
    if one_run and to_the_end and len(np.unique(first)) > 1:
        if mask.all(-1).any():
            return mask, mask  # padding left: positions and attention must know
        raise ValueError(
            "This mask could be padding on the left, or a choice of tokens; the model must know "
            "which. Say what is padding: real=padding_mask, or real=numpy.ones(tokens.shape, bool)."
        )
    if not causal and not to_the_end:
        raise ValueError(
            "This model reads forwards too, so it must know which tokens are padding: "
            "real=padding_mask, or real=numpy.ones(tokens.shape, bool) if none are."
        )
    return mask, None


def _of_index(index: Any, shape: tuple[int, ...]) -> np.ndarray:
    index = np.asarray(index)
    if index.ndim != 1 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"index= holds ints (n,), each seq * ctx + pos; got {index.shape} of {index.dtype}.")
    if index.min() < 0 or index.max() >= shape[0] * shape[1]:
        raise IndexError(
            f"A token's index is seq * ctx + pos, here in 0..{shape[0] * shape[1] - 1}; got "
            f"{index.min() if index.min() < 0 else index.max()}."
        )
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[index] = True
    return mask


def _check_requests(requests: Any, own: Any, reduce: Any, pos: Any, by_token: bool) -> None:
    for request in requests:
        if "pos" not in axes_of(request.site):
            raise ValueError(
                f"{request.site!r} has the axes {' '.join(axes_of(request.site))}, no position of "
                f"its own: a row of a dataset cannot be made of it. Use ji.run for single prompts."
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
