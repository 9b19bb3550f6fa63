"""The commands `jaxinterp heads` and `jaxinterp attention`: what attention heads do, and what they look at."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from .._text import line
from ._command import MODEL, Command, Number, choice, say
from ._neurons import show, write
from ._texts import checked_plot, prompt, reader, unused, waiting

KINDS = ("induction", "prefix", "previous", "duplicate", "current", "first", "copying", "copying_behaviour")
_PLOT = click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a figure to this file: a web page (.html) or a picture (.png, .pdf, .svg).",
)


@click.command(
    cls=Command, epilog=MODEL, short_help="Score every attention head: which copy, which look back?"
)
@click.argument("model")
@click.option(
    "--kind",
    type=choice(*KINDS),
    default="induction",
    show_default=True,
    help="The score by which the table is sorted, and which the figure shows.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many heads the table shows."
)
@click.option(
    "--threshold",
    type=Number(),
    default=0.4,
    show_default=True,
    help="The score from which on the summary names a head.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="A number that chooses the random prompts; the same number gives the same prompts.",
)
@_PLOT
def heads(model: str, kind: str, top: int, threshold: float, seed: int, plot: Path | None) -> None:
    """Score every attention head of MODEL on random tokens that come twice.

    "induction" is the attention paid to the token after an earlier copy of the present one, "previous"
    to the token just before, "duplicate" to earlier copies, "current" to the token itself, "first" to the
    first token; these are shares of the head's attention, from 0 to 1. "copying" says from the weights
    whether a head raises the tokens that it reads, from -1 to 1, and "copying_behaviour" measures it.

    \b
    Examples:
      jaxinterp heads tiny
      jaxinterp heads gpt2 --kind previous --top 5 --plot heads.html
    """
    import jax

    from .. import heads as scores
    from .. import viz

    checked_plot(plot)
    loaded, tokenizer = reader(model, tokens=False)
    with waiting("Scoring heads: compiling and running"):
        bos = None if tokenizer is None else tokenizer.bos_id
        found = scores.summary(loaded, key=jax.random.key(seed), threshold=threshold, bos=bos)
        values = np.asarray(found[kind])
    say(found)
    order = np.argsort(-values, axis=None, kind="stable")[:top]
    rows = []
    for layer, head in zip(*np.unravel_index(order, values.shape), strict=True):
        each = {name: round(float(np.asarray(found[name])[layer, head]), 3) for name in KINDS}
        rows.append({"head": f"{layer}.{head}", **each})
    columns = dict.fromkeys(("head", kind, "induction", "previous", "duplicate", "first", "copying"))
    show(rows, tuple(columns), f"The heads (layer.head) that score highest by {kind}")
    settings = viz.HeatmapSettings(limits=None if kind.startswith("copying") else (0, 1))
    write(
        lambda: viz.heatmap(
            values,
            axis_names=("layer", "head"),
            value=kind,
            title=f"Score of every head: {kind.replace('_', ' ')}",
            settings=settings,
        ),
        plot,
    )


@click.command(
    cls=Command, epilog=MODEL, short_help="Show which tokens the attention heads look at in a text."
)
@click.argument("model")
@click.argument("text")
@click.option(
    "--position",
    type=int,
    default=-1,
    show_default=True,
    help="The token that looks, by its place in the text: 0 is the first, -1 the last.",
)
@click.option(
    "--layer", type=int, help="Only the heads of this layer; -1 is the last one. [default: all layers]"
)
@click.option(
    "--head",
    "chosen",
    multiple=True,
    metavar="LAYER.HEAD",
    help="Only this head, such as 3.1 for head 1 of layer 3. May be given several times.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many heads to show: those that look most at one token other than the first.",
)
@click.option(
    "--bos/--no-bos",
    default=False,
    show_default=True,
    help="Whether the model's first-token marker stands before the text.",
)
@_PLOT
def attention(
    model: str,
    text: str,
    position: int,
    layer: int | None,
    chosen: tuple[str, ...],
    top: int,
    bos: bool,
    plot: Path | None,
) -> None:
    """Show what attention heads of MODEL look at from one token of TEXT, by default from the last one.

    A row is a head (layer.head): the token that it looks at most, its place, the share of the attention
    that goes there, and the share that goes to the first token of the text, where many heads put
    attention that they do not use. The figure shows the whole pattern of the same heads.

    \b
    Examples:
      jaxinterp attention tiny "His name was Tom Martin. Everybody knew Tom"
      jaxinterp attention gpt2 "Mary gave John the book. John" --layer 5 --plot attention.html
      jaxinterp attention gpt2 "Mary gave John the book. John" --head 5.1 --head 6.9
    """
    from .. import run, viz
    from .._text import visible

    checked_plot(plot)
    if chosen:
        unused("--head chooses the heads that are shown.", "top")
    loaded, tokenizer = reader(model)
    ids = prompt(loaded, tokenizer, text, bos)
    here = _place(position, len(ids))
    wanted = _wanted(chosen, layer, loaded.config.layers, loaded.config.heads)
    with waiting("Attention: compiling and running"):
        _, acts = run(loaded, ids, capture=["pattern"], logits=False)
        pattern = np.asarray(acts["pattern"], np.float32)
    names = tokenizer.tokens(ids)
    rows = []
    for at, head in wanted:
        weights = pattern[at, head, here]
        best = int(np.argmax(weights[1:])) + 1 if here else 0
        rows.append(
            {
                "head": f"{at}.{head}",
                "looks at": visible(names[best]),
                "position": best,
                "attention": round(float(weights[best]), 4),
                "first token": round(float(weights[0]), 4),
            }
        )
    rows.sort(key=lambda row: -row["attention"])
    rows = rows if chosen else rows[:top]
    title = f"From token {here}, {visible(names[here])!r}"
    show(rows, ("head", "looks at", "position", "attention", "first token"), title)
    labels = [row["head"] for row in rows]
    places = [tuple(map(int, name.split("."))) for name in labels]
    write(
        lambda: viz.attention(
            np.stack([pattern[place] for place in places]),
            names,
            heads=labels,
            selected=0,
            title=f"Attention: {line(model)}",
        ),
        plot,
    )


def _place(position: int, count: int) -> int:
    if not -count <= position < count:
        raise ValueError(
            f"The text has {count} tokens, so --position is from {-count} to {count - 1}; got {position}."
        )
    return position % count


def _wanted(chosen: tuple[str, ...], layer: int | None, layers: int, heads: int) -> list[tuple[int, int]]:
    """The heads that were chosen, or all of a layer or of the model."""
    if chosen and layer is not None:
        raise ValueError(
            f"--layer and --head choose heads, so one of them is given; got --layer {layer} and --head {line(chosen[0])}. "
            "Leave out --layer."
        )
    if chosen:
        return [_address(name, layers, heads) for name in dict.fromkeys(chosen)]
    if layer is not None and not -layers <= layer < layers:
        raise ValueError(f"This model has the layers 0..{layers - 1}; got --layer {layer}.")
    within: Any = range(layers) if layer is None else [layer % layers]
    return [(at, head) for at in within for head in range(heads)]


def _address(name: str, layers: int, heads: int) -> tuple[int, int]:
    first, dot, second = name.partition(".")
    if not (dot and first.isdecimal() and second.isdecimal()):
        raise ValueError(f"A head is written LAYER.HEAD, as --head 3.1; got {line(name)!r}.")
    at, head = int(first), int(second)
    if at >= layers or head >= heads:
        raise ValueError(
            f"This model has the layers 0..{layers - 1} with the heads 0..{heads - 1}; got --head {line(name)}."
        )
    return at, head
