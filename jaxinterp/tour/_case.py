"""The pair of prompts that the first chapters follow: the one that the model answers most clearly."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array

import jaxinterp as ji

from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ..metrics import Metric
from ._chapter import NotForThisModel, prompt
from ._pairs import PAIRS, TourPair


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of prompts that the model answers differently: the metric is `before` (corrupt) and `after` (clean)."""

    pair: TourPair
    clean: Array
    corrupt: Array
    ids: tuple[int, int]
    before: float
    after: float

    @property
    def given(self) -> dict[str, str]:
        """What shown code begins with."""
        return {
            "clean": self.pair.clean,
            "corrupt": self.pair.corrupt,
            "answer": self.pair.answer,
            "wrong": self.pair.wrong,
        }

    @property
    def metric(self) -> Metric:
        return ji.metrics.logit_diff(*self.ids)


def clearest(model: LoadedModel, tokenizer: Tokenizer) -> tuple[Case, dict[str, Any]]:
    """The pair that the model answers most clearly, and what was tried to find it."""
    fitting = [pair for pair in PAIRS if fits(pair, tokenizer, model.config.ctx)]
    if not fitting:
        raise NotForThisModel(
            f"none of the {len(PAIRS)} prompt pairs fits its tokenizer (equal lengths, one-token answers)."
        )
    differences = logit_differences(model, tokenizer, fitting)
    # Between answer and wrong: for on the clean prompt, against on the corrupt one.
    margins = np.minimum(differences[:, 0], -differences[:, 1])
    best = int(np.argmax(margins))
    pair, solved = fitting[best], int((margins > 0).sum())
    choice = (
        f"Of {len(PAIRS)} prompt pairs, {len(fitting)} fit this tokenizer (equal lengths, one-token answers, "
        f"a difference before the last token); on {solved} "
        "the model prefers the right token after both prompts. "
    )
    if margins[best] <= 0:
        raise NotForThisModel(choice + "There is no effect to locate.")
    case = Case(
        pair,
        prompt(tokenizer, pair.clean),
        prompt(tokenizer, pair.corrupt),
        (tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)),
        float(differences[best, 1]),
        float(differences[best, 0]),
    )
    return case, {
        "fitting": fitting,
        "differences": differences,
        "margins": margins,
        "choice": choice,
        "solved": solved,
    }


def fits(pair: TourPair, tokenizer: Tokenizer, ctx: int) -> bool:
    """Whether a pair has one length, one-token answers, and differs somewhere before its last token."""
    try:
        _ = tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)
    except ValueError:
        return False
    clean, corrupt = prompt(tokenizer, pair.clean), prompt(tokenizer, pair.corrupt)
    return len(clean) == len(corrupt) <= ctx and int(clean[-1]) == int(corrupt[-1])


def logit_differences(model: LoadedModel, tokenizer: Tokenizer, pairs: Sequence[TourPair]) -> np.ndarray:
    """Answer minus wrong at the end of each prompt: (pair, clean or corrupt)."""
    texts = [text for pair in pairs for text in (pair.clean, pair.corrupt)]
    tokens, mask = tokenizer(texts, bos=tokenizer.bos_id is not None, pad="left")
    logits, _ = ji.run(model, tokens, mask=mask, logits=-1)
    logits = np.asarray(logits).reshape(len(pairs), 2, -1)
    answers = np.array([[tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)] for pair in pairs])
    picked = np.take_along_axis(logits, answers[:, None, :], -1)
    return picked[..., 0] - picked[..., 1]
