"""The commands of a blind study: `jaxinterp sae rating-study` makes one, `jaxinterp sae rate` serves it."""

from pathlib import Path

import click

from .._text import line
from ._command import MODEL, say
from ._dictionary import opened
from ._sae import _DICTIONARY, _MODEL, _SITE, sae
from ._texts import packed, texts, unused


@sae.command("rating-study", epilog=MODEL, short_help="Make a blind study of its features and of neurons.")
@_DICTIONARY
@texts
@_MODEL
@_SITE
@click.option(
    "--neurons",
    required=True,
    metavar="SITE[LAYER]",
    help='The neurons to compare with, such as "mlp_post[2]" for those of layer 2.',
)
@click.option(
    "--units",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many features to draw, and how many neurons.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="A number that chooses which features and neurons are drawn.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("study"),
    show_default=True,
    help="The folder to write. The file OUT.key.json beside it says what each item is.",
)
def rating_study(
    dictionary: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    model: str | None,
    site: str | None,
    neurons: str,
    units: int,
    seed: int,
    out: Path,
) -> None:
    """Write a blind study: contexts of features and contexts of neurons, mixed, to be rated by a person.

    The person who rates does not see which item is a feature and which a neuron. Rate the items with
    jaxinterp sae rate; its --results compares the two groups.

    \b
    Example:
      jaxinterp sae rating-study my_dictionary texts/ --neurons "mlp_post[2]" --out study
      jaxinterp sae rate study
    """
    import jax
    import numpy as np

    from .. import data as corpora
    from .. import sae as dictionaries

    if "[" not in neurons:
        raise ValueError(
            f'The neurons are those of one layer: --neurons "{line(neurons)}[2]"; got --neurons {line(neurons)}.'
        )
    if out.exists():
        raise ValueError(
            f"{line(out)} exists already. jaxinterp sae rate {line(out)} continues a study, and a new study needs a new name: --out NAME."
        )
    found, loaded, tokenizer = opened(dictionary, model, data)
    corpus = packed(tokenizer, loaded, data, ctx, most, chars)
    d = np.asarray(corpora.activations(loaded, corpus.tokens[:1], neurons, progress=False)).shape[-1]
    groups = {"features": (found, site), "neurons": (dictionaries.Neurons(d), neurons)}
    path = dictionaries.rating_study(
        out, groups, loaded, tokenizer, corpus, units=units, key=jax.random.key(seed)
    )
    key = path.with_name(f"{path.name}.key.json")
    say(f"Wrote {line(path)} and {line(key)}; rate it with jaxinterp sae rate {line(path)}.")


@sae.command(short_help="Rate the items of a blind study in a browser.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port of this machine that the page is at; 0 takes a free one.",
)
@click.option("--results", is_flag=True, help="Print the results of the ratings so far, and show no page.")
def rate(folder: Path, port: int, results: bool) -> None:
    """Show the blind study in FOLDER as a web page that only this machine can see, until every item is rated.

    Ctrl-C stops. Each answer is saved at once, and the same command goes on with the first item that has
    no answer.
    """
    from .. import sae as dictionaries

    if not (folder / "items.jsonl").is_file():
        raise ValueError(
            f"There is no study in {line(folder)}: it has no items.jsonl. Make one: jaxinterp sae rating-study DICTIONARY DATA --out NAME."
        )
    if results:
        unused("--results shows no page.", "port")
        found = dictionaries.ratings(folder)
        say(f"{found['rated']} of {found['items']} items are rated.")
        for name, group in found["groups"].items() if found["rated"] else ():
            say(
                f"{line(name)}: median {group['median']} of 14, over {group['rated']} items of {group['units']} units"
            )
        paired = found.get("paired")
        if paired is not None and paired["pairs"]:
            say("pairs: " + ", ".join(f"{k} {v}" for k, v in paired.items()))
        return
    with dictionaries.rate(folder, port=port) as page:
        say(f"{page.left} items to rate at {page.url}\nCtrl-C stops; answers are kept.")
        try:
            while not page.wait(1):
                pass
            say("All is rated.")
        except KeyboardInterrupt:
            say(f"{page.left} items are left.")
