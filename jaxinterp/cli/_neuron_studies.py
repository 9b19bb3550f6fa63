"""The commands `jaxinterp neurons` that study a whole layer or model: confidence, universality, layers."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from .._text import line
from ._command import MODEL, Number, choice
from ._neurons import neurons, opened, show, write
from ._texts import reader, texts

_PLOT = click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a figure to this file: a web page (.html) or a picture (.png, .pdf, .svg).",
)
_CHECKPOINT = click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the measurements in this file (.npz). After an interruption the same command goes on from it.",
)


def _alike(model: str, tokenizer: Any, other: str) -> Any:
    """A model that reads the same tokens as another."""
    loaded, its = reader(other)
    ids = range(max(len(tokenizer), len(its)))
    if tokenizer.tokens(ids) != its.tokens(ids):
        raise ValueError(
            f"Neurons are compared token by token, so models need one tokenizer; those of {line(model)} ({len(tokenizer):,} "
            f"tokens) and {line(other)} ({len(its):,} tokens) differ. Give trainings of one model: --with seeds/seed1."
        )
    return loaded


@neurons.command(epilog=MODEL, short_help="Find the neurons of a layer that set how sure a model is.")
@click.argument("model")
@texts
@click.option(
    "--layer", type=int, default=-1, show_default=True, help="The layer to study; -1 is the last one."
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many neurons to print."
)
@_PLOT
@_CHECKPOINT
def confidence(
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    layer: int,
    top: int,
    plot: Path | None,
    checkpoint: Path | None,
) -> None:
    """Find the neurons of MODEL that set how sure it is, and not what it says (entropy neurons).

    They write into directions that no token reads, and act through the scale of the last normalisation.
    rho is the share of a neuron's output weights in these directions. total is the change of the loss in
    nats when the neuron is set to its mean, and mediated is the share of that change which goes through
    the scale.

    \b
    Example:
      jaxinterp neurons confidence tiny texts/ --plot confidence.html
    """
    from .. import neurons as cases

    loaded, _, corpus = opened(model, data, ctx, most, chars, plot)
    found = cases.entropy_neurons(loaded, corpus, layer, checkpoint=checkpoint)
    columns = ("neuron", "rho", "logit_var", "total", "direct", "mediated", "entropy")
    show(found.records()[:top], columns, f"{found.tokens:,} tokens, null space of {found.null.rank}")
    write(lambda: found.figure("rho", "mediated"), plot)


@neurons.command(epilog=MODEL, short_help="Find the neurons that several models share.")
@click.argument("model")
@texts
@click.option(
    "--with",
    "others",
    multiple=True,
    required=True,
    metavar="MODEL",
    help="Another model with the same tokenizer. May be given several times.",
)
@click.option(
    "--threshold",
    type=Number(),
    default=0.5,
    show_default=True,
    help="A neuron counts as universal when its excess correlation is above this number.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many neurons to print."
)
@_PLOT
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the measurements in files that begin with this name: NAME.1 for the first other model, and so on. After "
    "an interruption the same command goes on from them.",
)
def universal(
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    others: tuple[str, ...],
    threshold: float,
    top: int,
    plot: Path | None,
    checkpoint: Path | None,
) -> None:
    """Find the neurons of MODEL that other models have too: those whose activations on DATA are alike.

    The excess correlation of a neuron is its largest correlation with a neuron of another model, minus
    the largest one with neurons of that model in a random rotation.

    \b
    Example:
      jaxinterp neurons universal seeds/seed0 texts/ --with seeds/seed1 --with seeds/seed2
    """
    from .. import data as texts_of
    from .. import neurons as cases

    loaded, tokenizer, corpus = opened(model, data, ctx, most, chars, plot)
    keep = corpus.positions & texts_of.keep(corpus.mask, skip=1)  # BOS has activations like no other token
    corpus = dataclasses.replace(corpus, positions=keep)
    several = [loaded, *(_alike(model, tokenizer, other) for other in others)]
    found = cases.universal(several, corpus, threshold=threshold, checkpoint=checkpoint)
    columns = ("layer", "neurons", "universal", "share", "excess", "correlation", "baseline")
    show(found.layers(), columns, f"{100 * found.share:.1f}% of neurons are universal")
    rows = [row | {"partners": " ".join(row["partners"])} for row in found.records()[:top]]
    show(rows, ("neuron", "excess", "correlation", "partners"), "The most universal neurons")
    write(found.figure, plot)


@neurons.command(epilog=MODEL, short_help="Measure what each layer is worth: delete it, swap it, repeat it.")
@click.argument("model")
@texts
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=choice("delete", "swap", "repeat"),
    default=["delete", "swap"],
    show_default=True,
    help="What is done to a layer. May be given several times.",
)
@_PLOT
@_CHECKPOINT
def layers(
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    kinds: tuple[str, ...],
    plot: Path | None,
    checkpoint: Path | None,
) -> None:
    """Measure how the predictions of MODEL change when a layer is deleted, swapped or repeated.

    "swap" exchanges a layer with the next one. agreement is the share of predictions whose likeliest token
    stays the same, with a 95% interval over documents. kl is how far the predictions move, and loss how
    much worse they get, both in nats per token.

    \b
    Example:
      jaxinterp neurons layers tiny texts/ --kind delete --plot layers.html
    """
    from .. import neurons as cases

    loaded, _, corpus = opened(model, data, ctx, most, chars, plot)
    found = cases.layer_interventions(
        loaded, corpus, kinds=tuple(dict.fromkeys(kinds)), checkpoint=checkpoint
    )
    columns = ("kind", "layer", "agreement", "agreement_low", "agreement_high", "kl", "loss")
    title = f"{found.predictions:,} predictions in {found.documents} documents"
    show(found.records(), columns, title)
    write(found.figure, plot)
