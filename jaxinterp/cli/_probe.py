"""The command `jaxinterp probe`: which neurons distinguish classes of texts."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import click

from .._text import line
from ._command import MODEL, Command, Number, choice, given, say
from ._texts import CTX, context_length, reader


def _numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> list[int] | None:
    """`0,3,8:11` as [0, 3, 8, 9, 10]."""
    if text is None:
        return None
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, end = part.partition(":")
        if not first.strip().isdecimal() or (end and not end.strip().isdecimal()):
            raise click.BadParameter(f"numbers such as 1,2,4 or 0:6, not {part!r}")
        if end and int(end) <= int(first):
            raise click.BadParameter(f"8:12 is 8 to 11, so the end is larger than the start; not {part!r}")
        found += range(int(first), int(end)) if end else [int(first)]
    return found


@click.command(cls=Command, epilog=MODEL, short_help="Find the neurons that tell classes of texts apart.")
@click.argument("model")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--site",
    default="mlp_post",
    show_default=True,
    help="Which activations to read, by the name of a site that every layer has.",
)
@click.option(
    "--layers",
    callback=_numbers,
    metavar="0,5,8:12",
    help="Which layers to read; 8:12 is 8 to 11. [default: all]",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=choice("single", "mean_diff", "adaptive", "elastic", "best_subset", "dense"),
    default=["single", "adaptive"],
    show_default=True,
    help="How neurons are chosen: single takes the best one alone, adaptive and best_subset the best few "
    "together. May be given several times.",
)
@click.option(
    "--ks",
    callback=_numbers,
    default="1,2,4,8,16,32,64",
    show_default=True,
    help="How many neurons a probe may read, as a list of numbers to try. The default leaves out numbers that are "
    "larger than the site or half of the contexts.",
)
@click.option(
    "--exact",
    callback=_numbers,
    default="1,2",
    show_default=True,
    help='For which numbers of neurons to prove, at the best layer, that no other choice is better; "" for none.',
)
@click.option(
    "--time-limit",
    type=Number(min=0),
    default=5.0,
    show_default=True,
    help="How many seconds each proof may take.",
)
@click.option(
    "--reduce",
    type=choice("mean", "max", "last"),
    default="mean",
    show_default=True,
    help="How the tokens of a context become one number per neuron: their mean, their maximum, or the last.",
)
@CTX
@click.option(
    "--most",
    type=click.IntRange(min=2),
    default=500,
    show_default=True,
    help="How many documents of each file to read, drawn at random.",
)
@click.option(
    "--chars",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="How many characters of each document to read: an excerpt of so many.",
)
@click.option("--all-contexts", is_flag=True, help="Use all contexts of an excerpt, and not its first alone.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="A number that chooses the examples, the split into training and test, and the intervals.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results to this file (.jsonl), or go on from those that it has.",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the activations in this folder. [default: a folder beside --out]",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures to this file, a web page (.html).",
)
def probe(
    model: str,
    data: tuple[Path, ...],
    site: str,
    layers: list[int] | None,
    methods: tuple[str, ...],
    ks: list[int],
    exact: list[int],
    time_limit: float,
    reduce: str,
    ctx: int,
    most: int,
    chars: int,
    all_contexts: bool,
    seed: int,
    out: Path | None,
    store: Path | None,
    plot: Path | None,
) -> None:
    """Find the neurons of MODEL that distinguish the classes in DATA, and how few are enough.

    DATA is a folder with one file per class, such as de.txt and fr.txt (documents parted by blank
    lines, or one to a line), or files; .jsonl, .csv and .tsv with a "text" and a "label" on each line;
    each also .xz or .gz; .parquet. Each class is compared with all others together. No document is used
    for both training and testing.

    With --out the same command goes on where it was interrupted.

    \b
    Examples:
      jaxinterp probe tiny languages/
      jaxinterp probe gpt2 languages/ --out study.jsonl --plot study.html
      jaxinterp probe tiny de.txt fr.txt --layers 1,2 --method single --exact 1,2,3
    """
    import jax
    import numpy as np
    from rich.console import Console

    from .. import data as texts
    from .. import probes, viz
    from .._disk import LineWriter

    if plot is not None:
        viz.check_page(plot)
    if out is not None:
        LineWriter(out)  # its name is checked before anything runs
    documents = list(texts.read_texts(*data, most=most, chars=chars, key=jax.random.key(seed)))
    classes = sorted({str(document.label) for document in documents})
    if len(classes) < 2:
        raise ValueError(
            f"A probe distinguishes classes, and the texts are all of {classes[0] if classes else 'none'!r}. Give one file per class: de.txt fr.txt."
        )
    loaded, tokenizer = reader(model)
    ctx = context_length(loaded, ctx)
    corpus = texts.pack(tokenizer, documents, ctx=ctx, bos=tokenizer.bos_id is not None)
    if not all_contexts:
        corpus = texts.take(corpus, np.unique(corpus.groups, return_index=True)[1])
    labels = corpus.labels.astype(str)
    features = {name: labels == name for name in classes if (labels == name).any()}
    for name in sorted({*classes} - {*features}):
        say(f"Warning: No context came of the texts of {line(name)}: this class is left out.", err=True)
    console = Console()
    console.print(
        f"{line(model)}: {len(corpus)} contexts of {ctx}, {', '.join(f'{int(y.sum())} {line(name)}' for name, y in features.items())}",
        markup=False,
        highlight=False,
    )
    if out is not None and store is None:
        store = out.with_name(f"{out.stem}.activations")
    common: Any = {"key": jax.random.key(seed), "out": out, "store": store}
    reading = probes.StudySettings(site=site, reduce=reduce, name=model, time_limit=time_limit)
    width = _width(loaded, site)
    if not given("ks"):
        ks = [k for k in ks if k <= max(1, min(width, len(corpus) // 2))]
    _check("--ks", ks, width, len(corpus))
    _check("--exact", exact, width, len(corpus))
    settings = dataclasses.replace(reading, layers=layers, methods=list(dict.fromkeys(methods)), ks=ks)
    records = probes.study(loaded, corpus, features, settings=settings, **common)
    if "single" in methods:
        if exact:
            records += probes.prove_best(
                loaded, corpus, features, records, ks=exact, settings=reading, **common
            )
        console.print(probes.best_table(records, title="The best neuron (layer.neuron) of each class"))
    many = [name for name in ("adaptive", "elastic", "mean_diff", "best_subset") if name in methods]
    if many:
        console.print(
            probes.scaling_table(
                probes.scaling(records, method=many[0]),
                title=f"How many suffice ({many[0]}, best of all layers)",
            )
        )
    if out is not None:
        say(f"{len(records)} records in {line(out)}.")
    if plot is not None:
        say(f"Wrote {line(viz.write(plot, probes.study_page(records, title=f'Probing {model}')))}.")


def _width(model: Any, site: str) -> int:
    """How many neurons a layer has at a site; of no site of layers, which a study refuses, no number is too large."""
    import jax
    import jax.numpy as jnp

    from .. import sites
    from ..core import SITES

    place = SITES.get(site)
    if place is None or not place.per_layer:
        return sys.maxsize
    found = sites(model, jax.ShapeDtypeStruct((2,), jnp.int32))
    return math.prod(found[site].shape[2:]) if site in found else sys.maxsize


def _check(option: str, numbers: list[int], width: int, contexts: int) -> None:
    """Raises ValueError for numbers of neurons that no probe can read, before anything runs."""
    wrong = [k for k in numbers if not 1 <= k <= min(width, contexts)]
    if wrong:
        most = f"a layer has {width} neurons" if width <= contexts else f"there are {contexts} contexts"
        raise ValueError(f"{option} names numbers of neurons from 1 on, and {most}; got {option} {wrong[0]}.")
