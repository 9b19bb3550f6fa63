"""Chapter 4: induction heads, found on random tokens that come twice.

Elhage et al. 2021, Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ._chapter import Finding, NotForThisModel, Table, listed

SPAN, PROMPTS, BAR = 25, 8, 0.4


def chapter(model: Any, tokenizer: Any) -> Finding:
    tokens, first = repeated_tokens(model, tokenizer)
    induction, previous, losses = scores(model, tokens, first)
    fresh, _ = repeated_tokens(model, tokenizer, repeat=False)
    control = np.asarray(token_losses(ji.run(model, fresh)[0], fresh).mean(0))
    best = np.unravel_index(induction.argmax(), induction.shape)
    strong = [tuple(map(int, where)) for where in np.argwhere(induction >= BAR)]
    second = slice(first + SPAN - 1, None)  # losses are of next tokens
    late, new = losses[second].mean(), control[second].mean()
    rises = ablations(model, tokens, first)
    worst = np.unravel_index(rises.argmax(), rises.shape)
    _, acts = ji.run(model, tokens[0], capture=[f"pattern[{best[0]}]"], logits=False)
    found = (
        f"{len(strong)} of {induction.size} heads score {BAR} or more: {listed([f'{layer}.{head}' for layer, head in strong])}."
        if strong
        else f"No head reaches {BAR}, so this model has no clear induction head by that bar."
    )
    ranking = sorted(np.ndindex(induction.shape), key=lambda where: -induction[where])[:5]
    verdict = (
        "The model copies from its context"
        if new - late > 0.5
        else "The model hardly copies from its context"
    )
    return Finding(
        "Induction heads",
        [
            f"The model reads {PROMPTS} prompts of {SPAN} random tokens, twice over. Only the first round can foretell the second: "
            f"there the mean loss is {viz.number(late)} nats, and {viz.number(new)} where {SPAN} new random tokens follow instead "
            f"(a uniform guess costs {viz.number(np.log(model.config.vocab))}). {verdict}.",
            "An induction head looks from a token back to what followed it the first time. Its score is the attention it "
            f"pays there, averaged over the second round; spread evenly, attention would score about {viz.number(1 / (1.5 * SPAN))}. "
            f"{found} The best is head {best[0]}.{best[1]} with {viz.number(induction[best])}.",
            f"The test by intervention: each head's output is set to zero in turn (one `jax.vmap` over {induction.size} edits). "
            f"The second round's loss rises most without head {worst[0]}.{worst[1]}, by {viz.number(rises[worst])} nats; "
            f"without the head with the best score, by {viz.number(rises[best])}; in the median over all heads, "
            f"by {viz.number(np.median(rises))}.",
            Table(
                ["head", "induction score", "previous-token score", "rise of the loss without it"],
                [[f"{layer}.{head}", float(induction[layer, head]), float(previous[layer, head]), float(rises[layer, head])] for layer, head in ranking],
                title="The five heads with the best scores",
            ),
            viz.lines({"the same tokens again": losses, "new tokens": control}, x=np.arange(1, len(losses) + 1), x_axis="position", y_axis="nats",
                      marks={"second round": first + SPAN}, title="Mean loss on random tokens"),
            viz.heatmap(induction, row_axis="layer", col_axis="head", value="score", limits=(0, 1), title="Induction score of every head"),
            viz.heatmap(rises, row_axis="layer", col_axis="head", value="nats", diverging=True, title="Rise of the second round's loss without one head"),
            viz.attention(
                acts[f"pattern[{best[0]}]"], tokenizer.tokens(tokens[0]), heads=[f"{best[0]}.{head}" for head in range(model.config.heads)],
                selected=int(best[1]), title=f"Attention of layer {best[0]} on the first prompt",
                caption="An induction head shows a stripe: in the second round, each query reads the key one after its own first time.",
            ),
        ],
        {"induction": induction, "previous": previous, "strong": strong, "best": tuple(map(int, best)),
         "loss_repeated": float(late), "loss_new": float(new), "rises": rises},
    )  # fmt: skip


def repeated_tokens(
    model: Any, tokenizer: Any, *, seed: int = 0, repeat: bool = True
) -> tuple[Any, int]:
    """Prompts (batch, pos) of a block of distinct random tokens twice, and where the block begins.

    With `repeat=False` other tokens take the place of the second round, for comparison.
    """
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    vocab = min(tokenizer.vocab, model.config.vocab)
    # Byte-pair vocabularies are ordered by frequency: leave out the bytes and the rarest tenth.
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (len(bos), vocab)
    if high - low < 2 * SPAN or len(bos) + 2 * SPAN > model.config.ctx:
        raise NotForThisModel(f"{2 * SPAN} different tokens do not fit its vocabulary of {vocab} and context of {model.config.ctx}.")  # fmt: skip
    rng = np.random.default_rng(seed)
    drawn = [low + rng.choice(high - low, 2 * SPAN, replace=False) for _ in range(PROMPTS)]
    rows = [
        np.concatenate([bos, ids[:SPAN], ids[:SPAN] if repeat else ids[SPAN:]]) for ids in drawn
    ]
    return jnp.asarray(np.stack(rows), jnp.int32), len(bos)


def scores(model: Any, tokens: Any, first: int) -> tuple[Any, Any, Any]:
    """Induction and previous-token scores (layer, head), and the mean loss (pos) of each next token."""
    logits, acts = ji.run(model, tokens, capture=["pattern"])
    pattern = acts["pattern"].mean(1)  # (layer, head, query, key), over the prompts
    queries = jnp.arange(first + SPAN, first + 2 * SPAN)
    induction = pattern[:, :, queries, queries - SPAN + 1].mean(-1)
    queries = jnp.arange(first + 1, first + 2 * SPAN)
    previous = pattern[:, :, queries, queries - 1].mean(-1)
    return (
        np.asarray(induction),
        np.asarray(previous),
        np.asarray(token_losses(logits, tokens).mean(0)),
    )


def token_losses(logits: Any, tokens: Any) -> Any:
    """-log p of each next token, (*batch, pos - 1)."""
    logprobs = jax.nn.log_softmax(logits[..., :-1, :].astype(jnp.float32))
    return -jnp.take_along_axis(logprobs, tokens[..., 1:, None], -1)[..., 0]


def ablations(model: Any, tokens: Any, first: int) -> Any:
    """How much the second round's loss rises when one head is set to zero, (layer, head)."""
    tokens = tokens[: PROMPTS // 2]

    def second_round(edits: Any) -> Any:
        logits, _ = ji.run(model, tokens, edits=edits)
        return token_losses(logits, tokens)[:, first + SPAN - 1 :].mean()

    def without(layer: Any, head: Any) -> Any:
        return second_round([ji.zero("z", layer=layer, head=head)])

    grid = jnp.arange(model.config.layers), jnp.arange(model.config.heads)
    over_heads = jax.vmap(without, (None, 0))
    # One layer at a time keeps the logits of all runs from being in memory at once.
    losses = jax.jit(
        lambda layers, heads: jax.lax.map(lambda layer: over_heads(layer, heads), layers)
    )(*grid)
    return np.asarray(losses - second_round([]))
