"""Directions that were tried, and the rules by which one of them is chosen."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._arguments import as_int, as_number, check_choice
from ..stats._results import Record, Result
from ..typing import BoolLike, FloatLike, IntLike, StrLike

if TYPE_CHECKING:
    from ..viz import Figure

REASONS = ("not finite", "late layer", "kl", "induce")
"Why a candidate is discarded, in the order in which reasons are looked for."


@dataclasses.dataclass(frozen=True)
class SelectionSettings:
    """The prompts that count, and the candidates that are discarded, in `select_direction`.

    - `filter`: whether harmful prompts with a score of 0 or less, and harmless ones with a score of 0 or more, are left
      out before anything else. Default True.
    - `validation`: the share of each class whose prompts are kept for the scores: the last ones. Default 0.2.
    - `depth`: layers from `floor(depth * layers)` on are discarded. Default 0.8.
    - `max_kl`: candidates that change the answer to harmless prompts by more nats are discarded. Default 0.1.
    - `min_induce`: candidates whose addition gives harmless prompts a lower score are discarded. Default 0.
    - `batch_size`: prompts in one run, where means are taken and prompts are filtered. Default 32.

    ```python
    tried = ji.steering.candidates(planted.model, planted.harmful, planted.harmless, score)
    tried.best(ji.steering.SelectionSettings(max_kl=0.5, min_induce=-1.0))
    ```
    """

    filter: BoolLike = True
    validation: FloatLike = 0.2
    depth: FloatLike = 0.8
    max_kl: FloatLike = 0.1
    min_induce: FloatLike = 0.0
    batch_size: IntLike = 32

    def __post_init__(self) -> None:
        if not 0 < as_number(self.validation, "validation", 0, 1) < 1:
            raise ValueError(
                f"validation is a share between 0 and 1, 0.2 for a fifth; got {self.validation}."
            )
        as_number(self.depth, "depth", 0, 1)
        for name in ("max_kl", "min_induce"):
            as_number(getattr(self, name), name, -math.inf, math.inf)
        as_int(self.batch_size, "batch_size", 1)


if TYPE_CHECKING:
    RulesLike: TypeAlias = SelectionSettings
else:
    RulesLike = Any


class NoCandidate(ValueError):
    """Every candidate was discarded. Its field `candidates` holds all of them with their scores.

    ```python
    try:
        found = ji.steering.select_direction(planted.model, planted.harmful, planted.harmless, score)
    except ji.steering.NoCandidate as error:
        print(error, error.candidates.reasons())
    ```
    """

    def __init__(self, message: str, candidates: "Candidates") -> None:
        super().__init__(message)
        self.candidates = candidates


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates(Result):
    """A direction for each position and layer, and the scores when it is removed and added; made by `candidates`.

    - `positions (p,)`: positions of the prompts; negative ones count from the end.
    - `layers (l,)`: blocks before which the stream is read.
    - `directions (p, l, d)`: differences of means.
    - `bypass (p, l)`: the mean score of harmful prompts while the direction is ablated.
    - `induce (p, l)`: the mean score of harmless prompts while it is added at its layer.
    - `kl (p, l)`: the mean KL in nats, over harmless prompts, of the next token without an edit to the next token under
      ablation.
    - `harmful`, `harmless`: mean scores without an edit, on the same prompts.
    - `counts`: the number of prompts by use: `train_harmful`, `train_harmless`, `val_harmful`, `val_harmless`.
    - `depth`: how many blocks the model has.

    Layers that the settings discard are not run, and their scores are NaN. Scores are also NaN where the means of the
    two classes are equal.

    ```python
    tried = ji.steering.candidates(planted.model, planted.harmful, planted.harmless, score, positions=[-2, -1])
    tried.bypass, tried.reasons()                       # (2, layer) each
    ```
    """

    positions: np.ndarray
    layers: np.ndarray
    directions: np.ndarray
    bypass: np.ndarray
    induce: np.ndarray
    kl: np.ndarray
    harmful: float
    harmless: float
    counts: dict[str, int]
    depth: int

    def reasons(self, settings: RulesLike | None = None) -> np.ndarray:
        """Why each candidate is discarded `(p, l)`: one of the reasons, or `""` where it is not.

        - `"late layer"`: its layer is `floor(depth * layers)` or later;
        - `"not finite"`: a score of it is NaN or infinite, or the two means are equal;
        - `"kl"`: its KL is above `max_kl`;
        - `"induce"`: its induced score is below `min_induce`.
        """
        rules = SelectionSettings() if settings is None else settings
        late = np.broadcast_to(self.layers >= first_late(self.depth, rules), self.bypass.shape)
        finite = np.isfinite(self.bypass) & np.isfinite(self.induce) & np.isfinite(self.kl)
        found = np.full(self.bypass.shape, "", dtype="U10")
        with np.errstate(invalid="ignore"):
            found[self.induce < rules.min_induce] = "induce"
            found[self.kl > rules.max_kl] = "kl"
        found[~finite] = "not finite"
        found[late] = "late layer"
        return found

    def best(self, settings: RulesLike | None = None) -> "Selection":
        """The candidate with the lowest `bypass` of those that are not discarded.

        **Raises:** `NoCandidate`, a ValueError, where all are discarded.
        """
        rules = SelectionSettings() if settings is None else settings
        reasons = self.reasons(rules)
        kept = reasons == ""
        if not kept.any():
            named, sizes = np.unique(reasons, return_counts=True)
            counts = ", ".join(f"{name} {size}" for name, size in zip(named, sizes, strict=True))
            if not np.isfinite(self.kl).any() and (reasons == "not finite").any():
                raise NoCandidate(
                    f"All {reasons.size} candidates are discarded ({counts}), and no score is finite. Are both classes the same prompts, or "
                    "are activations NaN? A place before the first difference of the prompts has no direction: give more "
                    "positions, or look at ji.run(model, tokens)[0].",
                    self,
                )
            raise NoCandidate(
                f"All {reasons.size} candidates are discarded ({counts}). Allow more with "
                f"SelectionSettings(max_kl=..., min_induce=...): the smallest KL is {_least(self.kl):.3g}, the largest "
                f"induced score {-_least(-self.induce):.3g}. The error's .candidates have all scores.",
                self,
            )
        i, j = np.unravel_index(np.where(kept, self.bypass, np.inf).argmin(), kept.shape)
        return Selection(
            direction=self.directions[i, j],
            position=int(self.positions[i]),
            layer=int(self.layers[j]),
            bypass=float(self.bypass[i, j]),
            induce=float(self.induce[i, j]),
            kl=float(self.kl[i, j]),
            candidates=self,
            settings=rules,
        )

    def records(self) -> list[Record]:
        """A row for each candidate, with the reason for which the default settings discard it."""
        reasons, rows = self.reasons(), []
        for (i, j), reason in np.ndenumerate(reasons):
            scores = {name: float(getattr(self, name)[i, j]) for name in ("bypass", "induce", "kl")}
            place: Record = {"position": int(self.positions[i]), "layer": int(self.layers[j])}
            rows.append(
                {
                    **place,
                    **scores,
                    "norm": float(np.linalg.norm(self.directions[i, j])),
                    "discarded": str(reason),
                }
            )
        return rows

    def figure(self, name: StrLike = "bypass") -> "Figure":
        """Curves over layers, one for each position: of `"bypass"`, `"induce"` or `"kl"`."""
        from ..viz import lines

        check_choice(name, "name", ("bypass", "induce", "kl"))
        labels = {"bypass": "score of harmful prompts, ablated", "induce": "score of harmless prompts, added"}
        series = {f"position {p}": getattr(self, name)[i] for i, p in enumerate(self.positions)}
        y_axis = labels.get(name, "KL on harmless prompts, nats")
        return lines(series, x=self.layers, title=f"{name} of each candidate", x_axis="layer", y_axis=y_axis)


@dataclasses.dataclass(frozen=True, eq=False)
class Selection(Result):
    """The chosen direction; made by `select_direction`.

    - `direction (d,)`: a difference of means. Its length is the distance of the two means.
    - `position`, `layer`: where it is read: at this position, in the stream before block `layer`.
    - `bypass`, `induce`, `kl`: its scores, as in `Candidates`.
    - `candidates`: all candidates with their scores. `settings`: the rules of the choice.

    ```python
    found = ji.steering.select_direction(planted.model, planted.harmful, planted.harmless, score)
    found.layer, found.bypass, found.direction.shape
    ```
    """

    direction: np.ndarray
    position: int
    layer: int
    bypass: float
    induce: float
    kl: float
    candidates: Candidates
    settings: SelectionSettings

    def records(self) -> list[Record]:
        """One row: place and scores, beside the scores without an edit."""
        names = ("position", "layer", "bypass", "induce", "kl")
        base = {"harmful": self.candidates.harmful, "harmless": self.candidates.harmless}
        return [{**{name: getattr(self, name) for name in names}, **base}]

    def figure(self, name: StrLike = "bypass") -> "Figure":
        """As `Candidates.figure`."""
        return self.candidates.figure(name)


def first_late(depth: int, settings: SelectionSettings) -> int:
    """The first layer that is discarded."""
    return math.floor(float(settings.depth) * depth)


def _least(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else math.nan
