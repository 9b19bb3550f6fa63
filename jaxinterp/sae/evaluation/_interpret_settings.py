"""Who explains features and predicts their activations, and how many times."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ._windows import Shown


@dataclasses.dataclass(frozen=True)
class Judges:
    """The functions that explain a feature and that test the explanation. You write them.

    - `explain(shown) -> str`: `str(shown)` is the whole text for a prompt. `shown.examples` have `tokens`,
      `levels`, `activations`; `shown.up`, `shown.down` are the tokens of the logits.
    - `simulate(explanation, tokens)`: a number for each token `(pos,)`, or a distribution over 0..10,
      `(pos, 11)`. It is called for each of the 60 windows.
    - `predict_logits(explanation, tokens)`: whether the feature raises each of 100 tokens, 50 of them ranked
      10 to 60 among its logits and 50 random: chance is 0.5.
    - `detect(explanation, texts)`: the indices, from 0, of the texts in which it fires, of 14 (2 top, 2 by
      importance, 10 random; as in SAEBench). Or a score for each text, floats `(text,)`: it fires by this
      judge where the score is above 0, and their order is worth the area under the ROC curve.
    """

    explain: Callable[[Shown], str]
    simulate: Callable[[str, list[str]], Any] | None = None
    predict_logits: Callable[[str, list[str]], Any] | None = None
    detect: Callable[[str, list[list[str]]], Any] | None = None


@dataclasses.dataclass(frozen=True)
class InterpretSettings:
    """How `interpret` reads and asks.

    - `window`: tokens before and behind the one in the middle of a window. Default (4, 4).
    - `workers`: features at a time, in threads, for judges that wait for a network. Default 1.
    - `batch_size`: rows of tokens at a time. Default "auto".
    - `progress`: whether a progress bar is shown. Default True.
    """

    window: tuple[int, int] = (4, 4)
    workers: int = 1
    batch_size: int | str | None = "auto"
    progress: bool = True


JUDGES = "judges=ji.sae.Judges(explain=explain, simulate=simulate)"
