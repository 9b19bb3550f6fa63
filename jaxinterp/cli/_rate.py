"""The commands of a blind study: `jaxinterp sae rating-study` makes one, `jaxinterp sae rate` serves it."""

from pathlib import Path

import click

from .._text import line
from ._command import MODEL, say
from ._sae import _DICTIONARY, _SITE, _opened, sae
from ._texts import packed, texts


@sae.command("rating-study", epilog=MODEL, short_help="Make a blind study of features and neurons.")
@_DICTIONARY
@click.argument("model")
@texts
@_SITE
@click.option(
    "--neurons",
    required=True,
    metavar="SITE[LAYER]",
    help='The neurons to compare with, such as "mlp_post[2]".',
)
@click.option(
    "--units",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Features, and as many neurons.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which are drawn.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("study"),
    show_default=True,
    help="The folder to write; OUT.key.json says what each item was.",
)
def rating_study(
    dictionary: Path,
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    site: str | None,
    neurons: str,
    units: int,
    seed: int,
    out: Path,
) -> None:
    """Write a blind study: intervals of features of DICTIONARY and of neurons of MODEL, mixed.

    \b
    Example:
      jaxinterp sae rating-study my_dictionary tiny texts/ --site "resid_post[2]" --neurons "mlp_post[2]"
      jaxinterp sae rate study
    """
    import jax
    import numpy as np

    from .. import data as corpora
    from .. import sae as dictionaries

    found, loaded, tokenizer = _opened(dictionary, model)
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
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one."
)
@click.option("--results", is_flag=True, help="Print what the ratings come to, and serve nothing.")
def rate(folder: Path, port: int, results: bool) -> None:
    """Serve the blind study in FOLDER on this machine alone, until all is rated or Ctrl-C is pressed.

    Each answer is on disk at once; the same command goes on with the first item that has none.
    """
    from .. import sae as dictionaries

    if results:
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
