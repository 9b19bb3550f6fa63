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
    - `predict_logits(explanation, tokens)`: whether the feature raises the logit of each of 100 tokens. 50 of them have
      the ranks 10 to 60 among its logits and 50 are random, so chance is 0.5.
    - `detect(explanation, texts)`: the indices, from 0, of the texts in which the feature fires. There are 14 texts: 2
      top, 2 by importance and 10 random, as in SAEBench. Or a score for each text, floats `(text,)`: a score above 0
      means that it fires, and the order of the scores gives the area under the ROC curve.

    ```python
    def detect(explanation, texts):                     # texts are lists of tokens
        return [i for i, tokens in enumerate(texts) if explanation in "".join(tokens)]

    judges = ji.sae.Judges(explain=lambda shown: shown.up[0], detect=detect)
    ```
    """

    explain: Callable[[Shown], str]
    simulate: Callable[[str, list[str]], Any] | None = None
    predict_logits: Callable[[str, list[str]], Any] | None = None
    detect: Callable[[str, list[list[str]]], Any] | None = None


@dataclasses.dataclass(frozen=True)
class InterpretSettings:
    """Settings of `interpret`: the windows, and how they are read.

    - `window`: the number of tokens before and after the middle token of a window. Default (4, 4).
    - `workers`: how many features are judged at once, in threads, for judges that wait for a network. Default 1.
    - `batch_size`: rows of tokens in one pass. Default "auto".
    - `progress`: whether a progress bar is shown. Default True.

    ```python
    settings = ji.sae.InterpretSettings(window=(8, 2), workers=4)
    ```
    """

    window: tuple[int, int] = (4, 4)
    workers: int = 1
    batch_size: int | str | None = "auto"
    progress: bool = True


JUDGES = "judges=ji.sae.Judges(explain=explain, simulate=simulate)"
