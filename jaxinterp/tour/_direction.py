"""Chapter 11: one direction that decides whether a model refuses, on a model in which it is known.

Arditi et al. 2024 (https://arxiv.org/abs/2406.11717).
"""

import jax
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, percent
from ._shown import shown


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    # <direction>
    planted = ji.toy.planted_direction_chat(key=jax.random.key(0))  # it refuses along a known direction
    chat, score = planted.model, ji.metrics.log_odds(planted.refusal)
    kinds = {"harmful prompts": planted.harmful, "harmless prompts": planted.harmless}
    found = ji.steering.select_direction(
        chat, planted.harmful, planted.harmless, score, positions=range(-3, 0), progress=False
    )
    strengths = np.linspace(-1, 1, 9)
    swept = {
        kind: ji.steering.strengths(chat, found.direction, prompts, score, strengths, layer=found.layer)
        for kind, prompts in kinds.items()
    }
    figure = ji.viz.lines(
        {kind: each.values.mean(1) for kind, each in swept.items()},
        x=strengths,
        x_axis="strength (lengths of the direction)",
        y_axis="refusal score (log odds)",
        title="Refusal while the direction is added",
    )
    # </direction>
    cosine = abs(float(found.direction @ planted.direction)) / float(np.linalg.norm(found.direction))
    ablated = ji.intervene(chat, ji.steering.ablate(found.direction))
    tokens, mask = planted.harmful
    before, after = (
        float(np.mean(ji.metrics.measure(each, tokens, score, mask=mask) > 0)) for each in (chat, ablated)
    )
    other = jax.random.normal(jax.random.key(1), found.direction.shape)
    control = ji.intervene(chat, ji.steering.ablate(other))
    unhurt = float(np.mean(ji.metrics.measure(control, tokens, score, mask=mask) > 0))
    return Finding(
        "A direction that decides",
        "Can one direction of the stream decide how a model answers?",
        "The curves show the odds of a refusal while the direction is subtracted or added; the model is one in which the direction is known.",
        [
            "Small models of text refuse nothing, so this chapter takes a small random model into which one direction of refusal was written. "
            "`ji.steering.select_direction` takes the difference of means between harmful and harmless prompts at every layer and position, and keeps the one whose removal "
            "lowers the odds of a refusal most.",
            shown(chapter, "direction", figure),
            f"It chooses layer {found.layer} and position {found.position}, where the direction was planted (layer {planted.layer}, position {planted.position}); "
            f"the cosine with the planted one is {viz.number(cosine)}. The model refuses {percent(before)} of the harmful prompts, {percent(after)} with the direction removed "
            f"everywhere, and {percent(unhurt)} with a random direction removed.",
        ],
        {
            "cosine": cosine,
            "before": before,
            "after": after,
            "control": unhurt,
            "place": (found.layer, found.position),
            "planted": (planted.layer, planted.position),
        },
    )
