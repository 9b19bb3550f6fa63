"""Padded batches, and each of their prompts alone."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from .draw import Draw

WIDTH, SHORTEST = 7, 4
POSITIONS = ("pos", "query", "key")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt: `index` is its place in the batch, `columns` where its tokens stand there."""

    index: tuple[int, ...]
    tokens: np.ndarray
    columns: np.ndarray
    width: int = WIDTH

    def rows_of(self, x: Any, axes: tuple[str, ...], stacked: bool = False) -> np.ndarray:
        """Its share of a padded array `([layer] *batch *axes)`, without the padding."""
        x = np.asarray(x)[((slice(None),) if stacked else ()) + self.index]
        for i, axis in enumerate(axes):
            if axis in POSITIONS:
                x = np.take(x, self.columns, i + stacked)
        return x

    def column_of(self, columns: Any) -> np.ndarray:
        """Columns of the padded array, as positions of this prompt."""
        return np.searchsorted(self.columns, np.asarray(columns) % self.width)


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Tokens `(*batch, pos)` and their mask, or None where all prompts are of one length."""

    tokens: np.ndarray
    mask: np.ndarray | None

    @property
    def batch(self) -> tuple[int, ...]:
        return self.tokens.shape[:-1]

    @property
    def real(self) -> np.ndarray:
        return np.ones(self.tokens.shape, bool) if self.mask is None else self.mask

    @property
    def shortest(self) -> int:
        return int(self.real.sum(-1).min())

    def __iter__(self) -> Iterator[Prompt]:
        for index in np.ndindex(self.batch):
            columns = np.flatnonzero(self.real[index])
            yield Prompt(index, self.tokens[index][columns], columns)

    def columns(self, draw: Draw, count: int) -> np.ndarray:
        """Columns of real tokens, per example `(*batch, count)`."""
        return np.asarray(
            [draw.values.choice(np.flatnonzero(row), count) for row in self.real.reshape(-1, WIDTH)],
            np.int32,
        ).reshape(*self.batch, count)


def draw_prompts(draw: Draw, vocab: int, *, masked: bool, batched: bool = False) -> Prompts:
    """Prompts of 4 to 7 tokens, padded left, right or on both sides."""
    batch = draw.one_of((4,), (4,), (3,), (2, 2)) if batched else draw.one_of((4,), (4,), (2, 2), ())
    tokens = draw.ints(0, vocab, (*batch, WIDTH))
    if not masked:
        return Prompts(tokens, None)
    missing = draw.ints(0, WIDTH - SHORTEST + 1, batch)
    side = draw.values.choice(["left", "right", "both"])
    left = {"left": missing, "right": 0 * missing, "both": draw.ints(0, 4, batch) % (missing + 1)}
    begin = np.asarray(left[side])[..., None]
    end = WIDTH - (np.asarray(missing)[..., None] - begin)
    columns = np.arange(WIDTH)
    return Prompts(tokens, (columns >= begin) & (columns < end))
