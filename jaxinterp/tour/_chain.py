"""Chapter 9: an answer in two steps, on a model whose heads are known.

Dutta et al. 2024 (https://arxiv.org/abs/2402.18312).
"""

import jax
import numpy as np

import jaxinterp as ji

from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, code, listed, percent
from ._shown import shown


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    prompts = 8
    # <chain>
    planted = ji.toy.planted_chain()  # a model by hand: two of its heads write the answer of a chain
    pairs = planted.prompts(prompts, key=jax.random.key(0))
    heads = ji.chains.task_heads(planted.model, pairs, progress=False)
    figure = ji.viz.heatmap(
        heads.score[0],
        axis_names=("layer", "head"),
        value="score (share of the KL removed)",
        title="What each head alone restores of the answer",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </chain>
    writers = [
        (int(layer), int(head)) for layer, head in ji.chains.answer_writers(planted.model, pairs).heads()
    ]
    metric = ji.metrics.accuracy(pairs.correct, pairs.wrong)

    def right(*without: tuple[int, int]) -> float:
        """How often the right word leads with these heads set to zero."""
        edits = [ji.zero("z", layer=layer, head=head) for layer, head in without]
        return float(np.mean(ji.metrics.measure(planted.model, pairs.clean, metric, edits=edits)))

    alone = [right(writer) for writer in writers]
    together = right(*writers)
    return Finding(
        "A chain of two steps",
        "Where an answer takes two steps, which heads write it?",
        "The figure shows what each head restores of the answer when it alone is right; the model is one by hand, so that the answer is known.",
        [
            f"The prompts say that A leads to B and B to C, and ask where A leads, such as {code(pairs.texts[0])}. The corrupt prompt has other ends.",
            shown(chapter, "chain", figure, prompts=prompts),
            f"`ji.chains.answer_writers` names the heads that write the answer: {listed([f'{a}.{b}' for a, b in writers])}; "
            f"those that were planted are {listed([f'{a}.{b}' for a, b in planted.writers])}. "
            f"Without one of them the model is right on {listed([percent(share) for share in alone])} of the prompts, without both on {percent(together)}: "
            "either is enough, so a test of one head at a time finds neither to be needed.",
        ],
        {
            "writers": writers,
            "planted": planted.writers,
            "alone": alone,
            "together": together,
            "score": heads.score,
        },
    )
