"""Chapter 15: whether layers see the same texts alike.

Kornblith et al. 2019 (https://arxiv.org/abs/1905.00414).
"""

import jax
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel
from ._shown import shown
from ._texts import PIECES

CTX = 64


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    if model.config.layers < 2:
        raise NotForThisModel("it has one layer.")
    ctx, bos = min(CTX, model.config.ctx), tokenizer.bos_id is not None
    # <similarity>
    texts = [text for kind in PIECES.values() for text in kind[:5]]
    corpus = ji.data.pack(tokenizer, texts, ctx=ctx, bos=bos, least=5)
    found = ji.geometry.similarity(model, model, corpus, progress=False)
    figure = ji.viz.heatmap(
        found.cka,
        axis_names=("layer", "layer"),
        value="similarity (CKA, 0 to 1)",
        title="Similarity of the streams after two layers, over the same tokens",
        settings=ji.viz.HeatmapSettings(limits=(min(0.0, float(found.cka.min())), 1)),
    )
    # </similarity>
    last = model.config.layers - 1
    ends = [
        np.asarray(ji.data.activations(model, corpus, f"resid_post[{layer}]", progress=False))
        for layer in (0, last)
    ]
    mixed = np.asarray(jax.random.permutation(jax.random.key(0), len(ends[0])))
    control = float(ji.geometry.cka(ends[0], ends[1][mixed], unbiased=True))
    beside = np.diagonal(found.cka, 1)
    return Finding(
        "Layers compared",
        "Layers can be left out: do they see the texts alike?",
        "The figure shows, for each two layers, how alike the distances between tokens are.",
        [
            shown(chapter, "similarity", figure, ctx=ctx),
            f"Over {found.tokens:,} tokens, neighbouring layers are at {viz.number(beside.min())} to {viz.number(beside.max())}, "
            f"the first and the last at {viz.number(found.cka[0, -1])}. With the tokens of the last layer in a random order it is {viz.number(control)}.",
        ],
        {"cka": found.cka, "control": control, "tokens": found.tokens},
    )
