"""The commands `jaxinterp sae`: train a sparse dictionary, judge it, look through it, steer with it."""

from pathlib import Path
from typing import Any

import click

from .._text import line
from ._command import MODEL, CommandGroup, say
from ._sae_train_command import train
from ._texts import packed, reader, texts


@click.group(cls=CommandGroup)
def sae() -> None:
    """Train a sparse dictionary; see how good it is, what its features fire on, what they write.

    DICTIONARY is a folder or file of this library, SAELens, sparsify, dictionary_learning, OpenAI or
    Gemma Scope, or "tiny", that of the embedded model.
    """


_SITE = click.option(
    "--site",
    metavar="SITE[LAYER]",
    help='Where to read it, such as "resid_post[2]". [default: where it was trained, as the dictionary records]',
)
_DICTIONARY = click.argument("dictionary", type=click.Path(path_type=Path))  # or "tiny"


def _opened(dictionary: Path, model: str) -> tuple[Any, Any, Any]:
    from .. import sae as dictionaries

    loaded, tokenizer = reader(model)
    return dictionaries.load(dictionary), loaded, tokenizer


@sae.command(epilog=MODEL, short_help="Write a folder of pages to look through its features.")
@_DICTIONARY
@click.argument("model")
@texts
@_SITE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("features"),
    show_default=True,
    help="The folder to write.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, help="Contexts of each feature."
)
def browse(
    dictionary: Path,
    model: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    site: str | None,
    out: Path,
    top: int,
) -> None:
    """Write a folder of static pages: what each feature of DICTIONARY fires on in the texts of DATA.

    \b
    Example:
      jaxinterp sae browse my_dictionary tiny texts/ --site "resid_post[2]" --out features
    """
    from .. import sae as dictionaries

    found, loaded, tokenizer = _opened(dictionary, model)
    corpus = packed(tokenizer, loaded, data, ctx, most, chars)
    path = dictionaries.browse(
        out, found, loaded, tokenizer, corpus, site=site, settings=dictionaries.ExampleSettings(top=top)
    )
    say(f"Wrote {line(path)}; open {line(path / 'index.html')}.")


@sae.command("eval", epilog=MODEL, short_help="How much of activations and predictions it keeps.")
@_DICTIONARY
@click.argument("model")
@texts
@_SITE
def evaluate(
    dictionary: Path, model: str, data: tuple[Path, ...], ctx: int, most: int, chars: int, site: str | None
) -> None:
    """Print how much DICTIONARY keeps of activations, and of MODEL's predictions, on texts.

    \b
    Example:
      jaxinterp sae eval my_dictionary tiny texts/ --site "resid_post[2]"
    """
    from .. import sae as dictionaries

    found, loaded, tokenizer = _opened(dictionary, model)
    corpus = packed(tokenizer, loaded, data, ctx, most, chars)
    for name, value in dictionaries.evaluate(found, loaded, corpus, site=site).items():
        if isinstance(value, float):
            say(f"{name:20} {value:.5g}")


@sae.command(epilog=MODEL, short_help="Continue a text with a feature held at a value.")
@_DICTIONARY
@click.argument("model")
@click.argument("text")
@click.option("--feature", type=click.IntRange(min=0), required=True, help="Its number.")
@click.option("--value", type=float, required=True, help="What it is held at, added or scaled by.")
@click.option(
    "--mode",
    type=click.Choice(["clamp", "add", "scale"]),
    default="clamp",
    show_default=True,
    help="Hold, add or scale.",
)
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, help="Tokens to write.")
@_SITE
def steer(
    dictionary: Path,
    model: str,
    text: str,
    feature: int,
    value: float,
    mode: str,
    steps: int,
    site: str | None,
) -> None:
    """Continue TEXT as MODEL would, and with a feature of DICTIONARY held.

    \b
    Example:
      jaxinterp sae steer my_dictionary tiny "Once upon a" --site "resid_post[2]" --feature 7 --value 20
    """
    from .. import generate
    from .. import sae as dictionaries

    found, loaded, tokenizer = _opened(dictionary, model)
    prompt = tokenizer(text)
    edit = dictionaries.steer(found, feature, value, site=site, mode=mode)
    for name, edits in (("plain", []), ("steered", [edit])):
        say(f"{name}: {tokenizer.decode(generate(loaded, prompt, steps, edits=edits))}")


sae.add_command(train)
