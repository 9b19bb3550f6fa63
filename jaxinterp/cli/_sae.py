"""The commands `jaxinterp sae`: train a sparse dictionary, judge it, look through it, steer with it."""

from pathlib import Path

import click

from .._text import line
from ._command import MODEL, CommandGroup, Number, choice, say
from ._dictionary import opened
from ._sae_train_command import train
from ._texts import packed, prompt, texts, texts_or_none, unused, waiting


@click.group(cls=CommandGroup, short_help="Train a sparse dictionary (SAE), and look at its features.")
def sae() -> None:
    """Train a sparse dictionary (sparse autoencoder), and use one.

    A dictionary splits the activations at one site of a model into many features, of which few are
    active at once. The commands train one, measure how good it is, show what its features respond to,
    and write texts with a feature turned up.

    DICTIONARY is a folder or file of this library, SAELens, sparsify, dictionary_learning, OpenAI or
    Gemma Scope; a place on the Hugging Face hub (hf://owner/name/folder); a name of SAELens's directory or of
    Gemma Scope; or "tiny", the one that comes with the package. A dictionary of this library records its
    model and its site, and the commands take both from there.
    """


_SITE = click.option(
    "--site",
    metavar="SITE[LAYER]",
    help='Where the dictionary reads the model, such as "resid_post[2]". [default: as the dictionary records]',
)
_MODEL = click.option(
    "--model",
    metavar="MODEL",
    help="The model that the dictionary reads. [default: as the dictionary records]",
)
_DICTIONARY = click.argument("dictionary")  # a path, "tiny", or a place on the hub


@sae.command(epilog=MODEL, short_help="Write web pages that show what its features respond to.")
@_DICTIONARY
@texts_or_none
@_MODEL
@_SITE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("features"),
    show_default=True,
    help="The folder to write; open its index.html in a browser. NAME.html is one file.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many contexts to show for each feature.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Also serve the pages to this machine, so that they read texts that are written on them; without DATA, "
    "serve those that OUT holds already. Ctrl-C ends it.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port of this machine that --serve listens on; 0 takes a free one.",
)
def browse(
    dictionary: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    model: str | None,
    site: str | None,
    out: Path,
    top: int,
    serve: bool,
    port: int,
) -> None:
    """Write web pages that show where in the texts of DATA each feature is most active.

    OUT is a folder; a name that ends in .html is one file with everything in it.

    \b
    Examples:
      jaxinterp sae browse my_dictionary texts/ --out features
      jaxinterp sae browse sae_folder texts/ --model gpt2 --site "resid_pre[8]"
      jaxinterp sae browse tiny texts/ --serve --port 8000
      jaxinterp sae browse tiny --serve
    """
    from .. import sae as dictionaries

    if serve and out.suffix.lower() in (".html", ".htm"):
        raise ValueError(
            f"--serve serves a folder, and {line(out)} is one file. Write --out {line(out.stem)}."
        )
    if port and not serve:
        raise ValueError(f"--port is the port of --serve; got --port {port} alone. Add --serve.")
    if not data and not (serve and (out / "index.html").is_file()):
        raise ValueError(
            f"The pages are written from texts: jaxinterp sae browse {line(dictionary)} TEXTS. Without them --serve "
            f"serves the pages that a folder holds, and {line(out)} holds none."
        )
    found, loaded, tokenizer = opened(dictionary, model, data)
    path = out
    if data:
        corpus = packed(tokenizer, loaded, data, ctx, most, chars)
        settings = dictionaries.ExampleSettings(top=top)
        path = dictionaries.browse(out, found, loaded, tokenizer, corpus, site=site, settings=settings)
        say(f"Wrote {line(path)}; open {line(path / 'index.html' if path.is_dir() else path)}.")
    else:
        unused("the pages are written already.", "ctx", "most", "chars", "top")
    if serve:
        with dictionaries.serve(path, found, loaded, tokenizer, site=site, port=port) as pages:
            say(f"The pages read texts at {pages.url}\nCtrl-C ends it.")
            try:
                while not pages.wait(1):
                    pass
            except KeyboardInterrupt:
                say("The pages are closed.")


@sae.command("eval", epilog=MODEL, short_help="Measure what of activations and predictions it keeps.")
@_DICTIONARY
@texts
@_MODEL
@_SITE
def evaluate(
    dictionary: str,
    data: tuple[Path, ...],
    ctx: int,
    most: int,
    chars: int,
    model: str | None,
    site: str | None,
) -> None:
    """Measure how much of the model's activations and predictions a dictionary keeps on the texts of DATA.

    Among the numbers are l0, how many features are active on a token in the mean, and recovered: how well
    the model predicts when the dictionary's reconstruction replaces the activations. 1 is as well as
    with the activations themselves, 0 as badly as with zeros.

    \b
    Example:
      jaxinterp sae eval my_dictionary texts/
    """
    from .. import sae as dictionaries

    found, loaded, tokenizer = opened(dictionary, model, data)
    corpus = packed(tokenizer, loaded, data, ctx, most, chars)
    for name, value in dictionaries.evaluate(found, loaded, corpus, site=site).items():
        if isinstance(value, float):
            say(f"{name:20} {value:.5g}")


@sae.command(epilog=MODEL, short_help="Continue a text with one feature turned up or down.")
@_DICTIONARY
@click.argument("text")
@click.option("--feature", type=click.IntRange(min=0), required=True, help="The number of the feature.")
@click.option(
    "--value",
    type=Number(),
    required=True,
    help="The number that the feature is set to, or that is added to it, or that it is multiplied by.",
)
@click.option(
    "--mode",
    type=choice("clamp", "add", "scale"),
    default="clamp",
    show_default=True,
    help="clamp sets the feature to the value at every token, add adds the value, scale multiplies by it.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=20, show_default=True, help="How many tokens to write."
)
@_MODEL
@_SITE
def steer(
    dictionary: str,
    text: str,
    feature: int,
    value: float,
    mode: str,
    steps: int,
    model: str | None,
    site: str | None,
) -> None:
    """Continue TEXT twice: as the model would, and with one feature of the dictionary set.

    \b
    Example:
      jaxinterp sae steer my_dictionary "Once upon a" --feature 7 --value 20
    """
    from .. import generate
    from .. import sae as dictionaries

    found, loaded, tokenizer = opened(dictionary, model)
    ids = prompt(loaded, tokenizer, text, None)
    edit = dictionaries.steer(found, feature, value, site=site, mode=mode)
    for name, edits in (("plain", []), ("steered", [edit])):
        with waiting(f"Writing ({name}): compiling and running"):
            written = tokenizer.decode(generate(loaded, ids, steps, edits=edits))
        say(f"{name}: {written}")


sae.add_command(train)
