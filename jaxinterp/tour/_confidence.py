"""Chapter 11: neurons that set how sure the model is, beside all others of the last layer.

Stolfo et al. 2024 (https://arxiv.org/abs/2406.16254).
"""

import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ..neurons import EntropyNeurons
from ._chapter import Finding, NotForThisModel, Table, percent
from ._texts import PIECES

CTX, TOP, PIECES_EACH = 64, 5, 5
STRONG, OTHERS = 16, 48
"How many neurons are ablated: those that write most into the null space, and others at equal distances of rank."


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    if "mlp_post" not in ji.sites(model):
        raise NotForThisModel("it has no MLP, so it has no neurons.")
    found = measured(model, tokenizer)
    # A share of next to nothing says nothing.
    moves = found.total > np.median(found.total)
    best = [int(i) for i in np.argsort(-np.where(moves, found.rho, -1))[:TOP]]
    others = np.setdiff1d(np.flatnonzero(moves), best)
    typical = float(np.median(found.mediated[others]))
    own = found.mediated[best]
    null = found.null
    return Finding(
        "Neurons that set how sure it is",
        [
            f"The last norm divides the stream by its size. So a neuron can make all logits smaller or larger without an opinion about any token: it writes into directions "
            f"that the unembedding hardly reads. Here these are the last {null.rank} of {len(null.vectors)} singular directions of the unembedding"
            + (", behind a gap in its spectrum" if null.rule == "gap" else "; its spectrum has no gap")
            + f". {len(found.neurons)} neurons of layer {found.layer} are tried: those that write most into these directions, and others of every rank. Each is set to its mean over {found.tokens:,} tokens of short texts, once with the scale of the last norm as it then is, "
            "and once with the scale as it was. What the second run does not change, the scale brings: the mediated share.",
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
                    "in the null space",
                    "total effect",
                    "with the scale held",
                    "mediated",
                    "entropy without it",
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
                title="Neurons of the last layer set to their mean: mean change of the loss in nats, and of the entropy",
            ),
            viz.scatter(
                {
                    "other neurons": (found.rho[others], found.mediated[others]),
                    "those in the table": (found.rho[best], own),
                },
                title="Share of the effect that the last norm's scale brings",
                x_axis="share of output weights in the null space",
                y_axis="mediated share",
            ),
        ],
        {"found": found, "best": found.neurons[best], "mediated": own, "typical": typical},
    )


def measured(model: LoadedModel, tokenizer: Tokenizer) -> EntropyNeurons:
    """The neurons of the last layer on the tour's pieces."""
    corpus = ji.data.pack(
        tokenizer,
        [text for texts in PIECES.values() for text in texts[:PIECES_EACH]],
        ctx=min(CTX, model.config.ctx),
        bos=tokenizer.bos_id is not None,
        least=5,
    )
    try:
        null = ji.neurons.null_space(model)
    except ValueError as reason:
        raise NotForThisModel(f"no neuron can act through a last norm here. {reason}") from reason
    mlp = model.blocks.mlp
    assert mlp is not None  # it has the site
    share = null.share(np.asarray(mlp.w_out[-1], np.float64))
    order = np.argsort(-share)
    spaced = np.linspace(STRONG, len(order) - 1, OTHERS).astype(int) if len(order) > STRONG else []
    chosen = np.unique([*order[:STRONG], *order[spaced]])
    return ji.neurons.entropy_neurons(model, corpus, neurons=chosen, progress=False)
