"""Chapter 8: a task over many prompts: indirect objects, where they are decided, with intervals.

Wang et al. 2022 (https://arxiv.org/abs/2211.00593).
"""

import jax
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, code, listed, percent
from ._shown import shown

PROMPTS, SWEPT, BAR = 60, 10, 0.7
ROLES = ("IO", "S1", "S1+1", "S2", "END")


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    bos, prompts, swept, names = tokenizer.bos_id is not None, PROMPTS, SWEPT, ROLES
    try:
        ji.tasks.ioi(tokenizer, 2, key=jax.random.key(0), bos=bos, pad="right")
    except ValueError as reason:
        raise NotForThisModel(f"the task does not fit its tokenizer ({str(reason)[:150]}).") from reason
    # <lead>
    pairs = ji.tasks.ioi(tokenizer, prompts, key=jax.random.key(0), bos=bos, pad="right")
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
    lead = np.asarray(ji.metrics.measure(model, pairs.clean, metric, mask=pairs.mask))
    figure = ji.viz.histogram(
        {"prompts": np.histogram(lead, 20)[0]},
        np.histogram(lead, 20)[1],
        marks={"no lead": 0.0},
        x_axis="logit difference (logits)",
        y_axis="share of prompts",
        title="Lead of the right name over the other, over all prompts",
    )
    # </lead>
    over_prompts = figure
    accuracy = float((lead > 0).mean())
    measured = (
        f"of {PROMPTS} prompts such as {code(pairs.texts[0])} it gives the right name more than the other in {percent(accuracy)} "
        f"(mean logit difference {viz.number(lead.mean())})"
    )
    if accuracy < BAR:
        raise NotForThisModel(f"{measured}; below {percent(BAR)} there is no circuit to look for.")
    # <places>
    chosen = pairs[np.argsort(-lead)[:swept]]
    metric = ji.metrics.logit_diff(chosen.correct, chosen.wrong, pos=chosen.pos)
    before, after = (
        np.asarray(ji.metrics.measure(model, tokens, metric, mask=chosen.mask))
        for tokens in (chosen.corrupt, chosen.clean)
    )
    roles = [role for role in names if role in chosen.positions]
    places = np.stack([chosen.positions[role] for role in roles], -1)
    given = model, chosen.clean, chosen.corrupt, metric
    streams = ji.patching.sweep(
        *given, over={"layer": None, "pos": places}, mask=chosen.mask, per_example=True
    )
    moved = np.asarray(ji.metrics.recovered(streams, after, before)).mean(-1)
    figure = ji.viz.heatmap(
        moved,
        cols=roles,
        axis_names=("layer", "position"),
        value="effect (share of the difference)",
        title="Effect of patching the residual stream before a layer, at each role's position",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </places>
    by_role = figure
    # <heads>
    heads = ji.patching.sweep(*given, site="z", over=("layer", "head"), mask=chosen.mask, per_example=True)
    found = ji.patching.statistics(heads, before, key=jax.random.key(0))
    by_head = np.asarray(ji.metrics.recovered(heads, after, before)).mean(-1)
    figure = ji.viz.heatmap(
        by_head,
        marks=found.significant(),
        axis_names=("layer", "head"),
        value="effect (share of the difference)",
        title="Effect of patching one head; a dot where the prompts make it sure",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </heads>
    sure = found.significant()
    end = moved[:, roles.index("END")]
    arrives = int(np.argmax(end >= 0.5 * end[-1])) if end[-1] > 0 else -1
    order = [np.unravel_index(i, by_head.shape) for i in np.argsort(-by_head, axis=None)[:8]]
    copying = np.asarray(ji.heads.copying_scores(model))
    movers = [f"{a}.{b} ({percent(by_head[a, b])})" for a, b in order[:3]]
    return Finding(
        "A task over many prompts",
        "One prompt is one prompt: is an answer decided at the same place over many?",
        "The histogram shows the right name's lead over all prompts, and the heat maps what patches of positions and heads restore of it.",
        [
            shown(chapter, "lead", over_prompts, prompts=prompts),
            f"Indirect object identification: {measured}. The {SWEPT} prompts with the clearest answers are swept; their corrupt partners differ in "
            f"{chosen.corruption}.",
            shown(chapter, "places", by_role, names=names, swept=swept),
            f"The residual stream at the last position carries half of the answer from layer {arrives} on; the table of effects shows where it was before. "
            f"Of {by_head.size} heads {int(sure.sum())} have an effect that {SWEPT} prompts make sure (false discoveries held to 5%). "
            f"Those that restore most are {listed(movers)}.",
            shown(chapter, "heads", figure),
            Table(
                ["head", "effect", "interval (logits)", "p", "copying score"],
                [
                    [
                        f"{a}.{b}",
                        percent(by_head[a, b]),
                        f"{viz.number(float(found.low[a, b]))} to {viz.number(float(found.high[a, b]))}",
                        float(found.p[a, b]),
                        float(copying[a, b]),
                    ]
                    for a, b in order
                ],
                title="Heads that restore the answer when they are patched",
            ),
        ],
        {
            "accuracy": accuracy,
            "lead": float(lead.mean()),
            "moved": moved,
            "by_head": by_head,
            "sure": int(sure.sum()),
        },
    )
