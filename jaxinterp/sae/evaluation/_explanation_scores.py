"""Explanations tested against those of other features: is an explanation better than any other text?"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..._arguments import as_int
from ..._settings import takes_settings
from ..._text import shown
from ...core._check import check_choice, check_key
from ...stats import MeanInterval, Record, Result, mean_interval, sign_flip_test
from ...typing import (
    CaptureLike,
    CorpusLike,
    DictionaryLike,
    FloatLike,
    IntLike,
    KeyLike,
    MaskLike,
    ModelLike,
    PathLike,
    TokenizerLike,
)
from ..features._site import SiteReading, chosen
from ._interpret_settings import InterpretSettings, Judges
from ._judging import begun, begun_record, recorded, study_of, tested
from ._windows import Sheet, sheets

EXAMPLE = 'ji.sae.explanation_scores(..., explanations={{3: "German words", 8: "numbers"}}, key={})'


@dataclasses.dataclass(frozen=True, eq=False)
class ExplanationScores(Result):
    """Scores of explanations on the features that they explain and on others; made by `explanation_scores`.

    - `features (n,)`: the numbers of the features. `explanations (n,)`: their texts.
    - `kept (n,)`: whether the feature fires often enough to be judged.
    - `scores`: by the name of the measure an array `(feature, explanation)`: how well explanation j predicts feature i.
      The diagonal holds the score of each feature's own explanation. NaN where a pair was not asked.

    ```python
    texts = {3: "German", 8: "digits"}
    found = ji.sae.explanation_scores(sae, model, tokenizer, corpus, texts, judges=judges, key=key, site=site)
    found.kept, found.scores                            # a score needs 20 windows in which the feature fires
    ```
    """

    features: np.ndarray
    explanations: tuple[str, ...]
    kept: np.ndarray
    scores: dict[str, np.ndarray]

    def own(self, measure: str) -> np.ndarray:
        """`(n,)`: the score of each feature's own explanation, NaN where there is none."""
        return np.diagonal(self._of(measure)).copy()

    def others(self, measure: str) -> np.ndarray:
        """`(n,)`: the mean score of the explanations of other features on each feature."""
        off = np.where(np.eye(len(self.features), dtype=bool), np.nan, self._of(measure))
        there = np.isfinite(off)
        return np.where(there.any(1), np.where(there, off, 0).sum(1), np.nan) / np.maximum(there.sum(1), 1)

    def difference(self, measure: str) -> np.ndarray:
        """`(n,)`: own minus others. It is 0 on average where explanations say nothing about their features."""
        return self.own(measure) - self.others(measure)

    def interval(self, measure: str, *, level: FloatLike = 0.95) -> MeanInterval:
        """Student's interval of the mean difference over features. **Raises:** ValueError for fewer than 2."""
        found = self.difference(measure)
        return mean_interval(found[np.isfinite(found)], level=level)

    def p(self, measure: str, *, key: KeyLike) -> float:
        """The p-value of the mean difference, by flips of its signs: `ji.stats.sign_flip_test`."""
        found = self.difference(measure)
        return float(sign_flip_test(found[np.isfinite(found)], key=key))

    def records(self) -> list[Record]:
        """A row for each feature: its explanation, and of each measure own score, others' mean and difference."""
        rows: list[Record] = [
            {"feature": int(f), "kept": bool(k), "explanation": text}
            for f, k, text in zip(self.features, self.kept, self.explanations, strict=True)
        ]
        for name in self.scores:
            parts = {name: self.own(name), f"{name}_others": self.others(name)}
            parts[f"{name}_difference"] = self.difference(name)
            for column, values in parts.items():
                for row, value in zip(rows, values, strict=True):
                    row[column] = float(value)
        return rows

    def _of(self, measure: str) -> np.ndarray:
        check_choice(measure, "measure", tuple(self.scores))
        return self.scores[measure]


@takes_settings
def explanation_scores(
    sae: DictionaryLike,
    model: ModelLike,
    tokenizer: TokenizerLike,
    tokens: CorpusLike,
    explanations: Mapping[int, str],
    *,
    judges: Judges,
    key: KeyLike,
    site: CaptureLike | None = None,
    mask: MaskLike | None = None,
    others: IntLike | None = None,
    out: PathLike | None = None,
    settings: InterpretSettings = InterpretSettings(),
) -> ExplanationScores:
    r"""$s_{ii} - \frac1m \sum_{j \ne i} s_{ij}$, with $s_{ij}$ the score of the explanation of feature j on feature i.

    One score has no meaning by itself: a judge that always answers no is right about most texts. The difference of a
    feature's own explanation and random ones is 0 on average where explanations say nothing about their features. All
    explanations of a feature are tested on the same windows, those of `interpret`.

    **Arguments:**

    - `sae`, `model`, `tokenizer`, `tokens`, `site`, `mask`, `key`, `settings`: as in `interpret`.
    - `explanations`: the text of each feature, by the number of the feature, for example
      `{each["feature"]: each["explanation"] for each in ji.sae.interpret(...)}`.
    - `judges`: `Judges`; its `explain` is not called.
    - `others`: how many other explanations are drawn for each feature, by `key`. Default None: all.
    - `out`: a file of JSON lines. An interrupted run continues with it.

    **Returns:** `ExplanationScores`, with an array `(feature, explanation)` for each measure. The measures are those of
    `interpret`: `spearman`, `bills_correlation`, `logits`, `detection` and others, by the functions of `judges`.

    **Raises:** ValueError for explanations that are not texts or of fewer than two features, and for judges that
    only explain; the errors of `interpret`.

    Bills et al. 2023 use random explanations as the baseline of automated scores
    (https://openaipublic.blob.core.windows.net/neuron-explainer/paper/index.html).

    ```python
    judges = ji.sae.Judges(explain=explain, detect=detect)      # `detect(explanation, texts)` is your function
    texts = {3: "German", 8: "digits"}
    found = ji.sae.explanation_scores(sae, model, tokenizer, corpus, texts, judges=judges, key=key, site=site)
    found.kept, found.scores                            # with more texts: found.difference("detection")
    ```

    Law: the diagonal holds the scores of `interpret` with a judge that gives these explanations.
    """
    key = check_key(key, EXAMPLE)
    texts, which = _texts(explanations, sae)
    several = (judges.simulate, judges.predict_logits, judges.detect)
    if all(each is None for each in several):
        raise ValueError(
            "A judge that tests explanations is missing: ji.sae.Judges(explain=explain, detect=detect)."
        )
    most = len(which) - 1
    count = most if others is None else min(as_int(others, "others", 1), most)
    read = SiteReading(sae, model, tokens, site, mask, None)
    study = study_of("explanation scores", sae, read, key, settings)
    done = {(each["feature"], each.get("explanation")): each for each in begun(out, study)}
    pairs = [(i, j) for i in range(len(which)) for j in _partners(i, len(which), count, key)]
    left = [pair for pair in pairs if (int(which[pair[0]]), texts[pair[1]]) not in done]
    if left:
        rows = sorted({i for i, _ in left})
        made = sheets(
            sae,
            model,
            tokenizer,
            read.corpus,
            which[rows],
            site=read.name,
            batch_size=settings.batch_size,
            window=settings.window,
            key=key,
            progress=settings.progress,
            logits=judges.predict_logits is not None,
        )
        of = dict(zip(rows, made, strict=True))
        jobs = list({(int(which[i]), texts[j]): (of[i], texts[j]) for i, j in left}.values())
        ask = lambda job: _record(job[0], job[1], judges, key)
        for record in recorded(ask, jobs, out, study, settings, "pair"):
            done[record["feature"], record["explanation"]] = record
    return _result(which, texts, pairs, done)


def _record(sheet: Sheet, text: str, judges: Judges, key: KeyLike) -> Record:
    found = begun_record(sheet) | {"explanation": text}
    return found | tested(sheet, text, judges, key) if found["kept"] else found


def _texts(explanations: Any, sae: Any) -> tuple[list[str], np.ndarray]:
    if not isinstance(explanations, Mapping) or len(explanations) < 2:
        raise ValueError(
            "explanations is a dict from the numbers of two features or more to their texts: "
            f"{EXAMPLE.format('key')}; got {shown(explanations)}."
        )
    for feature, text in explanations.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"An explanation is a text; that of feature {feature} is {text!r}.")
    return list(explanations.values()), chosen(sae, list(explanations))


def _partners(i: int, n: int, count: int, key: KeyLike) -> list[int]:
    """The features whose explanations are tested on feature number i: its own, and `count` others."""
    others = [j for j in range(n) if j != i]
    if count < len(others):
        drawn = jax.random.choice(jax.random.fold_in(key, i), len(others), (count,), replace=False)
        others = [others[j] for j in sorted(np.asarray(drawn).tolist())]
    return [i, *others]


def _result(
    which: np.ndarray, texts: list[str], pairs: list[tuple[int, int]], done: Mapping[Any, Record]
) -> ExplanationScores:
    n, scores = len(which), {}
    kept = np.ones(n, bool)
    for i, j in pairs:
        record = done[int(which[i]), texts[j]]
        kept[i] &= bool(record["kept"])
        for name, value in record.items():
            if isinstance(value, float):
                scores.setdefault(name, np.full((n, n), np.nan))[i, j] = value
    return ExplanationScores(which, tuple(texts), kept, scores)
