"""Chapter 2: the logit lens, what the model would say if it stopped after each layer.

nostalgebraist 2020, "interpreting GPT: the logit lens".
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
from ._chapter import Finding, Table, code, percent
from ._model import story
from ._shown import shown


@dataclasses.dataclass(frozen=True)
class LensReading:
    """Best guesses (layer, pos, guess): the first row reads the embedding, the last is the output."""

    tokens: list[str]
    layers: list[str]
    guesses: np.ndarray
    probs: np.ndarray
    agrees: np.ndarray
    "Whether each layer's best guess is already the output's (layer, pos)."
    kl: np.ndarray
    "Nats between the output's distribution and each layer's (layer, pos)."
    gap: float
    "The largest difference between the last row's logits and the model's own."


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    text, bos = story(model, tokenizer)[0], tokenizer.bos_id is not None
    # <lens>
    tokens = tokenizer(text, bos=bos)
    lens = ji.lens.logit_lens(model, tokens)  # (layer + 1, pos, vocab): the embedding first, the output last
    figure = ji.viz.lens_table(
        tokens,
        lens,
        tokenizer=tokenizer,
        layers=["embedding", *(f"layer {i}" for i in range(model.config.layers))],
        title="The likeliest next token, read after each layer",
    )
    # </lens>
    table = figure
    # <distance>
    log_probs = jax.nn.log_softmax(lens.astype(jnp.float32))
    distance = (jnp.exp(log_probs[-1:]) * (log_probs[-1:] - log_probs)).sum(-1)  # (layer + 1, pos)
    figure = ji.viz.lines(
        {"mean over positions": distance.mean(1), "last position": distance[:, -1]},
        x_axis="layers read",
        y_axis="KL to the output (nats)",
        title="How far each layer's guess is from the output",
    )
    # </distance>
    reading = logit_lens(model, tokenizer, tokens)
    agree, kl = reading.agrees.mean(1), reading.kl.mean(1)
    final = code(str(reading.guesses[-1, -1, 0]))
    settled = int(np.argmax(np.logical_and.accumulate(reading.agrees[::-1, -1])[::-1]))
    return Finding(
        "What each layer would say next",
        "The last word of the sentence is the answer: after which layer can it be read?",
        "The table shows the likeliest next token at each position, read after each layer, and the curves how far these guesses are from the output.",
        [
            shown(chapter, "lens", table, text=text),
            "The logit lens sends the residual stream after each layer straight to the output: the last norm and the "
            "unembedding. The row on top is the model's own output "
            f"(its logits agree with those of `ji.run` within {reading.gap:.1e}).",
            f"At the end of the text the model says {final} with {percent(reading.probs[-1, -1, 0])}. That is the best guess of "
            f"every row from {reading.layers[settled]!r} on. Over the {len(reading.tokens)} positions, the best guess of the embedding "
            f"is the final one at {percent(agree[0])}, and of the layers in turn at {', '.join(map(percent, agree[1:]))}; "
            f"the distance to the output's distribution goes from {viz.number(kl[0])} nats to "
            f"{viz.number(kl[-2])} before the last layer.",
            shown(chapter, "distance", figure),
            lens_guesses_table(reading),
        ],
        {"agree": agree.tolist(), "kl": kl.tolist(), "gap": reading.gap, "settled": settled},
    )


def logit_lens(model: LoadedModel, tokenizer: Tokenizer, tokens: Array, *, top: int = 5) -> LensReading:
    """Reads the residual stream of `tokens` (pos,) after every layer."""
    logits, _ = ji.run(model, tokens)
    lens = ji.lens.logit_lens(model, tokens)
    logprobs = jax.nn.log_softmax(lens.astype(jnp.float32))
    probs, ids = jax.lax.top_k(jnp.exp(logprobs), min(top, lens.shape[-1]))
    kl = (jnp.exp(logprobs[-1:]) * (logprobs[-1:] - logprobs)).sum(-1)
    ids = np.asarray(ids)
    guesses = np.array([tokenizer.tokens(row) for row in ids.reshape(-1, ids.shape[-1])], object)
    return LensReading(
        tokens=tokenizer.tokens(tokens),
        layers=["embedding", *(f"layer {i}" for i in range(len(lens) - 1))],
        guesses=guesses.reshape(ids.shape),
        probs=np.asarray(probs),
        agrees=ids[..., 0] == ids[-1:, :, 0],
        kl=np.asarray(kl),
        gap=float(jnp.abs(lens[-1] - logits).max()),
    )


def lens_guesses_table(reading: LensReading) -> Table:
    """The guesses at the last position, a row per layer."""
    cells = [
        [f"{viz.visible(token)} {percent(p)}" for token, p in zip(guesses, probs, strict=True)]
        for guesses, probs in zip(reading.guesses[:, -1], reading.probs[:, -1], strict=True)
    ]
    columns = ["read after", *(f"guess {i + 1}" for i in range(reading.guesses.shape[-1]))]
    rows = [[layer, *row] for layer, row in zip(reading.layers, cells, strict=True)]
    return Table(columns, rows, title="Guesses for the token after the last")


def lens_figure(reading: LensReading, *, title: str) -> viz.Figure:
    """The whole table, layers by positions."""
    return viz.lens_table(
        reading.tokens,
        reading.guesses,
        reading.probs,
        layers=reading.layers,
        title=title,
        settings=viz.HeatmapSettings(
            caption="Each cell is the best guess for the token after the one above its column, read after the layer of its "
            "row; the colour is its probability. Hover for more guesses."
        ),
    )
