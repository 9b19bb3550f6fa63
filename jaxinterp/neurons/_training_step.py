"""What is measured of one checkpoint for curves over training."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import as_int, as_number
from ..core._edits import scale
from ..core._intervene import config_of, intervene
from ..corpus._bigrams import Bigrams
from ..heads import attention_scores, repeated_tokens
from ..typing import BoolLike, FloatLike, IntLike
from ._ablation import ablation
from ._class_losses import class_losses
from ._class_probes import class_probes
from ._context_ngrams import NgramSettings, context_ngrams


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of `ji.neurons.training_curves`: what is measured at each checkpoint.

    - `tokens`, `test`: of `class_probes`; 10,000 tokens of a class and 0.2 of the documents by default.
    - `skip`: first tokens of a context that do not count; 10 by default.
    - `prompts`, `bos`: random prompts for the heads, and the token before each; 16 and none by default.
    - `ngrams`: which n-grams count as needing a context neuron; `NgramSettings` without random prompts by default.
    - `mlps`: whether the MLP of each layer is left out in turn; True by default.

    ```python
    settings = ji.neurons.TrainingSettings(tokens=2000, prompts=8, mlps=False)
    ```
    """

    tokens: IntLike = 10_000
    test: FloatLike = 0.2
    skip: IntLike = 10
    prompts: IntLike = 16
    bos: IntLike | None = None
    ngrams: NgramSettings = NgramSettings(top=1000, prompts=0)
    mlps: BoolLike = True

    def __post_init__(self) -> None:
        """Raises ValueError for numbers outside of their range."""
        as_int(self.tokens, "tokens", 4)
        as_int(self.skip, "skip", 0)
        as_int(self.prompts, "prompts", 1)
        as_number(self.test, "test", 0, 1)
        if self.bos is not None:
            as_int(self.bos, "bos, the token before each prompt,", 0)


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """All numbers of one model, arrays by name as `TrainingCurves.values` lists them."""

    classes: Any
    neurons: dict[str, tuple[int, int]]
    bigrams: Bigrams | None
    settings: TrainingSettings
    key: Any

    def __call__(self, model: Any) -> dict[str, np.ndarray]:
        how = self.settings
        shared: dict[str, Any] = {"skip": how.skip, "key": self.key, "progress": False}
        found = class_losses(model, self.classes, bigrams=self.bigrams, **shared)
        out: dict[str, Any] = {each: getattr(found, each) for each in found.measures}
        out |= {"loss_low": found.low[0], "loss_high": found.high[0], "tokens": found.tokens}
        if how.mlps:
            out["without_mlp"] = self._without_mlps(model, shared) - found.loss
        parts = [self._context(model, each, neuron, shared) for each, neuron in self.neurons.items()]
        out |= {name: np.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        config = config_of(model)
        prompts = repeated_tokens(config, key=self.key, batch_size=how.prompts, bos=how.bos)
        scores = attention_scores(model, prompts, ["induction", "previous"])
        return out | {name: np.asarray(scores[name]).max() for name in ("induction", "previous")}

    def _without_mlps(self, model: Any, shared: dict[str, Any]) -> np.ndarray:
        """The loss of each class without the MLP of each layer, `(layer, class)`: one program for all."""
        layers = int(config_of(model).layers)
        keep = 1 - np.eye(layers, dtype=np.float32)
        gated = (intervene(model, [scale("mlp_out", row[:, None, None, None])]) for row in keep)
        return np.stack([class_losses(each, self.classes, **shared).loss for each in gated])

    def _context(
        self, model: Any, context: str, neuron: tuple[int, int], shared: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        how = self.settings
        probes = class_probes(model, self.classes, context, tokens=how.tokens, test=how.test, **shared)
        study = context_ngrams(model, neuron, self.classes, context=context, settings=how.ngrams, **shared)
        cost = ablation(
            model,
            self.classes,
            [neuron],
            to=study.inactive,
            skip=int(how.skip),
            key=self.key,
            progress=False,
        )
        numbers = {
            "f1": probes.f1[neuron],
            "mcc": probes.mcc[neuron],
            "best": probes.best,
            "best_f1": probes.f1[probes.best],
            "active": study.active,
            "inactive": study.inactive,
            "ablation": cost.increase[0],
            "ablation_low": cost.low[0],
            "ablation_high": cost.high[0],
            "costs": study.costs,
            "costs_low": study.low,
            "costs_high": study.high,
            "ngrams": len(study.ngrams),
        }
        return {name: np.asarray(each) for name, each in numbers.items()}
