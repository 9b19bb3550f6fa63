"""Metrics of one run, each written once more in NumPy for one prompt alone."""

from typing import Any

import jax
import numpy as np
from scipy.special import log_softmax, softmax

from .calls import Call, Named
from .cases import Case, Pairs, draw_setting, masked, model_call
from .changes import Watched, draw_changes
from .draw import Draw
from .prompts import WIDTH, Prompt
from .reference import forward
from .runs import at_positions, draw_positions


def entropy(logits: Any) -> Any:
    """Of one position `(..., vocab)`."""
    return -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1)


def metrics(draw: Draw) -> Case:
    """`ji.metrics.measure` of every metric."""
    on = draw_setting(draw)
    changes = draw_changes(draw, on, draw.count(0, 1))
    metric, wanted = draw_metric(draw, on)
    call = Call(
        "metrics.measure",
        model_call(on),
        on.prompts.tokens,
        metric,
        edits=[change.call for change in changes],
        **masked(on.prompts),
    )

    def pairs(result: Any) -> Pairs:
        return [
            (
                metric.name,
                prompt.rows_of(result, ()),
                wanted(forward(on.model, prompt.tokens, Watched(changes, prompt)), prompt),
            )
            for prompt in on.prompts
        ]

    return Case(call, pairs, on.traced)


def draw_metric(draw: Draw, on: Any, *, inner: bool = False) -> tuple[Call, Any]:
    """A metric, and the same as a function of one prompt's logits `(pos, vocab)`."""
    vocab, batch, prompts = on.model.config.vocab, on.prompts.batch, on.prompts
    kinds = ["logit_diff", "prob", "log_prob", "prob_diff", "kl", "rank", "cross_entropy", "custom"]
    kind = draw.one_of(*kinds, *["recovered"] * (not inner))
    if kind == "recovered":
        metric, value = draw_metric(draw, on, inner=True)
        clean, corrupt = draw.normal(*batch, least=1.0), draw.normal(*batch)
        low, high = corrupt.array.mean(), clean.array.mean()
        call = Call("metrics.recovered", metric, clean, corrupt)
        return call, lambda logits, prompt: (value(logits, prompt) - low) / (high - low)
    if kind == "cross_entropy":
        call = Call("metrics.cross_entropy", prompts.tokens, **masked(prompts))
        return call, _cross_entropy
    pos = draw_positions(draw, prompts)
    if kind == "custom":
        pos = pos if np.ndim(pos) == 0 else -1
    options = {} if isinstance(pos, int) and draw.chance(0.5) else {"pos": pos}
    if kind == "kl":
        return _draw_kl(draw, vocab, batch, pos, options)
    args, values = _arguments(draw, kind, vocab, batch)

    def value(logits: np.ndarray, prompt: Prompt) -> Any:
        rows = at_positions(logits, pos, prompt).reshape(-1, vocab)
        ids = [_own(ids, prompt, batch) for ids in values]
        return np.mean([FORMULAS[kind](row, *ids) for row in rows])

    return Call(f"metrics.{kind}", *args, **options), value


def _draw_kl(draw: Draw, vocab: int, batch: Any, pos: Any, options: Any) -> tuple[Call, Any]:
    """The divergence from all logits of a reference, or from those at the positions read."""
    whole = draw.chance(0.5)
    reference = draw.normal(*batch, *((WIDTH,) if whole else np.shape(pos)[-1:]), vocab)

    def value(logits: np.ndarray, prompt: Prompt) -> Any:
        rows = at_positions(logits, pos, prompt)
        other = reference.array[prompt.index]
        other = at_positions(other[prompt.columns], pos, prompt) if whole else other
        p = log_softmax(other, -1)
        return (np.exp(p) * (p - log_softmax(rows, -1))).sum(-1).mean()

    return Call("metrics.kl", reference, **options), value


def _own(ids: np.ndarray, prompt: Prompt, batch: tuple[int, ...]) -> np.ndarray:
    """One prompt's answers: one per example, or the same for all."""
    return np.atleast_1d(ids[prompt.index] if ids.shape[: len(batch)] == batch else ids)


def _arguments(draw: Draw, kind: str, vocab: int, batch: tuple[int, ...]) -> Any:
    """The arguments of a metric, and their numbers."""
    if kind == "custom":
        return [Named(entropy, "lambda x: -(jax.nn.softmax(x) * jax.nn.log_softmax(x)).sum(-1)")], []
    # Sets of five, a size that is no batch axis.
    shapes = [(), batch, (*batch, 5)] if kind == "logit_diff" else [(), batch]
    if kind == "prob_diff":
        shapes = [(5,), (*batch, 5)]
    count = 2 if kind in ("logit_diff", "prob_diff") else 1
    ids = [draw.ints(0, vocab, draw.one_of(*shapes)) for _ in range(count)]
    if kind == "prob_diff":
        ids[1] = np.where(draw.values.random(ids[1].shape) < 0.3, -1, ids[1]).astype(np.int32)
        if draw.chance(0.4):
            ids[0] = draw.bools(*draw.one_of((), batch), vocab)
    return ids, ids


def _total(row: np.ndarray, members: np.ndarray) -> float:
    p = softmax(row)
    return float(p[members].sum() if members.dtype == bool else p[members[members >= 0]].sum())


def _cross_entropy(logits: np.ndarray, prompt: Prompt) -> float:
    nats = -log_softmax(logits[:-1], -1)
    return float(np.mean(nats[np.arange(len(nats)), prompt.tokens[1:]]))


def _entropy(row: np.ndarray) -> float:
    return float(-(softmax(row) * log_softmax(row)).sum())


FORMULAS: dict[str, Any] = {
    "logit_diff": lambda row, right, wrong: row[right].max() - row[wrong].max(),
    "prob": lambda row, token: softmax(row)[token].max(),
    "log_prob": lambda row, token: log_softmax(row)[token].max(),
    "prob_diff": lambda row, right, wrong: _total(row, right) - _total(row, wrong),
    "rank": lambda row, token: (row > row[token].max()).sum(),
    "custom": _entropy,
}
