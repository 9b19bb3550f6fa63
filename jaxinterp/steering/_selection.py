r"""The direction whose removal lowers a score most, of every position and layer: bypass, induce and KL."""

from typing import Any

import numpy as np

from ..core._blocks import layer_count
from ..core._intervene import split_edits
from ..metrics import Metric
from ..typing import BatchLike, BoolLike, IndexLike, MetricLike, ModelLike, PathLike, PromptPairLike
from ._candidates import Candidates, RulesLike, Selection, SelectionSettings
from ._directions import mean_over_prompts
from ._prompts import Prompts, as_prompts, metric_of, places_of, splits, states
from ._trials import measured, scores


def select_direction(
    model: ModelLike,
    harmful: BatchLike,
    harmless: BatchLike,
    metric: MetricLike,
    *,
    positions: IndexLike = -1,
    validation: PromptPairLike | None = None,
    settings: RulesLike | None = None,
    checkpoint: PathLike | None = None,
    progress: BoolLike = True,
) -> Selection:
    r"""$\arg\min_{i,\ell}\, \overline{m}(\text{harmful} \mid \text{ablate } r_{i\ell})$ over the differences of means $r_{i\ell}$ that are not discarded.

    Arditi et al. 2024 (https://arxiv.org/abs/2406.11717), section 2.3 and appendix C. The two classes of prompts may be
    any contrast that a metric measures: refusal, a language, a sentiment.

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `harmful`, `harmless`: prompts `(n, pos)`, or pairs of tokens and mask as `tokenizer(texts)` returns them.
      The metric is high on the first and low on the second.
    - `metric`: a metric of `ji.metrics`, the same for all prompts: `ji.metrics.log_odds(tokens)` is the refusal score.
    - `positions`: ints that count the tokens of a prompt; negative ones count from its end, and -1 is the default. Take
      the positions after the instruction.
    - `validation`: other prompts of both classes for the scores. None (the default): the last fifth of those given.
    - `settings`: `SelectionSettings`: the filter of prompts, and the rules by which candidates are discarded.
    - `checkpoint`: a file in which scores are kept. The same call continues from it.
    - `progress`: whether a progress bar is shown, with a step for each layer; True by default.

    **Returns:** `Selection`: the direction, its position and layer, and all candidates with their scores.

    **Raises:** `NoCandidate`, a ValueError with the scores of all, where every candidate is discarded. ValueError for
    fewer prompts than positions, and where no prompt passes the filter.

    ```python
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0))     # a model, its prompts and its answers
    score = ji.metrics.log_odds(planted.refusal)
    found = ji.steering.select_direction(
        planted.model, planted.harmful, planted.harmless, score, positions=range(-3, 0)
    )
    found.layer, found.position, found.direction.shape  # 2, -1, (32,)
    ```

    One compiled program scores the candidates of a layer. The layer is traced, so this program serves all layers.

    Law: each score is that of single runs with `ji.steering.ablate` and `ji.add`.
    """
    given = {"positions": positions, "validation": validation, "settings": settings}
    tried = candidates(model, harmful, harmless, metric, checkpoint=checkpoint, progress=progress, **given)
    return tried.best(settings)


def candidates(
    model: ModelLike,
    harmful: BatchLike,
    harmless: BatchLike,
    metric: MetricLike,
    *,
    positions: IndexLike = -1,
    validation: PromptPairLike | None = None,
    settings: RulesLike | None = None,
    checkpoint: PathLike | None = None,
    progress: BoolLike = True,
) -> Candidates:
    r"""$r_{i\ell}$ at every position and layer, with the metric when each direction is removed and added.

    These are the candidates of `select_direction`. Use this function to apply other rules, and where all candidates
    are discarded.

    **Arguments:** those of `select_direction`.

    **Returns:** `Candidates`.

    ```python
    tried = ji.steering.candidates(planted.model, planted.harmful, planted.harmless, score, positions=range(-3, 0))
    tried.best(ji.steering.SelectionSettings(max_kl=0.5))
    ```

    Law: its `best` is the result of `select_direction`.
    """
    rules = SelectionSettings() if settings is None else settings
    if not isinstance(rules, SelectionSettings):
        raise ValueError(
            f"settings is a ji.steering.SelectionSettings(max_kl=0.2, ...); got {type(rules).__name__}."
        )
    classes = [as_prompts(harmful, "harmful", model), as_prompts(harmless, "harmless", model)]
    train, val = splits(classes, validation, float(rules.validation))
    places = places_of(positions, [*train, *val])
    checked = metric_of(metric, model, train[0])
    for each in (train[1], *val):
        metric_of(checked, model, each)
    size = int(rules.batch_size)
    if rules.filter:
        train = [_filtered(model, each, checked, rules, i) for i, each in enumerate(train)]
        val = [_filtered(model, each, checked, rules, i) for i, each in enumerate(val)]
    for name, each in zip(("harmful", "harmless"), train, strict=True):
        if len(each) < len(places):
            raise ValueError(
                f"There are {len(places)} positions and {len(each)} {name} prompts to take means of: give at least as "
                "many prompts as positions, or fewer positions."
            )
    means = [states(model, each, places, size, "resid_pre") for each in train]
    # A layer that overflows has no finite candidate, and does not stop the search.
    first, second = (np.asarray(mean_over_prompts(each)) for each in means)
    directions = (first - second).swapaxes(0, 1)  # (position, layer, d)
    depth = layer_count(split_edits(model)[0])
    found = scores(model, val, checked, directions, rules, checkpoint, progress)
    # Where the classes have one mean, up to rounding, there is no direction to remove.
    norms = np.linalg.norm(np.asarray(means[1], np.float64).mean(0), axis=-1).T
    none = np.linalg.norm(directions, axis=-1) <= 8 * np.finfo(np.float32).eps * norms
    found = [np.where(none, np.nan, each) for each in found]
    names = [f"{part}_{kind}" for part in ("train", "val") for kind in ("harmful", "harmless")]
    counts = dict(zip(names, map(len, [*train, *val]), strict=True))
    base = [float(np.mean(_values(model, each, checked, size))) for each in val]
    return Candidates(
        positions=places,
        layers=np.arange(depth),
        directions=directions,
        bypass=found[0],
        induce=found[1],
        kl=found[2],
        harmful=base[0],
        harmless=base[1],
        counts=counts,
        depth=depth,
    )


def _filtered(model: Any, prompts: Prompts, metric: Metric, rules: SelectionSettings, kind: int) -> Prompts:
    """Prompts on the right side of 0: harmful ones above, harmless ones below."""
    values = _values(model, prompts, metric, int(rules.batch_size))
    rows = np.flatnonzero(values > 0 if kind == 0 else values < 0)
    if not len(rows):
        name, side = (("harmful", "above"), ("harmless", "below"))[kind]
        raise ValueError(
            f"None of {len(prompts)} {name} prompts has a score {side} 0 (they reach from {values.min():.3g} to "
            f"{values.max():.3g}): the metric does not tell the classes apart on this model. To take all prompts: "
            "settings=SelectionSettings(filter=False)."
        )
    return prompts[rows]


def _values(model: Any, prompts: Prompts, metric: Metric, size: int) -> np.ndarray:
    return prompts.read(size, lambda part: measured(model, (part.tokens, part.mask), metric, ()))
