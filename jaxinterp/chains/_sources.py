"""Where the heads that write an answer read it: in the examples, in the question, or in what is written so far."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from .. import viz
from .._arguments import check_choice
from ..heads import contributions, rollout
from ..lens import attention_lens
from ..stats import mean_interval, share_interval
from ..stats._results import Record, Result
from ..tasks import Pairs
from ..typing import ArraysLike, ModelLike
from ._answer_writers import AnswerWriters
from ._by_task import answers

FIRST = "first token"


@dataclasses.dataclass(frozen=True, eq=False)
class Sources(Result):
    """The parts of a prompt that the writers of an answer read; made by `trace_sources`.

    - `segments`: the names of the parts of a prompt.
    - `share (segment,)`: the share of a writer's reading in each segment, a mean over prompts that have a writer.
      `low`, `high`: its interval; NaN for fewer than two such prompts.
    - `chance (segment,)`: the share of the tokens that stand in the segment. Reading at random gives this number.
    - `main (segment,)`: the share of those prompts on which some writer reads this segment most. `main_low`,
      `main_high`: its interval, Wilson's; NaN where no prompt has a writer.
    - `pathways (segment + 1,)`: the share of all prompts on which 0, 1, 2, ... segments are the main source of a
      writer. Several sources at once are parallel pathways.
    - `answer`, `answer_chance`: the share of the reading at tokens that are the answer, and the share of these tokens
      among all tokens. `answer_low`, `answer_high`: the interval of the reading; NaN for fewer than two prompts.
    - `prompts`: how many prompts have a writer.

    ```python
    found = ji.chains.trace_sources(model, pairs, ji.chains.answer_writers(model, pairs))
    dict(zip(found.segments, found.share))
    ```
    """

    segments: list[str]
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    main: np.ndarray
    main_low: np.ndarray
    main_high: np.ndarray
    pathways: np.ndarray
    answer: float
    answer_low: float
    answer_high: float
    answer_chance: float
    prompts: int

    def records(self) -> list[Record]:
        """A row for each segment."""
        fields = ("share", "low", "high", "chance", "main", "main_low", "main_high")
        return [
            {"segment": name} | {field: float(getattr(self, field)[i]) for field in fields}
            for i, name in enumerate(self.segments)
        ]

    def figure(self, *, title: str = "Where the answer is read") -> viz.Figure:
        """The shares as bars of a heat map, beside chance."""
        return viz.heatmap(
            np.stack([self.share, self.chance, self.main]),
            rows=["share", "chance", "main source"],
            cols=self.segments,
            axis_names=("", "segment"),
            title=title,
        )


def segments_of(pairs: Pairs) -> Mapping[str, np.ndarray]:
    """The examples, the question and the answer so far of clean prompts, as masks `(n, pos)`, apart from the first token."""
    if "QUESTION" not in pairs.positions:
        raise ValueError(
            f"The prompts of {pairs.name!r} do not say where their parts end. Give them: segments={{'question': "
            "mask, 'answer': mask}, with masks (n, pos)."
        )
    columns, real = np.arange(pairs.clean.shape[1])[None], np.asarray(pairs.mask)
    first = columns == real.argmax(1)[:, None]
    shots = pairs.positions.get("SHOTS", np.full(len(pairs), -1))[:, None]
    question = pairs.positions["QUESTION"][:, None]
    parts = {
        FIRST: first,
        "examples": (columns <= shots) & ~first,
        "question": (columns > shots) & (columns <= question) & ~first,
        "answer so far": (columns > question) & ~first,
    }
    return {name: part & real for name, part in parts.items()}


def trace_sources(
    model: ModelLike,
    pairs: Pairs,
    writers: AnswerWriters,
    *,
    segments: ArraysLike | None = None,
    by: str = "attention",
) -> Sources:
    r"""$\sum_{j \in \text{segment}} A_{\ell,h,j}$, or $\sum_j (A_{\ell,h} R_{\ell-1})_j$ with the ALTI rollout R: where the writers of an answer read.

    Dutta et al. 2024 (https://arxiv.org/abs/2402.18312). Attention gives the streams that a head reads. Contributions
    (`ji.heads.contributions`) give the tokens whose information these streams hold at that layer.

    **Arguments:**

    - `model`: any model of the protocol, with its weights.
    - `pairs`: prompts of one task; the clean prompts are read.
    - `writers`: the result of `answer_writers` for the same pairs, alone or with other tasks.
    - `segments`: masks `(n, pos)` by name, disjoint. None (the default): the examples, the question and the answer so
      far of `ji.tasks.ontology`, and the first token, to which heads attend when they have nothing to read.
    - `by`: "attention" (the default) or "alti".

    **Returns:** `Sources`, with intervals of 95% over prompts. Without any writer its shares are NaN.

    **Raises:** ValueError for segments of another shape or that overlap, and for writers of other prompts.

    ```python
    pairs = ji.tasks.ontology(tokenizer, 2, key=key, subtask=5, shots=0)
    writers = ji.chains.answer_writers(model, pairs)
    ji.chains.trace_sources(model, pairs, writers, by="alti").records()
    ```

    Laws: where segments cover all real tokens, shares sum to 1; intervals contain what they are of.
    """
    check_choice(by, "by", ("attention", "alti"))
    masks = _segments(pairs, segments)
    writing = _writing(pairs, writers)
    read = attention_lens(model, pairs.clean, top=1, mask=pairs.mask)
    rows = np.moveaxis(np.asarray(read.pattern, np.float64), 0, 1)  # (n, layer, head, key)
    if by == "alti":
        so_far = np.moveaxis(
            np.asarray(rollout(contributions(model, pairs.clean, mask=pairs.mask)), np.float64), 0, 1
        )
        start = np.broadcast_to(np.eye(rows.shape[-1]), so_far[:, :1].shape)
        rows = np.einsum("nlhj,nljk->nlhk", rows, np.concatenate([start, so_far[:, :-1]], 1))
    parts = np.stack(list(masks.values()), 1).astype(np.float64)  # (n, segment, pos)
    by_head = np.einsum("nlhk,nsk->nlhs", rows, parts)
    own = (pairs.clean == answers(pairs)[0][:, None]) & pairs.mask
    on_answer = np.einsum("nlhk,nk->nlh", rows, own.astype(np.float64))
    present = writing.any((1, 2))
    share, answer = (
        np.array([each[i][writing[i]].mean(0) for i in np.flatnonzero(present)])
        for each in (by_head, on_answer)
    )
    # The first token is where attention rests, and so no source.
    sources = [i for i, name in enumerate(masks) if name != FIRST]
    best = by_head[..., sources].argmax(-1)
    used = np.stack([(writing & (best == i)).any((1, 2)) for i in range(len(sources))], 1)
    main = np.full(len(masks), 0.0 if present.any() else np.nan)
    main_low, main_high = (np.full(len(masks), np.nan) for _ in range(2))
    if present.any():
        main[sources] = used[present].mean(0)
        main_low, main_high = share_interval(np.rint(main * present.sum()), int(present.sum()))
    low, high = (np.full(len(masks) + 1, np.nan) for _ in range(2))
    if present.sum() > 1:
        interval = mean_interval(np.concatenate([share, answer[:, None]], 1).T)
        low, high = interval.low, interval.high
    real = pairs.mask.sum()
    return Sources(
        list(masks),
        share.mean(0) if present.any() else np.full(len(masks), np.nan),
        low[:-1],
        high[:-1],
        parts.sum((0, 2)) / real,
        main,
        main_low,
        main_high,
        np.bincount(used.sum(1), minlength=len(sources) + 1) / len(pairs),
        float(answer.mean()) if present.any() else float("nan"),
        float(low[-1]),
        float(high[-1]),
        float(own.sum() / real),
        int(present.sum()),
    )


def _segments(pairs: Pairs, segments: ArraysLike | None) -> dict[str, np.ndarray]:
    masks = {
        name: np.asarray(mask)
        for name, mask in (segments_of(pairs) if segments is None else segments).items()
    }
    shape = pairs.clean.shape
    if not masks or any(mask.shape != shape or mask.dtype != bool for mask in masks.values()):
        raise ValueError(
            f"segments are masks of bools {shape} by name; got { ({k: m.shape for k, m in masks.items()}) }."
        )
    if (np.stack(list(masks.values())).sum(0) > 1).any():
        raise ValueError("Segments are disjoint: a token belongs to one of them.")
    return {name: mask & pairs.mask for name, mask in masks.items()}


def _writing(pairs: Pairs, writers: AnswerWriters) -> np.ndarray:
    """On which prompts each head writes the answer `(n, layer, head)`."""
    name = pairs.kinds[0]
    place = 0 if len(writers.tasks) == 1 else writers.tasks.index(name) if name in writers.tasks else -1
    if place < 0 or len(writers.writing[place]) != len(pairs):
        raise ValueError(
            f"writers are those of the same pairs: ji.chains.answer_writers(model, pairs); got the tasks "
            f"{writers.tasks} and {len(pairs)} prompts of {name!r}."
        )
    return writers.writing[place]
