"""Chapter 3: activation patching, where a prompt's answer is decided.

Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022 (https://arxiv.org/abs/2202.05262).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ..metrics import Metric
from ._chapter import Finding, NotForThisModel, Table, listed, percent, prompt
from ._pairs import PAIRS, TourPair


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of prompts that the model answers differently: the metric is `before` (corrupt) and `after` (clean)."""

    pair: TourPair
    clean: Array
    corrupt: Array
    ids: tuple[int, int]
    before: float
    after: float

    @property
    def metric(self) -> Metric:
        return ji.metrics.logit_diff(*self.ids)


def clearest(model: LoadedModel, tokenizer: Tokenizer) -> tuple[Case, dict[str, Any]]:
    """The pair that the model answers most clearly, and what was tried to find it."""
    fitting = [pair for pair in PAIRS if fits(pair, tokenizer, model.config.ctx)]
    if not fitting:
        raise NotForThisModel(
            f"none of the {len(PAIRS)} prompt pairs fits its tokenizer (equal lengths, one-token answers)."
        )
    differences = logit_differences(model, tokenizer, fitting)
    # Between answer and wrong: for on the clean prompt, against on the corrupt one.
    margins = np.minimum(differences[:, 0], -differences[:, 1])
    best = int(np.argmax(margins))
    pair, solved = fitting[best], int((margins > 0).sum())
    choice = (
        f"Of {len(PAIRS)} prompt pairs, {len(fitting)} fit this tokenizer (equal lengths, one-token answers, "
        f"a difference before the last token); on {solved} "
        "the model prefers the right token after both prompts. "
    )
    if margins[best] <= 0:
        raise NotForThisModel(choice + "There is no effect to locate.")
    case = Case(
        pair,
        prompt(tokenizer, pair.clean),
        prompt(tokenizer, pair.corrupt),
        (tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)),
        float(differences[best, 1]),
        float(differences[best, 0]),
    )
    return case, {
        "fitting": fitting,
        "differences": differences,
        "margins": margins,
        "choice": choice,
        "solved": solved,
    }


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, found = clearest(model, tokenizer)
    pair, solved, fitting = case.pair, found["solved"], found["fitting"]
    tried = Table(
        ["kind", "clean prompt", "answer", "clean", "corrupt", "both right"],
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
    by_place, by_head, checked = sweeps(model, case)
    names = tokenizer.tokens(case.clean)
    changed = np.flatnonzero(np.asarray(case.clean != case.corrupt)).tolist()
    top = [np.unravel_index(i, by_head.shape) for i in np.argsort(-np.abs(by_head), axis=None)[:3]]
    heads = listed([f"{layer}.{head} ({percent(by_head[layer, head])})" for layer, head in top])
    return Finding(
        "Where an answer is decided",
        [
            found["choice"]
            + f"The clearest is taken: {pair.what}. The clean prompt {pair.clean!r} asks for `{viz.visible(pair.answer)}`, the "
            f"corrupt prompt {pair.corrupt!r} for `{viz.visible(pair.wrong)}`; the logit difference between the two is "
            f"{viz.number(case.after)} after the clean and {viz.number(case.before)} after the corrupt prompt.",
            "Activation patching runs the corrupt prompt with one activation replaced by its value on the clean prompt. An "
            "effect of 0% leaves the corrupt answer, 100% restores the clean one. `ji.patching.sweep` does it for every cell in one "
            "compiled program, and runs only what a patch can change. "
            f"One cell of each sweep was run again alone, as a plain edit: they agree within {checked:.1e}.",
            where_it_sits(by_place, names, changed),
            f"Of single heads (patched at all positions), those with the largest effects are {heads}.",
            viz.heatmap(
                by_place,
                rows=range(len(by_place)),
                cols=names,
                axis_names=("layer", "token"),
                value="effect",
                title="Effect of patching the residual stream before a layer, at one position",
                settings=viz.HeatmapSettings(
                    diverging=True,
                    caption=f"Columns are the tokens of the clean prompt; the corrupt prompt differs at position {listed([str(i) for i in changed])}.",
                ),
            ),
            viz.heatmap(
                by_head,
                axis_names=("layer", "head"),
                value="effect",
                title="Effect of patching one head's output, at all positions",
                settings=viz.HeatmapSettings(diverging=True),
            ),
            tried,
        ],
        {
            "tried": len(PAIRS),
            "fit": len(fitting),
            "solved": solved,
            "pair": pair,
            "by_place": by_place,
            "by_head": by_head,
            "checked": checked,
        },
    )


class Sweeps(NamedTuple):
    """Effects over (layer, pos) and over (layer, head), and the largest gap to a plain run."""

    by_place: np.ndarray
    by_head: np.ndarray
    gap: float


def sweeps(model: LoadedModel, case: Case) -> Sweeps:
    """Effects over (layer, pos) and over (layer, head), and how far one cell of each is from a plain run."""

    def swept(site: str, over: tuple[str, ...]) -> np.ndarray:
        heat = ji.patching.sweep(model, case.clean, case.corrupt, case.metric, site=site, over=over)
        return np.asarray(ji.metrics.recovered(heat, case.after, case.before))

    by_place, by_head = swept("resid_pre", ("layer", "pos")), swept("z", ("layer", "head"))
    layer = model.config.layers // 2
    _, acts = ji.run(model, case.clean, capture=["resid_pre", "z"], logits=False)
    edits = [
        ji.replace("resid_pre", acts["resid_pre"][layer], layer=layer, pos=-1),
        ji.replace("z", acts["z"][layer], layer=layer, head=0),
    ]
    alone = [
        float(
            ji.metrics.recovered(
                ji.metrics.measure(model, case.corrupt, case.metric, edits=[edit]),
                case.after,
                case.before,
            )
        )
        for edit in edits
    ]
    gaps = abs(by_place[layer, -1] - alone[0]), abs(by_head[layer, 0] - alone[1])
    return Sweeps(by_place, by_head, float(max(gaps)))


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
            f"before {layers} at position {place} `{viz.visible(names[place])}`{note}: "
            + (low if low == high else f"{low} to {high}")
        )
    return f"Which position carries the answer: {'; '.join(parts)}."


def fits(pair: TourPair, tokenizer: Tokenizer, ctx: int) -> bool:
    """Whether a pair has one length, one-token answers, and differs somewhere before its last token."""
    try:
        _ = tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)
    except ValueError:
        return False
    clean, corrupt = prompt(tokenizer, pair.clean), prompt(tokenizer, pair.corrupt)
    return len(clean) == len(corrupt) <= ctx and int(clean[-1]) == int(corrupt[-1])


def logit_differences(model: LoadedModel, tokenizer: Tokenizer, pairs: Sequence[TourPair]) -> np.ndarray:
    """Answer minus wrong at the end of each prompt: (pair, clean or corrupt)."""
    texts = [text for pair in pairs for text in (pair.clean, pair.corrupt)]
    tokens, mask = tokenizer(texts, bos=tokenizer.bos_id is not None, pad="left")
    logits, _ = ji.run(model, tokens, mask=mask, logits=-1)
    logits = np.asarray(logits).reshape(len(pairs), 2, -1)
    answers = np.array([[tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)] for pair in pairs])
    picked = np.take_along_axis(logits, answers[:, None, :], -1)
    return picked[..., 0] - picked[..., 1]
