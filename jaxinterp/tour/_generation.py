"""Chapter 10: interventions on generation: a copying head taken out, a language put in.

Turner et al. 2023 (https://arxiv.org/abs/2308.10248): a direction is the difference of two means.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, code, listed, percent, prompt
from ._induction import SPAN, induction_scores, repeated_tokens
from ._shown import shown
from ._texts import OPENING, PIECES

KNOWN, STEPS, SAMPLES = 8, 16, 4


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    copied = copying(model, tokenizer)
    steered = steering(model, tokenizer)
    return Finding(
        "Interventions on what it writes",
        "Does a change of these parts change the text that the model writes?",
        "The table shows how far it copies without its copying heads, and the curve how French its text becomes while a direction is added.",
        [*copied.body, *steered.body],
        {**copied.numbers, **steered.numbers},
    )


def copying(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    """How much of a repeated random block the model goes on copying, with and without its best heads."""
    induction = induction_scores(model, *repeated_tokens(model, tokenizer))
    tokens, first = repeated_tokens(model, tokenizer, seed=1)  # heads are chosen on other prompts
    order = sorted(np.ndindex(induction.shape), key=lambda where: -induction[where])
    best = order[:2]
    others = [head for head in order[:1:-1] if head[0] in {layer for layer, _ in best}][:2]
    cases = {"no head": [], f"head {_name(best[0])}": best[:1], f"heads {_name(*best)}": best}
    if len(others) == 2:
        cases[f"heads {_name(*others)}"] = others
    # Which heads stay, (case, layer, head): an edit is data, so one compiled program serves all cases.
    keep = np.ones((len(cases), *induction.shape), np.float32)
    for case, heads in enumerate(cases.values()):
        for layer, head in heads:
            keep[case, layer, head] = 0.0

    start, known = first + SPAN, first + SPAN + KNOWN

    def copied(keep: Array) -> tuple[Array, Array]:
        """The share of the second round that is foreseen step by step, and the tokens copied freely."""
        edited = ji.intervene(
            model, [ji.scale("z", keep[:, None, None, :, None])]
        )  # (layer, batch, pos, head, k)
        foreseen = ji.run(edited, tokens)[0].argmax(-1)[:, start:-1] == tokens[:, start + 1 :]
        written = ji.generate(edited, tokens[:, :known], STEPS)[:, known:]
        right = written == tokens[:, known : known + STEPS]
        return foreseen.mean(), jnp.cumprod(right.astype(jnp.int32), axis=1).sum(1).mean()

    shares, runs = (values.tolist() for values in jax.jit(jax.vmap(copied))(keep))
    whole, one, two, *control = map(percent, shares)
    return Finding(
        "",
        "",
        "",
        [
            f"Copying: {len(tokens)} prompts of {SPAN} random tokens, twice over. With the true tokens before it, the model's likeliest next "
            f"token in the second round is the right one {whole} of the time; with the head of the best induction score ({_name(best[0])}) "
            f"set to zero {one}, without the best two {two}"
            + (
                f", and without the two of the same layers that score lowest ({_name(*others)}) {control[0]}."
                if control
                else "."
            )
            + (" It copies too little for the comparison to say much." if shares[0] < 0.1 else "")
            + f" Written freely by `ji.generate`, from {KNOWN} tokens of the second round on, the copy goes on for "
            f"{viz.number(runs[0])} of {STEPS} tokens before the first mistake, and for {viz.number(runs[2])} without the two heads: "
            "the edits of `ji.intervene` stay on at every step.",
            Table(
                ["set to zero", "next token right", f"tokens copied freely (of {STEPS})"],
                [
                    [name, percent(share), float(run)]
                    for name, share, run in zip(cases, shares, runs, strict=True)
                ],
                title="Copying a random block",
            ),
        ],
        {"copied": dict(zip(cases, shares, strict=True)), "runs": dict(zip(cases, runs, strict=True))},
    )


def steering(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    """Adds the direction from English to French to the residual stream, in several strengths."""
    layer, opening, steps, samples = model.config.layers // 2, OPENING, STEPS, SAMPLES
    bos = tokenizer.bos_id is not None
    if len(prompt(tokenizer, opening)) + steps > model.config.ctx:
        raise NotForThisModel(
            f"{len(prompt(tokenizer, opening))} tokens and {steps} more do not fit its context of {model.config.ctx}."
        )

    # <steering>
    def means(texts):  # of the residual stream over the tokens of each text, (text, d)
        tokens, mask = tokenizer(texts)
        request = ji.at("resid_post", layer=layer, reduce="mean")
        return np.asarray(ji.run(model, tokens, mask=mask, capture=[request], logits=False)[1][request])

    english, french = means(PIECES["English"][:12]), means(PIECES["French"][:12])
    origin = english[:8].mean(0)
    direction = french[:8].mean(0) - origin
    position = lambda rows: (rows - origin) @ direction / (direction @ direction)  # English 0, French 1
    tokens = tokenizer(opening, bos=bos)
    prompts = jnp.broadcast_to(tokens, (samples, len(tokens)))

    def write(strength):
        edit = ji.add("resid_post", strength * direction, layer=layer)
        return ji.generate(model, prompts, steps, key=jax.random.key(0), temperature=0.7, edits=[edit])

    strengths = jnp.asarray([0.0, 1.0, 2.0, 4.0])
    texts = jax.jit(jax.vmap(write))(strengths)  # (strength, sample, pos)
    request = ji.at("resid_post", layer=layer, pos=np.arange(len(tokens), texts.shape[-1]), reduce="mean")
    _, acts = ji.run(model, texts, capture=[request], logits=False)  # the model without the edit reads them
    scores = position(np.asarray(acts[request])).mean(1)
    figure = ji.viz.lines(
        {"what the model writes": scores, "French sentences": np.full(4, position(french[8:]).mean())},
        x=strengths,
        x_axis="strength (lengths of the direction)",
        y_axis="English 0 to French 1 (share)",
        title="How French the text is while the direction is added",
    )
    # </steering>
    held_out = tuple(float(position(each[8:]).mean()) for each in (english, french))
    written = [tokenizer.decode(text[0, len(tokens) :]) for text in texts]
    risen = bool(scores.max() > scores[0] + 0.25)
    steered = [
        f"with strength {viz.number(s)} at {viz.number(v)}"
        for s, v in zip(strengths[1:], scores[1:], strict=True)
    ]
    return Finding(
        "",
        "",
        "",
        [
            f"Steering: the direction is the mean of `resid_post[{layer}]` over 8 French sentences minus that "
            f"over 8 English ones. On the line between the two means (English 0, French 1), sentences that "
            f"were left out lie at {viz.number(held_out[0])} (English) and {viz.number(held_out[1])} (French). After the English "
            f"words {code(opening)} the model writes {steps} tokens, {samples} times per strength, with the direction added at every "
            "position; then the unedited model reads what was written.",
            shown(steering, "steering", figure, opening=opening, layer=layer, steps=steps, samples=samples),
            f"Unsteered text lies at {viz.number(scores[0])} on that line; {listed(steered)}"
            + (
                f". Strength {viz.number(strengths[int(scores.argmax())])} moves it furthest; whether it is good French, the samples show."
                if risen
                else ". Steering hardly moves what this model writes."
            ),
            Table(
                ["strength", "English 0 … French 1", "first sample, after the opening"],
                [[float(s), float(v), text] for s, v, text in zip(strengths, scores, written, strict=True)],
                title="What it writes",
                caption=f"Opening: {opening} …",
            ),
        ],
        {"steered": scores.tolist(), "held_out": held_out, "samples": written, "layer": layer},
    )


def _name(*heads: tuple[int, int]) -> str:
    return listed([f"{layer}.{head}" for layer, head in heads])
