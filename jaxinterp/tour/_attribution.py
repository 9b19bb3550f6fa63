"""Chapter 4: who writes the answer, and how far one backward pass can stand for a sweep.

Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html), Kramar et al. 2024
(https://arxiv.org/abs/2403.00745).
"""

from typing import Any, NamedTuple

import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, Table, listed
from ._patching import Case, clearest


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, _ = clearest(model, tokenizer)
    heads, parts, total = direct(model, case)
    estimates, sweeps, agreements = estimated(model, case)
    place, by_head = agreements
    effect = (sweeps[1] - case.before) / (case.after - case.before)
    direct_best, swept_best = (np.unravel_index(np.abs(x).argmax(), x.shape) for x in (heads, effect))
    names = tokenizer.tokens(case.clean)
    return Finding(
        "Who writes the answer",
        [
            f"The prompt is that of the patching chapter, {case.pair.clean!r}. At its end the logit of `{viz.visible(case.pair.answer)}` leads that of "
            f"`{viz.visible(case.pair.wrong)}` by {viz.number(total)}. That lead is a sum over everything that was written to the residual stream "
            "(direct logit attribution, the last norm's scale held); the largest parts are in the table.",
            f"The head with the largest direct part is {direct_best[0]}.{direct_best[1]} ({viz.number(heads[direct_best])}); the head with the largest "
            f"effect when it is patched is {swept_best[0]}.{swept_best[1]}. "
            + (
                "They are the same. "
                if direct_best == swept_best
                else "They differ: what a head writes can act through later layers, and later layers can undo it. "
            ),
            "Attribution patching estimates a whole sweep from one forward and one backward pass. Beside the exact sweeps: "
            f"for the residual stream at each position, {place}; for the heads, {by_head}.",
            Table(
                ["component", "part of the lead"],
                [[label, value] for label, value in parts],
                title=f"Direct logit attribution: {len(parts)} of the components that add up to {viz.number(total)}",
            ),
            viz.heatmap(
                heads,
                axis_names=("layer", "head"),
                value="logits",
                title="What each head adds to the lead",
                settings=viz.HeatmapSettings(diverging=True),
            ),
            viz.heatmap(
                (estimates[0] - case.before) / (case.after - case.before),
                cols=names,
                axis_names=("layer", "token"),
                value="effect",
                title="The sweep over layers and positions, as one backward pass estimates it",
                settings=viz.HeatmapSettings(
                    diverging=True, caption="Compare with the exact one in the patching chapter."
                ),
            ),
        ],
        {"heads": heads, "total": total, "place": place, "by_head": by_head},
    )


def direct(model: LoadedModel, case: Case) -> tuple[np.ndarray, list[tuple[str, float]], float]:
    """Of the lead of the answer: heads (layer, head), the largest components, and the lead itself."""
    parts = ji.lens.direct_attribution(model, case.clean, case.ids, by="head")
    return np.asarray(parts.heads), parts.top(8), float(parts.total())


class Estimates(NamedTuple):
    """Estimated and exact effects at two sites, and how they agree."""

    estimates: list[np.ndarray]
    sweeps: list[np.ndarray]
    agreements: list[Any]


def estimated(model: LoadedModel, case: Case) -> Estimates:
    """Estimates and exact sweeps over (layer, pos) and (layer, head), and how they agree."""
    estimates, sweeps, agreements = [], [], []
    for site, over in (("resid_pre", ("layer", "pos")), ("z", ("layer", "head"))):
        for found, function in ((estimates, ji.patching.attribution), (sweeps, ji.patching.sweep)):
            found.append(
                np.asarray(function(model, case.clean, case.corrupt, case.metric, site=site, over=over))
            )
        top = min(5, sweeps[-1].size)
        agreements.append(ji.patching.agreement(estimates[-1], sweeps[-1], baseline=case.before, top=top))
    return Estimates(estimates, sweeps, agreements)


def best(values: np.ndarray, count: int = 3) -> str:
    """`best(heads) == "1.3, 2.0 and 0.4"`: the heads of the largest values."""
    order = np.argsort(-np.abs(values), axis=None)[:count]
    return listed([".".join(map(str, np.unravel_index(i, values.shape))) for i in order])
