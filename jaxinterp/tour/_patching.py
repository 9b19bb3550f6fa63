"""Chapter 3: activation patching, where a prompt's answer is decided.

Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022 (https://arxiv.org/abs/2202.05262).
"""

import itertools
from collections.abc import Sequence

import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._case import Case, clearest
from ._chapter import Finding, Table, code, listed, percent
from ._pairs import PAIRS
from ._shown import shown


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, found = clearest(model, tokenizer)
    bos = tokenizer.bos_id is not None
    clean, corrupt, answer, wrong = case.given.values()
    # <places>
    clean_tokens, corrupt_tokens = (tokenizer(text, bos=bos) for text in (clean, corrupt))
    metric = ji.metrics.logit_diff(tokenizer.token_id(answer), tokenizer.token_id(wrong))
    before, after = (ji.metrics.measure(model, each, metric) for each in (corrupt_tokens, clean_tokens))
    heat = ji.patching.sweep(
        model, clean_tokens, corrupt_tokens, metric, site="resid_pre", over=("layer", "pos")
    )
    by_place = np.asarray(ji.metrics.recovered(heat, after, before))
    figure = ji.viz.heatmap(
        by_place,
        cols=tokenizer.tokens(clean_tokens),
        axis_names=("layer", "token"),
        value="effect (share of the difference)",
        title="Effect of patching the residual stream before a layer, at one position",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </places>
    places = figure
    # <heads>
    heat = ji.patching.sweep(model, clean_tokens, corrupt_tokens, metric, site="z", over=("layer", "head"))
    by_head = np.asarray(ji.metrics.recovered(heat, after, before))
    figure = ji.viz.heatmap(
        by_head,
        axis_names=("layer", "head"),
        value="effect (share of the difference)",
        title="Effect of patching one head's output, at all positions",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </heads>
    pair, fitting = case.pair, found["fitting"]
    tried = Table(
        ["kind", "clean prompt", "answer", "clean (logits)", "corrupt (logits)", "both right"],
        [
            [
                p.what,
                viz.visible(p.clean),
                f"{viz.visible(p.answer)} / {viz.visible(p.wrong)}",
                float(d[0]),
                float(d[1]),
                "yes" if m > 0 else "no",
            ]
            for p, d, m in zip(fitting, found["differences"], found["margins"], strict=True)
        ],
        title="Logit differences (answer minus wrong) at the end of each prompt that was tried",
        page_only=True,
    )
    gap = plain_gap(model, case, by_place, by_head)
    changed = np.flatnonzero(np.asarray(case.clean != case.corrupt)).tolist()
    top = [np.unravel_index(i, by_head.shape) for i in np.argsort(-np.abs(by_head), axis=None)[:3]]
    best = listed([f"{layer}.{head} ({percent(by_head[layer, head])})" for layer, head in top])
    return Finding(
        "Where an answer is decided",
        "From which position, and by which head, does the answer come to the last token?",
        "The first figure shows how much of the answer comes back when the residual stream is patched at one place, the second the same for each head.",
        [
            f"The clean prompt {code(pair.clean)} asks for {code(pair.answer)}, the "
            f"corrupt prompt {code(pair.corrupt)} for {code(pair.wrong)}; the logit difference between the two is "
            f"{viz.number(case.after)} after the clean and {viz.number(case.before)} after the corrupt prompt.",
            shown(chapter, "places", places, **case.given),
            "Activation patching runs the corrupt prompt with one activation replaced by its value on the clean prompt. An "
            "effect of 0 leaves the corrupt answer, 1 restores the clean one. `ji.patching.sweep` does it for every cell in one "
            "compiled program, and runs only what a patch can change. "
            f"One cell of each sweep was run again alone, as a plain edit: they agree within {gap:.1e}.",
            where_it_sits(by_place, tokenizer.tokens(case.clean), changed),
            shown(chapter, "heads", figure),
            f"Of single heads (patched at all positions), those with the largest effects are {best}.",
            found["choice"] + f"The clearest is taken: {pair.what}.",
            tried,
        ],
        {
            "tried": len(PAIRS),
            "fit": len(fitting),
            "solved": found["solved"],
            "pair": pair,
            "by_place": by_place,
            "by_head": by_head,
            "gap": gap,
        },
    )


def plain_gap(model: LoadedModel, case: Case, by_place: np.ndarray, by_head: np.ndarray) -> float:
    """How far one cell of each sweep is from a plain run with that edit."""
    layer = model.config.layers // 2
    _, acts = ji.run(model, case.clean, capture=["resid_pre", "z"], logits=False)
    edits = [
        ji.replace("resid_pre", acts["resid_pre"][layer], layer=layer, pos=-1),
        ji.replace("z", acts["z"][layer], layer=layer, head=0),
    ]
    measured = [ji.metrics.measure(model, case.corrupt, case.metric, edits=[edit]) for edit in edits]
    alone = [float(ji.metrics.recovered(each, case.after, case.before)) for each in measured]
    return float(max(abs(by_place[layer, -1] - alone[0]), abs(by_head[layer, 0] - alone[1])))


def where_it_sits(by_place: np.ndarray, names: Sequence[str], changed: Sequence[int]) -> str:
    """The best position of each layer, in words: runs of layers with the same one together."""
    best = by_place.argmax(1)
    starts = [0, *(np.flatnonzero(np.diff(best)) + 1), len(best)]
    parts = []
    for start, stop in itertools.pairwise(starts):
        place = int(best[start])
        effects = by_place[start:stop, place]
        layers = f"layer {start}" if stop == start + 1 else f"layers {start} to {stop - 1}"
        low, high = percent(effects.min()), percent(effects.max())
        note = " (the word that differs)" if place in changed else ""
        note = " (the last)" if place == len(names) - 1 else note
        parts.append(
            f"before {layers} at position {place} {code(names[place])}{note}: "
            + (low if low == high else f"{low} to {high}")
        )
    return f"Which position carries the answer: {'; '.join(parts)}."
