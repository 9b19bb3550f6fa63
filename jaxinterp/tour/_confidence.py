"""Chapter 13: neurons that set how sure the model is, beside all others of the last layer.

Stolfo et al. 2024 (https://arxiv.org/abs/2406.16254).
"""

from typing import Any

import numpy as np

import jaxinterp as ji

from ..hub import Tokenizer
from ._chapter import Finding, NotForThisModel, Table, percent
from ._shown import shown
from ._texts import PIECES

CTX = 64
STRONG, OTHERS = 16, 48
"How many neurons are ablated: those that write most into the null space, and others at equal distances of rank."


def chapter(model: Any, tokenizer: Tokenizer) -> Finding:
    mlp = model.blocks.mlp
    if "mlp_post" not in ji.sites(model) or mlp is None:
        raise NotForThisModel("it has no MLP, so it has no neurons.")
    try:
        ji.neurons.null_space(model)
    except ValueError as reason:
        raise NotForThisModel(f"no neuron can act through a last norm here. {reason}") from reason
    ctx, bos, strong, others = min(CTX, model.config.ctx), tokenizer.bos_id is not None, STRONG, OTHERS
    # <mediated>
    texts = [text for kind in PIECES.values() for text in kind[:5]]
    corpus = ji.data.pack(tokenizer, texts, ctx=ctx, bos=bos, least=5)
    null = ji.neurons.null_space(model)  # directions of the stream that the unembedding hardly reads
    order = np.argsort(-null.share(np.asarray(model.blocks.mlp.w_out[-1], np.float64)))
    spaced = np.linspace(min(strong, len(order)) - 1, len(order) - 1, others).astype(int)
    chosen = np.unique([*order[:strong], *order[spaced]])  # the strongest, and others of every rank
    found = ji.neurons.entropy_neurons(model, corpus, neurons=chosen, progress=False)
    moves = found.total > np.median(found.total)  # a share of next to nothing says nothing
    best = np.argsort(-np.where(moves, found.rho, -1))[:5]
    rest = np.setdiff1d(np.flatnonzero(moves), best)
    figure = ji.viz.scatter(
        {
            "other neurons": (found.rho[rest], found.mediated[rest]),
            "best five": (found.rho[best], found.mediated[best]),
        },
        x_axis="output weights in the null space (share)",
        y_axis="effect by the last norm's scale (share)",
        title="Neurons that act through the last norm",
    )
    # </mediated>
    typical = float(np.median(found.mediated[rest]))
    own = found.mediated[best]
    return Finding(
        "Neurons that set how sure it is",
        "Are there neurons that favour no token, and only set how sure the model is?",
        "The points show, for each neuron, how much it writes where the unembedding does not read, and how much of its effect comes through the last norm.",
        [
            f"The last norm divides the stream by its size. So a neuron can make all logits smaller or larger without an opinion about any token: it writes into directions "
            f"that the unembedding hardly reads. Here these are the last {null.rank} of {len(null.vectors)} singular directions of the unembedding"
            + (", behind a gap in its spectrum" if null.rule == "gap" else "; its spectrum has no gap")
            + f". {len(found.neurons)} neurons of layer {found.layer} are tried: those that write most into these directions, and others of every rank. Each is set to its mean over {found.tokens:,} tokens of short texts, once with the scale of the last norm as it then is, "
            "and once with the scale as it was. What the second run does not change, the scale brings: the mediated share.",
            shown(chapter, "mediated", figure, ctx=ctx, strong=strong, others=others),
            f"Among the neurons whose effect is above the median, the {len(best)} that write most into these directions act through the scale for {percent(own.min())} to {percent(own.max())} of their effect, "
            f"and the median of the others is {percent(typical)}. "
            + (
                "The model has neurons that regulate its confidence."
                if own.max() > 0.5 and typical < 0.5 * own.max()
                else "Published entropy neurons of larger models reach more than half."
            ),
            Table(
                [
                    "neuron",
                    "in the null space (share)",
                    "total effect (nats)",
                    "with the scale held (nats)",
                    "mediated (share)",
                    "entropy without it (change)",
                ],
                [
                    [
                        f"{found.layer}.{found.neurons[i]}",
                        *(
                            float(column[i])
                            for column in (
                                found.rho,
                                found.total,
                                found.direct,
                                found.mediated,
                                found.entropy,
                            )
                        ),
                    ]
                    for i in best
                ],
                title="Neurons of the last layer set to their mean: mean change of the loss, and of the entropy",
            ),
        ],
        {"found": found, "best": found.neurons[best], "mediated": own, "typical": typical},
    )
