"""The guesses of a lens at each layer and position, checked, and what colours them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._text import visible
from ..typing import ArrayLike, LensReadLike, MaskLike, TokenizerLike, WordsLike
from ._cells import labels
from ._colour import Scale, scale
from ._heatmap_settings import HeatmapSettings

_TOP = 5
_CELLS = ("entropy", "kl", "cross_entropy", "rank")
"The numbers of a summary that colour a cell, by name."


class Guesses(NamedTuple):
    """Strings and probabilities (layer, pos, guess), numbers (layer, pos) that colour a cell, and what they are.

    `tokens` are made visible, without padding; `positions` say where they stand.
    """

    tokens: list[str]
    positions: list[int]
    layers: list[str]
    top: np.ndarray
    probs: np.ndarray
    shade: np.ndarray
    ramp: Scale
    value: str
    corner: str


def read_guesses(
    tokens: WordsLike,
    read: LensReadLike,
    probs: ArrayLike | None,
    tokenizer: TokenizerLike | None,
    layers: Sequence[object] | None,
    values: ArrayLike | str | None,
    value: str,
    mask: MaskLike | None,
    settings: HeatmapSettings,
) -> Guesses:
    """One form of a summary, of logits, and of strings with their probabilities. Raises `ValueError` elsewhere."""
    corner, known = "layer", None
    rows = getattr(read, "rows", None)
    summary: Any = read
    if rows is not None and hasattr(read, "top_ids"):
        top, probs = _as_text(summary.top_ids, tokenizer), np.asarray(summary.top_probs, dtype=float)
        known, corner = ["embed" if row == 0 else str(row - 1) for row in rows], "read after"
        if isinstance(values, str):
            value, values = values if value == "probability" else value, _named(summary, values)
    elif probs is None:
        top, probs = _best(read, tokenizer)
        corner = "row"
    else:
        top, probs = np.asarray(read, dtype=object), np.asarray(probs, dtype=float)
        if top.ndim == 2:
            top, probs = top[..., None], probs[..., None]
    if isinstance(values, str):
        raise ValueError(
            f"values={values!r} names a number of ji.lens.summary; give that, or an array (layer, pos)."
        )
    if top.ndim == 4 and top.shape[1] == 1:
        top, probs = top[:, 0], probs[:, 0]
        values = None if values is None else np.asarray(values)[:, 0]
    if rows is not None and top.ndim == 2:  # read at one position: without an axis of positions
        top, probs = top[:, None], probs[:, None]
        values = None if values is None else np.asarray(values)[:, None]
    words = _words(tokens, tokenizer)
    if top.ndim != 3 or top.shape != probs.shape or top.shape[1] != len(words) or 0 in top.shape:
        raise ValueError(
            "lens_table takes what ji.lens.summary returns, logits (layer, pos, vocab), or top_tokens and probs of one "
            f"shape (layer, pos) or (layer, pos, guess), with one position per token; got {top.shape}, {probs.shape} "
            f"and {len(words)} tokens. From a batch, choose one prompt: jax.tree.map(lambda x: x[:, 0], summary)."
        )
    real = np.ones(len(words), bool) if mask is None else np.asarray(mask, bool).reshape(-1)
    if real.shape != (len(words),) or not real.any():
        raise ValueError(
            f"mask says of each of the {len(words)} tokens whether it is real; got {real.shape}."
        )
    diverging, limits = settings.diverging, settings.limits
    if values is None:
        shade = probs[..., 0]
        ramp = scale(probs[:, real], diverging or False, limits or (0.0, 1.0))
    else:
        shade = np.asarray(values, dtype=float)
        if shade.shape != top.shape[:2]:
            raise ValueError(
                f"values holds one number for each cell (layer, pos) {top.shape[:2]}; got {shade.shape}."
            )
        ramp = scale(shade[:, real], diverging, limits)
    return Guesses(
        [visible(word) for word, is_real in zip(words, real, strict=True) if is_real],
        np.flatnonzero(real).tolist(),
        labels(layers if layers is not None else known, len(top), "layers"),
        top[:, real],
        probs[:, real],
        shade[:, real],
        ramp,
        value,
        corner,
    )


def _named(summary: Any, name: str) -> np.ndarray:
    found = getattr(summary, name, None) if name in _CELLS else None
    if found is None:
        had = [one for one in _CELLS if getattr(summary, one, None) is not None]
        raise ValueError(f"This summary has no {name!r} to colour cells by; it has {', '.join(had)}.")
    return np.asarray(found, dtype=float)


def _best(logits: Any, tokenizer: TokenizerLike | None) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest tokens of logits `(..., vocab)`, best first, and their probabilities."""
    array = np.asarray(logits, dtype=float) if np.asarray(logits).dtype != object else np.zeros(0)
    if array.ndim < 3 or not np.isfinite(array).any():
        raise ValueError(
            "lens_table takes what ji.lens.summary returns, logits (layer, pos, vocab), or strings with their "
            f"probs; got the shape {np.shape(logits)} and no probs."
        )
    count = min(_TOP, array.shape[-1])
    ids = np.argsort(-array, axis=-1, kind="stable")[..., :count]
    shifted = array - array.max(-1, keepdims=True)
    total = np.exp(shifted).sum(-1, keepdims=True)
    return _as_text(ids, tokenizer), np.exp(np.take_along_axis(shifted, ids, -1)) / total


def _as_text(ids: Any, tokenizer: TokenizerLike | None) -> np.ndarray:
    if tokenizer is None:
        raise ValueError(
            "A lens guesses token ids: say what they are, lens_table(tokens, read, tokenizer=tokenizer)."
        )
    array = np.asarray(ids)
    names: Any = tokenizer
    pieces = np.array(names.tokens(array.reshape(-1)), dtype=object)
    return pieces.reshape(array.shape)


def _words(tokens: WordsLike, tokenizer: TokenizerLike | None) -> list[str]:
    """Strings as they are; ids through the tokenizer."""
    array = tokens if isinstance(tokens, list | tuple) and tokens and isinstance(tokens[0], str) else None
    if array is not None:
        return [str(token) for token in array]
    ids = np.asarray(tokens)
    if np.issubdtype(ids.dtype, np.integer):
        return [str(piece) for piece in _as_text(ids.reshape(-1), tokenizer)]
    return [str(token) for token in tokens]
