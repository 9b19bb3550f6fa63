"""Chapter 3: activation patching, where a prompt's answer is decided.

Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022 (https://arxiv.org/abs/2202.05262).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ._chapter import Finding, NotForThisModel, Table, listed, percent, prompt
from ._pairs import PAIRS, Pair


def chapter(model: Any, tokenizer: Any) -> Finding:
    fitting = [pair for pair in PAIRS if fits(pair, tokenizer, model.config.ctx)]
    if not fitting:
        raise NotForThisModel(
            f"none of the {len(PAIRS)} prompt pairs fits its tokenizer (equal lengths, one-token answers)."
        )  # fmt: skip
    differences = logit_differences(model, tokenizer, fitting)
    # Between answer and wrong: for on the clean prompt, against on the corrupt one.
    margins = np.minimum(differences[:, 0], -differences[:, 1])
    best = int(np.argmax(margins))
    pair, solved = fitting[best], int((margins > 0).sum())
    tried = Table(
        ["kind", "clean prompt", "answer", "clean", "corrupt", "both right"],
        [
            [p.what, viz.visible(p.clean), f"{viz.visible(p.answer)} / {viz.visible(p.wrong)}", float(d[0]), float(d[1]), "yes" if m > 0 else "no"]
            for p, d, m in zip(fitting, differences, margins, strict=True)
        ],
        title="Logit differences (answer minus wrong) at the end of each prompt that was tried",
        page_only=True,
    )  # fmt: skip
    choice = (
        f"Of {len(PAIRS)} prompt pairs, {len(fitting)} fit this tokenizer (equal lengths, one-token answers, "
        f"a difference before the last token); on {solved} "
        "the model prefers the right token after both prompts. "
    )
    if margins[best] <= 0:
        raise NotForThisModel(choice + "There is no effect to locate.")

    clean, corrupt = prompt(tokenizer, pair.clean), prompt(tokenizer, pair.corrupt)
    ids = tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)
    by_place, by_head, checked = sweeps(model, clean, corrupt, ids)
    names = tokenizer.tokens(clean)
    changed = np.flatnonzero(np.asarray(clean != corrupt)).tolist()
    top = [np.unravel_index(i, by_head.shape) for i in np.argsort(-np.abs(by_head), axis=None)[:3]]
    heads = listed([f"{layer}.{head} ({percent(by_head[layer, head])})" for layer, head in top])
    return Finding(
        "Where an answer is decided",
        [
            choice
            + f"The clearest is taken: {pair.what}. The clean prompt {pair.clean!r} asks for `{viz.visible(pair.answer)}`, the "
            f"corrupt prompt {pair.corrupt!r} for `{viz.visible(pair.wrong)}`; the logit difference between the two is "
            f"{viz.number(differences[best, 0])} after the clean and {viz.number(differences[best, 1])} after the corrupt prompt.",
            "Activation patching runs the corrupt prompt with one activation replaced by its value on the clean prompt. An "
            "effect of 0% leaves the corrupt answer, 100% restores the clean one. The sweep is one `jax.vmap` over edits: "
            "layers, positions and heads are array values of one compiled program. "
            f"One cell of each sweep was run again alone, as a plain edit: they agree within {checked:.1e}.",
            where_it_sits(by_place, names, changed),
            f"Of single heads (patched at all positions), those with the largest effects are {heads}.",
            viz.heatmap(
                by_place, rows=range(len(by_place)), cols=names, row_axis="layer", col_axis="token", value="effect",
                diverging=True, title="Effect of patching the residual stream before a layer, at one position",
                caption=f"Columns are the tokens of the clean prompt; the corrupt prompt differs at position {listed([str(i) for i in changed])}.",
            ),
            viz.heatmap(
                by_head, row_axis="layer", col_axis="head", value="effect", diverging=True,
                title="Effect of patching one head's output, at all positions",
            ),
            tried,
        ],
        {"tried": len(PAIRS), "fit": len(fitting), "solved": solved, "pair": pair, "by_place": by_place, "by_head": by_head, "checked": checked},
    )  # fmt: skip


def sweeps(model: Any, clean: Any, corrupt: Any, ids: tuple[int, int]) -> tuple[Any, Any, float]:
    """Effects over (layer, pos) and over (layer, head), and how far one cell of each is from a plain run."""

    def difference(logits: Any) -> Any:
        return logits[ids[0]] - logits[ids[1]]

    logits, acts = ji.run(model, clean, capture=["resid_pre", "z"], logits=-1)
    right, wrong = difference(logits), difference(ji.run(model, corrupt, logits=-1)[0])

    def effect(edit: Any) -> Any:
        logits, _ = ji.run(model, corrupt, edits=[edit], logits=-1)
        return (difference(logits) - wrong) / (right - wrong)

    def at_place(layer: Any, pos: Any) -> Any:
        return effect(ji.replace("resid_pre", acts["resid_pre"][layer], layer=layer, pos=pos))

    def at_head(layer: Any, head: Any) -> Any:
        return effect(ji.replace("z", acts["z"][layer], layer=layer, head=head))

    layers, positions, heads = (
        jnp.arange(n) for n in (model.config.layers, len(clean), model.config.heads)
    )
    by_place = jax.jit(jax.vmap(jax.vmap(at_place, (None, 0)), (0, None)))(layers, positions)
    by_head = jax.jit(jax.vmap(jax.vmap(at_head, (None, 0)), (0, None)))(layers, heads)

    last = model.config.layers - 1
    checked = [
        abs(by_place[last, -1] - at_place(last, -1)),
        abs(by_head[last, 0] - at_head(last, 0)),
    ]
    return np.asarray(by_place), np.asarray(by_head), float(max(checked))


def where_it_sits(by_place: Any, names: Sequence[str], changed: Sequence[int]) -> str:
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
    return f"Which position carries the answer: {'; '.join(parts)}."  # fmt: skip


def fits(pair: Pair, tokenizer: Any, ctx: int) -> bool:
    """Whether a pair has one length, one-token answers, and differs somewhere before its last token."""
    try:
        _ = tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)
    except ValueError:
        return False
    clean, corrupt = prompt(tokenizer, pair.clean), prompt(tokenizer, pair.corrupt)
    return len(clean) == len(corrupt) <= ctx and int(clean[-1]) == int(corrupt[-1])


def logit_differences(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Any:
    """Answer minus wrong at the end of each prompt: (pair, clean or corrupt)."""
    texts = [text for pair in pairs for text in (pair.clean, pair.corrupt)]
    tokens, mask = tokenizer(texts, bos=tokenizer.bos_id is not None, pad="left")
    logits, _ = ji.run(model, tokens, mask=mask, logits=-1)
    logits = np.asarray(logits).reshape(len(pairs), 2, -1)
    answers = np.array(
        [[tokenizer.token_id(pair.answer), tokenizer.token_id(pair.wrong)] for pair in pairs]
    )
    picked = np.take_along_axis(logits, answers[:, None, :], -1)
    return picked[..., 0] - picked[..., 1]
