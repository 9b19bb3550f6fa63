"""Prompts of one class: tokens and their padding mask, cut, split and read in parts of one size."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_int, as_mask, as_selector, concrete
from ..core import at, run
from ..core._blocks import layer_count
from ..core._check import (
    as_tokens,
    check_index,
    check_mask,
    check_selector,
    check_tokens,
    logit_count,
    token_shape,
)
from ..core._intervene import config_of, split_edits
from ..metrics import Metric, as_metric
from ..typing import BatchLike, IntLike, MetricLike, ModelLike, StrLike


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Tokens `(n, pos)` (or embeddings) and the mask `(n, pos)` of the real ones."""

    tokens: Any
    mask: Any

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Any) -> "Prompts":
        """The rows, without columns that are padding in all of them."""
        tokens, mask = self.tokens[rows], self.mask[rows]
        if concrete(mask) and len(tokens):
            used = np.flatnonzero(np.asarray(mask).any(0))
            tokens, mask = (each[:, used[0] : used[-1] + 1] for each in (tokens, mask))
        return Prompts(tokens, mask)

    def parts(self, size: int) -> Iterator[tuple[slice, "Prompts"]]:
        """Parts of `size` rows, with the rows that each stands for. The last repeats its last row.

        So all have one shape, and one compiled program serves them.
        """
        size = min(size, len(self))
        for start in range(0, len(self), size):
            rows = np.minimum(np.arange(start, start + size), len(self) - 1)
            yield slice(start, min(start + size, len(self))), Prompts(self.tokens[rows], self.mask[rows])

    def read(self, size: int, function: Callable[["Prompts"], Any]) -> Any:
        """What a function of a part returns, arrays `(rows, ...)` in a tree, of all rows, on the host."""
        found = [
            jax.tree.map(lambda x, rows=rows: np.asarray(x)[: rows.stop - rows.start], function(part))
            for rows, part in self.parts(size)
        ]
        return jax.tree.map(lambda *each: np.concatenate(each), *found)


def as_prompts(given: BatchLike, what: str, model: ModelLike | None = None) -> Prompts:
    """Prompts `(n, pos)` of tokens, or of tokens and their mask as `tokenizer([...])` returns them.

    With a model its vocabulary and context are checked: a compiled program cannot look at the ids that it gets.
    """
    pair = isinstance(given, tuple) and len(given) == 2 and str(getattr(given[1], "dtype", "")) == "bool"
    tokens = as_tokens(given[0] if pair else given)
    shape = token_shape(tokens)
    if len(shape) != 2 or not shape[0]:
        raise ValueError(
            f"{what} are prompts (n, pos), or a pair of tokens and mask; got the shape {shape}. A tokenizer makes them: "
            f"{what} = tokenizer(texts)."
        )
    mask = as_mask(given[1]) if pair else jnp.ones(shape, bool)
    check_mask(mask, shape)
    if model is not None:
        check_tokens(tokens, config_of(model))
    return Prompts(tokens, mask)


def metric_of(metric: MetricLike, model: ModelLike, prompts: Prompts) -> Metric:
    """A metric whose tokens and positions these prompts of this model have."""
    found = as_metric(metric)
    found.check(logit_count(config_of(model)), (len(prompts),))
    found.check_positions(prompts.mask.shape, prompts.mask)
    return found


def layer_place(layer: IntLike, model: ModelLike, what: str) -> Array:
    """The number of a layer as an array, so that one program serves all layers."""
    count = layer_count(split_edits(model)[0])
    number = as_int(layer, "layer")
    check_index("layer", number, count, what)
    return jnp.int32(number % count)


def splits(classes: list[Prompts], validation: Any, share: float) -> tuple[list[Prompts], list[Prompts]]:
    """Prompts for the means, and those for the scores."""
    if validation is not None:
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise ValueError(
                "validation is a pair of prompts, validation=(harmful, harmless), each as the first two; for a share of "
                "the prompts write settings=SelectionSettings(validation=0.2)."
            )
        return classes, [as_prompts(each, "validation prompts") for each in validation]
    train, val = [], []
    for each in classes:
        kept = max(1, round(share * len(each)))
        if kept == len(each):
            raise ValueError(
                f"Of {len(each)} prompts none is left beside those for validation: give more prompts."
            )
        train.append(each[: len(each) - kept])
        val.append(each[len(each) - kept :])
    return train, val


def places_of(positions: Any, prompts: list[Prompts]) -> np.ndarray:
    """Checked positions `(p,)`."""
    several = list(positions) if isinstance(positions, range) else positions
    places = np.atleast_1d(np.asarray(as_selector(several, "positions")))
    if places.ndim != 1 or places.dtype == bool or not len(places) or len(set(places.tolist())) < len(places):
        raise ValueError(
            f"positions are different ints that all prompts share, such as range(-5, 0); got {places.tolist()}."
        )
    for each in prompts:
        check_selector("pos", places, each.tokens.shape[1], (len(each),), "positions", each.mask)
    return places


def states(
    model: ModelLike, prompts: Prompts, places: np.ndarray | None, size: int, site: StrLike
) -> np.ndarray:
    """What every layer has at positions, `(n, layer, position, d)`."""
    read = at(site, pos=places)

    def part(prompts: Prompts) -> Array:
        _, acts = run(model, prompts.tokens, mask=prompts.mask, capture=[read], logits=False)
        return jnp.moveaxis(acts[read], 0, 1)

    return prompts.read(size, part)
