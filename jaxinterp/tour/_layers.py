"""Chapter 14: layers deleted, and exchanged with the next one: which of them do predictions need?

Lad, Gurnee and Tegmark 2024 (https://arxiv.org/abs/2406.19384).
"""

import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, percent
from ._shown import shown
from ._texts import PIECES

CTX, PUBLISHED = 64, (0.72, 0.95)


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    layers = model.config.layers
    if layers < 2:
        raise NotForThisModel("it has one layer.")
    ctx, bos = min(CTX, model.config.ctx), tokenizer.bos_id is not None
    # <layers>
    texts = [text for kind in PIECES.values() for text in kind[:8]]
    corpus = ji.data.pack(tokenizer, texts, ctx=ctx, bos=bos, least=4)
    found = ji.neurons.layer_interventions(model, corpus, progress=False)
    figure = found.figure(title="Predictions that stay when a layer is changed")
    # </layers>
    delete, swap = found.delete, found.swap
    assert delete is not None and swap is not None
    worst = int(np.argmin(delete.agreement))
    middle = delete.agreement[1:-1]
    inside = (
        f"the layers between the first and the last keep {percent(middle.min())} to {percent(middle.max())}. "
        if len(middle)
        else ""
    )
    return Finding(
        "What each layer is worth",
        "And whole layers: which do predictions need, and does their order matter?",
        "The curves show how many predictions stay when a layer is left out, and when it changes places with the next one.",
        [
            shown(chapter, "layers", figure, ctx=ctx),
            f"Each of the {layers} layers is left out in turn, and each is exchanged with the next one. The rest of the model stays as it is. On {found.predictions:,} predictions "
            "the changed model is compared with the whole one: how often does its likeliest token stay?",
            f"Without layer {worst} {percent(delete.agreement[worst])} of the predictions stay, the fewest"
            + (f"; {inside}" if inside else ". ")
            + f"Published middle layers of models with 12 layers and more keep {percent(PUBLISHED[0])} to {percent(PUBLISHED[1])}. "
            + (
                f"A swap of neighbours costs less than a deletion, {viz.number(swap.kl.mean())} against {viz.number(delete.kl.mean())} nats in the mean."
                if swap.kl.mean() < delete.kl.mean()
                else f"A swap of neighbours costs as much as a deletion or more, {viz.number(swap.kl.mean())} against {viz.number(delete.kl.mean())} nats in the mean."
            ),
            Table(
                [
                    "layer",
                    "stays without it",
                    "interval",
                    "KL (nats)",
                    "stays when swapped with the next",
                    "KL (nats)",
                ],
                [
                    [
                        str(i),
                        float(delete.agreement[i]),
                        f"{viz.number(delete.low[i, 3])} to {viz.number(delete.high[i, 3])}",
                        float(delete.kl[i]),
                        float(swap.agreement[i]) if i < len(swap) else "",
                        float(swap.kl[i]) if i < len(swap) else "",
                    ]
                    for i in range(layers)
                ],
                title="Predictions whose likeliest token stays, and the distance from the whole model",
                page_only=layers > 12,
            ),
        ],
        {"found": found, "worst": worst},
    )
