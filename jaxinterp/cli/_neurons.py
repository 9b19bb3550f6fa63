"""The commands `jaxinterp neurons`: where neurons are active, and what they are worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._text import grid, line, number
from ._command import MODEL, CommandGroup, choice, draw, say
from ._texts import checked_plot, packed, reader, texts


@click.group(cls=CommandGroup, short_help="Study neurons and layers on texts.")
def neurons() -> None:
    """Study single neurons and whole layers on texts: when they are active, and what they are worth.

    A neuron is written LAYER.NEURON: 3.314 is neuron 314 of layer 3. The texts in DATA are files or
    folders of files, one file for each class of text: .txt, .jsonl, .csv, .tsv, .parquet.
    """


_NEURONS = click.option(
    "--neuron",
    "chosen",
    multiple=True,
    required=True,
    metavar="LAYER.NEURON",
    help="A neuron, such as 3.314 for neuron 314 of layer 3. May be given several times.",
)


def opened(
    model: str, data: tuple[Path, ...], ctx: int, most: int, chars: int, plot: Path | None = None
) -> tuple[Any, Any, Any]:
    """The model, its tokenizer and the texts, once the name of the figure is one that can be written."""
    checked_plot(plot)
    loaded, tokenizer = reader(model)
    return loaded, tokenizer, packed(tokenizer, loaded, data, ctx, most, chars)


def show(records: Sequence[dict[str, Any]], columns: Sequence[str], title: str) -> None:
    """Some columns of a table of records; numbers with three digits."""
    cells = [
        [number(v) if isinstance(v := each[column], float) else v for column in columns] for each in records
    ]
    draw(grid([column.replace("_", " ") for column in columns], cells, title=title))


def write(figure: Any, path: Path | None) -> None:
    if path is not None:
        say(f"Wrote {line(figure().save(path))}.")


@neurons.command(epilog=MODEL, short_help="Show the contexts in which a neuron is most active.")
@click.argument("model")
@texts
@_NEURONS
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many contexts to show for each neuron.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the contexts of the first neuron as a web page (.html), with tokens shaded by activation.",
)
def contexts(
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    chosen: tuple[str, ...],
    top: int,
    plot: Path | None,
) -> None:
    """Show the contexts in the texts of DATA in which neurons of MODEL are most active.

    \b
    Example:
      jaxinterp neurons contexts tiny texts/ --neuron 3.314 --plot neuron.html
    """
    from .. import neurons as cases
    from .._text import visible
    from ..viz import check_page

    if plot is not None:
        check_page(plot)  # contexts are text
    loaded, tokenizer, corpus = opened(model, data, ctx, most, chars)
    found = cases.top_contexts(loaded, corpus, list(chosen), top=top)
    for i, name in enumerate(chosen):
        rows = found.records(tokenizer, i)
        shown = [
            row | {"token": visible(row["token"]), "context": visible("".join(row["tokens"]))} for row in rows
        ]
        show(shown, ("activation", "class", "token", "context"), f"Neuron {name}")
    write(lambda: found.figure(tokenizer), plot)


@neurons.command(epilog=MODEL, short_help="Measure how much worse a model predicts without some neurons.")
@click.argument("model")
@texts
@_NEURONS
@click.option(
    "--to",
    type=choice("zero", "mean"),
    default="zero",
    show_default=True,
    help="What the neurons are set to: 0, or their mean over the texts.",
)
def ablate(
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    chosen: tuple[str, ...],
    to: str,
) -> None:
    """Measure how much worse MODEL predicts each class of text when neurons are switched off.

    base is the loss in nats per token, and increase is by how much it rises. low and high are the ends of
    a 95% interval over documents.

    \b
    Example:
      jaxinterp neurons ablate tiny texts/ --neuron 3.314 --neuron 3.612
    """
    from .. import neurons as cases

    loaded, _, corpus = opened(model, data, ctx, most, chars)
    found = cases.ablation(loaded, corpus, list(chosen), to=to)
    columns = ("ablated", "class", "base", "increase", "low", "high", "documents")
    show(found.records(), columns, "Nats per token")
