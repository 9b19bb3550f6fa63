"""Chapter 4: who writes the answer, and how far one backward pass can stand for a sweep.

Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html), Kramar et al. 2024
(https://arxiv.org/abs/2403.00745).
"""

import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._case import clearest
from ._chapter import Finding, Table, code
from ._shown import shown


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, _ = clearest(model, tokenizer)
    bos = tokenizer.bos_id is not None
    clean, corrupt, answer, wrong = case.given.values()
    # <parts>
    clean_tokens, corrupt_tokens = (tokenizer(text, bos=bos) for text in (clean, corrupt))
    ids = tokenizer.token_id(answer), tokenizer.token_id(wrong)
    parts = ji.lens.direct_attribution(model, clean_tokens, ids, by="head")
    figure = ji.viz.heatmap(
        parts.heads,
        axis_names=("layer", "head"),
        value="part of the lead (logits)",
        title="What each head adds to the answer's lead",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </parts>
    direct = figure
    # <estimates>
    metric = ji.metrics.logit_diff(*ids)
    before, after = (ji.metrics.measure(model, each, metric) for each in (corrupt_tokens, clean_tokens))
    points, found = {}, {}
    for name, site, over in (("stream", "resid_pre", ("layer", "pos")), ("heads", "z", ("layer", "head"))):
        exact, estimate = (
            np.asarray(method(model, clean_tokens, corrupt_tokens, metric, site=site, over=over))
            for method in (ji.patching.sweep, ji.patching.attribution)
        )
        found[name] = exact, estimate
        points[name] = tuple(np.ravel(ji.metrics.recovered(each, after, before)) for each in found[name])
    figure = ji.viz.scatter(
        points,
        x_axis="exact effect (share of the difference)",
        y_axis="estimate (share)",
        title="Effects of all patches: one by one, and estimated by one backward pass",
    )
    # </estimates>
    heads, total = np.asarray(parts.heads), float(parts.total())
    effect = (found["heads"][0] - case.before) / (case.after - case.before)
    direct_best, swept_best = (np.unravel_index(np.abs(x).argmax(), x.shape) for x in (heads, effect))
    place, by_head = (
        ji.patching.agreement(estimate, exact, baseline=case.before, top=min(5, exact.size))
        for exact, estimate in found.values()
    )
    return Finding(
        "Who writes the answer",
        "Do these heads write the answer themselves, and can one backward pass find what a sweep finds?",
        "The heat map shows what each head adds to the answer's lead, and the points set the estimate of each patch beside its exact effect.",
        [
            f"At the end of the clean prompt the logit of {code(answer)} leads that of "
            f"{code(wrong)} by {viz.number(total)}. That lead is a sum over everything that was written to the residual stream "
            "(direct logit attribution, the last norm's scale held); the largest parts are in the table.",
            shown(chapter, "parts", direct, **case.given),
            f"The head with the largest direct part is {direct_best[0]}.{direct_best[1]} ({viz.number(heads[direct_best])}); the head with the largest "
            f"effect when it is patched is {swept_best[0]}.{swept_best[1]}. "
            + (
                "They are the same. "
                if direct_best == swept_best
                else "They differ: what a head writes can act through later layers, and later layers can undo it. "
            ),
            Table(
                ["component", "part of the lead (logits)"],
                [[label, value] for label, value in parts.top(8)],
                title=f"Direct logit attribution: {len(parts.top(8))} of the components that add up to {viz.number(total)}",
            ),
            shown(chapter, "estimates", figure),
            "Attribution patching estimates a whole sweep from one forward and one backward pass. Beside the exact sweeps: "
            f"for the residual stream at each position, {place}; for the heads, {by_head}.",
        ],
        {"heads": heads, "total": total, "place": place, "by_head": by_head},
    )
