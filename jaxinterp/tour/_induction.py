"""Chapter 5: induction heads, found on random tokens that come twice.

Elhage et al. 2021, Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, listed
from ._shown import shown

SPAN, PROMPTS, BAR = 25, 8, 0.4


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    low, high, marker = drawn_from(model, tokenizer)
    prompts, span = PROMPTS, SPAN
    # <losses>
    rng = np.random.default_rng(0)
    drawn = [
        marker + (low + rng.choice(high - low, 2 * span, replace=False)).tolist() for _ in range(prompts)
    ]
    again = [row[: len(marker) + span] + row[len(marker) : len(marker) + span] for row in drawn]
    tokens, fresh = jnp.asarray(again), jnp.asarray(drawn)  # (prompt, pos): a block twice, and two blocks

    def losses(logits, tokens):  # minus the log-probability of each next token, (prompt, pos - 1)
        log_probs = jax.nn.log_softmax(logits[..., :-1, :].astype(jnp.float32))
        return -jnp.take_along_axis(log_probs, tokens[..., 1:, None], axis=-1)[..., 0]

    (logits, acts), (control, _) = (ji.run(model, each, capture=["pattern"]) for each in (tokens, fresh))
    figure = ji.viz.lines(
        {
            "the same tokens again": losses(logits, tokens).mean(0),
            "new tokens": losses(control, fresh).mean(0),
        },
        x=np.arange(1, tokens.shape[1]),
        marks={"second round": len(marker) + span},
        x_axis="position",
        y_axis="loss (nats)",
        title="Mean loss on random tokens",
    )
    # </losses>
    curves = figure
    # <scores>
    mean = np.asarray(acts["pattern"].mean(1))  # (layer, head, query, key)
    second = np.arange(len(marker) + span, len(marker) + 2 * span)
    induction = mean[:, :, second, second - span + 1].mean(-1)
    figure = ji.viz.heatmap(
        induction,
        axis_names=("layer", "head"),
        value="induction score (share of attention)",
        title="Attention from a token to what followed it the first time",
        settings=ji.viz.HeatmapSettings(limits=(0, 1)),
    )
    # </scores>
    scores = figure
    # <rises>
    few, start = tokens[: prompts // 2], len(marker) + span - 1

    def without(layer, head):
        logits, _ = ji.run(model, few, edits=[ji.zero("z", layer=layer, head=head)])
        return losses(logits, few)[:, start:].mean()

    heads, layers = jnp.arange(model.config.heads), jnp.arange(model.config.layers)
    every_head = jax.vmap(without, (None, 0))  # one layer at a time: the logits of all runs need memory
    ablated = jax.jit(lambda layers: jax.lax.map(lambda layer: every_head(layer, heads), layers))(layers)
    rises = np.asarray(ablated - losses(logits, tokens)[: len(few), start:].mean())
    figure = ji.viz.heatmap(
        rises,
        axis_names=("layer", "head"),
        value="rise of the loss (nats)",
        title="Rise of the second round's loss without one head",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </rises>
    ablations = figure
    # <pattern>
    layer, head = map(int, np.unravel_index(induction.argmax(), induction.shape))
    figure = ji.viz.attention(
        acts["pattern"][layer, 0],
        tokenizer.tokens(tokens[0]),
        heads=[f"{layer}.{head}" for head in range(model.config.heads)],
        selected=head,
        title=f"Attention (share) of the heads of layer {layer} on the first prompt",
    )
    # </pattern>
    later = np.arange(len(marker) + 1, tokens.shape[1])
    previous = mean[:, :, later, later - 1].mean(-1)
    best = layer, head
    strong = [tuple(map(int, where)) for where in np.argwhere(induction >= BAR)]
    late, new = (float(losses(*each)[:, start:].mean()) for each in ((logits, tokens), (control, fresh)))
    worst, looks_back = (np.unravel_index(grid.argmax(), grid.shape) for grid in (rises, previous))
    found = (
        f"{len(strong)} of {induction.size} heads score {BAR} or more: {listed([f'{layer}.{head}' for layer, head in strong])}."
        if strong
        else f"No head reaches {BAR}, so this model has no clear induction head by that bar."
    )
    ranked = [np.argsort(-grid, axis=None)[:3] for grid in (induction, previous, rises)]
    notable = [np.unravel_index(i, induction.shape) for i in dict.fromkeys(np.concatenate(ranked).tolist())]
    copies = "The model copies" if new - late > 0.5 else "The model hardly copies"
    return Finding(
        "Induction heads",
        "Do these heads copy by a rule that serves any tokens?",
        "The curves show the loss on random tokens that come twice, and the heat maps which heads look back to the first time and which of them the model needs.",
        [
            shown(chapter, "losses", curves, low=low, high=high, marker=marker, prompts=prompts, span=span),
            f"The model reads {PROMPTS} prompts of {SPAN} random tokens, twice over. Nothing but the first round helps to predict the second: "
            f"there the mean loss is {viz.number(late)} nats, and {viz.number(new)} where {SPAN} new random tokens follow instead "
            f"(a uniform guess costs {viz.number(np.log(model.config.vocab))}). {copies} from its context.",
            shown(chapter, "scores", scores),
            "An induction head looks from a token back to what followed it the first time. Its score is the attention it "
            f"pays there, averaged over the second round; spread evenly, attention would score about {viz.number(1 / (1.5 * SPAN))}. "
            f"{found} The best is head {best[0]}.{best[1]} with {viz.number(induction[best])}.",
            shown(chapter, "rises", ablations),
            f"The test by intervention: each head's output is set to zero in turn (`jax.vmap` over {induction.size} edits). "
            f"The second round's loss rises most without head {worst[0]}.{worst[1]}, by {viz.number(rises[worst])} nats; "
            f"without the head with the best score, by {viz.number(rises[best])}; in the median over all heads, "
            f"by {viz.number(np.median(rises))}. ",
            "An induction head usually reads what a previous-token head in an earlier layer wrote. Here the head that looks most at the "
            f"token just before it is {looks_back[0]}.{looks_back[1]}, with a mean attention of {viz.number(previous[looks_back])}; "
            f"without it the loss rises by {viz.number(rises[looks_back])} nats.",
            Table(
                ["head", "induction score", "previous-token score", "rise of the loss without it (nats)"],
                [
                    [f"{layer}.{head}", *(float(grid[layer, head]) for grid in (induction, previous, rises))]
                    for layer, head in notable
                ],
                title="Heads that stand out: the first three by each column",
            ),
            shown(chapter, "pattern", figure),
            "An induction head shows a stripe: in the second round, each query reads the key one after its own first time.",
        ],
        {
            "induction": induction,
            "previous": previous,
            "strong": strong,
            "best": best,
            "loss_repeated": late,
            "loss_new": new,
            "rises": rises,
        },
    )


def drawn_from(model: LoadedModel, tokenizer: Tokenizer) -> tuple[int, int, list[int]]:
    """The ids that random tokens are drawn from, low to high, and the marker that comes first."""
    marker = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    vocab = min(tokenizer.vocab, model.config.vocab)
    # Byte-pair vocabularies are ordered by frequency: leave out the bytes and the rarest tenth.
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (len(marker), vocab)
    if high - low < 2 * SPAN or len(marker) + 2 * SPAN > model.config.ctx:
        raise NotForThisModel(
            f"{2 * SPAN} different tokens do not fit its vocabulary of {vocab} and context of {model.config.ctx}."
        )
    return low, high, marker


def repeated_tokens(model: LoadedModel, tokenizer: Tokenizer, *, seed: int = 0) -> tuple[Array, int]:
    """Prompts (batch, pos) of a block of distinct random tokens twice, and where the block begins."""
    low, high, marker = drawn_from(model, tokenizer)
    rng = np.random.default_rng(seed)
    drawn = [low + rng.choice(high - low, 2 * SPAN, replace=False)[:SPAN] for _ in range(PROMPTS)]
    rows = [np.concatenate([marker, ids, ids]) for ids in drawn]
    return jnp.asarray(np.stack(rows), jnp.int32), len(marker)


def induction_scores(model: LoadedModel, tokens: Array, first: int) -> np.ndarray:
    """Attention (layer, head) from a token of the second round to what followed it in the first one."""
    _, acts = ji.run(model, tokens, capture=["pattern"], logits=False)
    second = np.arange(first + SPAN, first + 2 * SPAN)
    return np.asarray(acts["pattern"].mean(1))[:, :, second, second - SPAN + 1].mean(-1)
