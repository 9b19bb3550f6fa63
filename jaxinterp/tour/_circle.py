"""Chapter 16: whether the days of the week lie on a circle, beside days in random orders.

Engels et al. 2024 (https://arxiv.org/abs/2405.14860).
"""

import jax
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding
from ._shown import shown

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TEMPLATES = (
    "It was on {}",
    "We shall meet next {}",
    "He left the town on a {}",
    "Every {}",
    "She came back on {}",
)


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    days, templates, bos = DAYS, TEMPLATES, tokenizer.bos_id is not None
    layer = model.config.layers // 2
    # <circle>
    texts = [template.format(day) for template in templates for day in days]
    number = np.tile(np.arange(7), len(templates))
    tokens, mask = tokenizer(texts, bos=bos, pad="left")
    request = ji.at("resid_post", layer=layer, pos=-1)  # at the last token of the name
    _, acts = ji.run(model, tokens, mask=mask, capture=[request], logits=False)
    states = np.asarray(acts[request], np.float32)
    found = ji.geometry.circle_test(states, number, key=jax.random.key(0), components=2)
    ends = min(found.r2, found.chance.min()), max(found.r2, found.chance.max())
    edges = np.linspace(*ends, 20)
    figure = ji.viz.histogram(
        {"days in random orders": np.histogram(found.chance, edges)[0]},
        edges,
        marks={"the week": found.r2},
        x_axis="circle read from two components (R², share)",
        y_axis="share of orders",
        title="A circle of the days, beside chance",
    )
    # </circle>
    return Finding(
        "Days on a circle",
        "What shape do states have: do the days of the week lie on a circle?",
        "The histogram shows how well random orders of the days can be read as a circle, and the mark how well the week can.",
        [
            f"{len(texts)} texts end in a day. Two principal components of the stream after layer {layer} at the name's last token are read as a circle.",
            shown(chapter, "circle", figure, days=days, templates=templates, layer=layer),
            f"The week is read with R² {viz.number(found.r2)}, random orders with {viz.number(found.chance.mean())} in the mean; p = {viz.number(found.p)}. "
            + (
                "The days lie on a circle, in their order."
                if found.p < 0.05
                else "That is no more than chance: no circle of days is found here."
            ),
        ],
        {"r2": found.r2, "chance": found.chance, "p": found.p},
    )
