"""Chapter 5: induction heads, found on random tokens that come twice.

Elhage et al. 2021, Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ..typing import IndexLike
from ._chapter import Finding, NotForThisModel, Table, listed

SPAN, PROMPTS, BAR = 25, 8, 0.4


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    tokens, first = repeated_tokens(model, tokenizer)
    fresh, _ = repeated_tokens(model, tokenizer, repeat=False)
    reading, control = read(model, tokens, first), read(model, fresh, first)
    induction, previous = reading.induction, reading.previous
    best = np.unravel_index(induction.argmax(), induction.shape)
    strong = [tuple(map(int, where)) for where in np.argwhere(induction >= BAR)]
    late, new = (
        reading.losses[:, first + SPAN - 1 :].mean(),
        control.losses[:, first + SPAN - 1 :].mean(),
    )
    rises = ablations(model, tokens, first, reading.losses)
    worst = np.unravel_index(rises.argmax(), rises.shape)
    found = (
        f"{len(strong)} of {induction.size} heads score {BAR} or more: {listed([f'{layer}.{head}' for layer, head in strong])}."
        if strong
        else f"No head reaches {BAR}, so this model has no clear induction head by that bar."
    )
    looks_back = np.unravel_index(previous.argmax(), previous.shape)
    ranked = [np.argsort(-grid, axis=None)[:3] for grid in (induction, previous, rises)]
    notable = [np.unravel_index(i, induction.shape) for i in dict.fromkeys(np.concatenate(ranked).tolist())]
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
            f"The test by intervention: each head's output is set to zero in turn (`jax.vmap` over {induction.size} edits). "
            f"The second round's loss rises most without head {worst[0]}.{worst[1]}, by {viz.number(rises[worst])} nats; "
            f"without the head with the best score, by {viz.number(rises[best])}; in the median over all heads, "
            f"by {viz.number(np.median(rises))}. ",
            "An induction head usually reads what a previous-token head in an earlier layer wrote. Here the head that looks most at the "
            f"token just before it is {looks_back[0]}.{looks_back[1]}, with a mean attention of {viz.number(previous[looks_back])}; "
            f"without it the loss rises by {viz.number(rises[looks_back])} nats.",
            Table(
                ["head", "induction score", "previous-token score", "rise of the loss without it"],
                [
                    [f"{layer}.{head}", *(float(grid[layer, head]) for grid in (induction, previous, rises))]
                    for layer, head in notable
                ],
                title="Heads that stand out: the first three by each column",
            ),
            viz.lines(
                {"the same tokens again": reading.losses.mean(0), "new tokens": control.losses.mean(0)},
                x=np.arange(1, tokens.shape[1]),
                marks={"second round": first + SPAN},
                x_axis="position",
                y_axis="nats",
                title="Mean loss on random tokens",
            ),
            viz.heatmap(
                induction,
                axis_names=("layer", "head"),
                value="score",
                title="Induction score of every head",
                settings=viz.HeatmapSettings(limits=(0, 1)),
            ),
            viz.heatmap(
                rises,
                axis_names=("layer", "head"),
                value="nats",
                title="Rise of the second round's loss without one head",
                settings=viz.HeatmapSettings(diverging=True),
            ),
            viz.attention(
                reading.pattern[best[0]],
                tokenizer.tokens(tokens[0]),
                heads=[f"{best[0]}.{head}" for head in range(model.config.heads)],
                selected=int(best[1]),
                title=f"Attention of layer {best[0]} on the first prompt",
                caption="An induction head shows a stripe: in the second round, each query reads the key one after its own first time.",
            ),
        ],
        {
            "induction": induction,
            "previous": previous,
            "strong": strong,
            "best": tuple(map(int, best)),
            "loss_repeated": float(late),
            "loss_new": float(new),
            "rises": rises,
        },
    )


def repeated_tokens(
    model: LoadedModel, tokenizer: Tokenizer, *, seed: int = 0, repeat: bool = True
) -> tuple[Array, int]:
    """Prompts (batch, pos) of a block of distinct random tokens twice, and where the block begins.

    With `repeat=False` other tokens take the place of the second round, for comparison.
    """
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    vocab = min(tokenizer.vocab, model.config.vocab)
    # Byte-pair vocabularies are ordered by frequency: leave out the bytes and the rarest tenth.
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (len(bos), vocab)
    if high - low < 2 * SPAN or len(bos) + 2 * SPAN > model.config.ctx:
        raise NotForThisModel(
            f"{2 * SPAN} different tokens do not fit its vocabulary of {vocab} and context of {model.config.ctx}."
        )
    rng = np.random.default_rng(seed)
    drawn = [low + rng.choice(high - low, 2 * SPAN, replace=False) for _ in range(PROMPTS)]
    rows = [np.concatenate([bos, ids[:SPAN], ids[:SPAN] if repeat else ids[SPAN:]]) for ids in drawn]
    return jnp.asarray(np.stack(rows), jnp.int32), len(bos)


@dataclasses.dataclass(frozen=True)
class HeadReading:
    """Scores (layer, head), losses of each next token (prompt, pos), attention on the first prompt."""

    induction: np.ndarray
    previous: np.ndarray
    losses: np.ndarray
    pattern: np.ndarray


def read(model: LoadedModel, tokens: Array, first: int) -> HeadReading:
    """Runs the prompts once and reads all that the chapter needs."""
    logits, acts = ji.run(model, tokens, capture=["pattern"])
    pattern = np.asarray(acts["pattern"])
    mean = pattern.mean(1)  # (layer, head, query, key), over the prompts
    second = np.arange(first + SPAN, first + 2 * SPAN)
    later = np.arange(first + 1, first + 2 * SPAN)
    return HeadReading(
        induction=mean[:, :, second, second - SPAN + 1].mean(-1),
        previous=mean[:, :, later, later - 1].mean(-1),
        losses=np.asarray(token_losses(logits, tokens)),
        pattern=pattern[:, 0],
    )


def token_losses(logits: Array, tokens: Array) -> Array:
    """-log p of each next token, (*batch, pos - 1)."""
    logprobs = jax.nn.log_softmax(logits[..., :-1, :].astype(jnp.float32))
    return -jnp.take_along_axis(logprobs, tokens[..., 1:, None], -1)[..., 0]


def ablations(model: LoadedModel, tokens: Array, first: int, losses: np.ndarray) -> np.ndarray:
    """How much the second round's loss rises above `losses` when one head is zero, (layer, head)."""
    prompts, second = tokens[: PROMPTS // 2], slice(first + SPAN - 1, None)

    def without(layer: IndexLike, head: IndexLike) -> Array:
        logits, _ = ji.run(model, prompts, edits=[ji.zero("z", layer=layer, head=head)])
        return token_losses(logits, prompts)[:, second].mean()

    def every_head(layer: IndexLike) -> Array:
        return jax.vmap(without, (None, 0))(layer, jnp.arange(model.config.heads))

    # One layer at a time, so that the logits of all runs are not in memory at once.
    each = jax.jit(lambda layers: jax.lax.map(every_head, layers))(jnp.arange(model.config.layers))
    return np.asarray(each) - losses[: len(prompts), second].mean()
