"""The command `jaxinterp`: arguments in, a function of the library called, its result printed.

Errors of the library teach (the rule, what was given, the corrected call), so they are printed as
they are, with exit code 2; `--debug` shows where they were raised.
"""

import sys
from pathlib import Path

import click

from .._text import line, plain
from ._activations import activations
from ._command import MODEL, CommandGroup, draw, say
from ._heads import attention, heads
from ._models import models
from ._neurons import neurons
from ._patch import patch
from ._probe import probe
from ._sae import sae
from ._steer import steer
from ._texts import checked_plot, prompt, reader, waiting


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Start with "jaxinterp tour". Each command explains itself: "jaxinterp lens --help".',
)
@click.version_option(package_name="jaxinterp")
def main() -> None:
    """Read, edit and understand language models in JAX.

    \b
    jaxinterp tour                                    a guided tour on a small trained model, in about a minute
    jaxinterp models                                  which models are known by name
    jaxinterp sites tiny                              where a model can be read and edited
    jaxinterp lens tiny "The king and the"            what each layer would say next
    jaxinterp attention tiny "Tom Martin knew Tom"    which tokens the attention heads look at
    jaxinterp heads tiny                              which heads copy, and which look at the token before
    jaxinterp patch tiny "He was so tired" "He was more tired" --answer " that"
                                                      which layers and tokens decide an answer
    jaxinterp probe tiny texts/                       which neurons tell classes of texts apart
    jaxinterp neurons contexts tiny texts/ --neuron 3.314
                                                      where in texts a neuron is most active
    jaxinterp steer find tiny a.txt b.txt --answer I  the direction between two kinds of prompts
    jaxinterp activations tiny texts/ --site "resid_post[2]"
                                                      activations of texts on disk, to train from
    jaxinterp sae train tiny texts/ --site "resid_post[2]"
                                                      a sparse dictionary (sparse autoencoder)
    jaxinterp sae browse tiny texts/                  what the features of a dictionary respond to
    """


@main.command(short_help="Interpret a model from end to end; writes one HTML file.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("jaxinterp-tour.html"),
    show_default=True,
    help="The HTML file to write.",
)
@click.option(
    "--model",
    "name",
    default="tiny",
    show_default=True,
    metavar="MODEL",
    help="The model to interpret: a name, an id on the Hugging Face hub, or a folder.",
)
def tour(out: Path, name: str) -> None:
    """Interpret a model from end to end, and write what was found to one HTML file.

    The tour lists where the model can be read, decodes each layer with the logit lens, finds by
    activation patching where an answer is decided, searches for induction heads, and steers what the
    model writes. Every number that is printed is measured during the run. The model that comes with the
    package takes about a minute on two CPU cores.

    \b
    Examples:
      jaxinterp tour
      jaxinterp tour --model gpt2 --out gpt2.html
    """
    from ..tour import run_tour

    run_tour(name, out)


@main.command(epilog=MODEL, short_help="List where a model can be read and edited.")
@click.argument("model")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How many tokens the prompt has whose shapes are shown.",
)
def sites(model: str, length: int) -> None:
    """List the sites of MODEL: every place to read or edit, with axes, shape and meaning.

    \b
    Examples:
      jaxinterp sites tiny
      jaxinterp sites EleutherAI/pythia-70m --length 32
    """
    import jax.numpy as jnp
    from rich.console import Console

    from .. import sites as list_sites
    from ..tour import describe, sites_table

    loaded, _ = reader(model, tokens=False)
    if length > loaded.config.ctx:
        raise ValueError(f"{line(model)} reads at most {loaded.config.ctx} tokens; got --length {length}.")
    console = Console()
    console.print(plain(describe(loaded, model).replace("`", "")), markup=False)
    draw(sites_table(list_sites(loaded, jnp.zeros((length,), jnp.int32))).rich())
    console.print("Read one with ji.run(model, tokens, capture=['resid_post', 'z[0]']).", markup=False)


@main.command(epilog=MODEL, short_help="Show what each layer of a model would say after a text.")
@click.argument("model")
@click.argument("text")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How many guesses to show for each layer.",
)
@click.option(
    "--bos/--no-bos",
    default=False,
    show_default=True,
    help="Whether the model's first-token marker stands before the text.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the table of all layers and tokens to this file: a web page (.html) or a picture (.png, .pdf).",
)
def lens(model: str, text: str, top: int, bos: bool, html: Path | None) -> None:
    """Show which tokens each layer of MODEL would say after TEXT (the logit lens).

    What the model has computed after each layer is decoded as if it were the last one. The table shows
    the likeliest next tokens, with their probabilities.

    \b
    Examples:
      jaxinterp lens tiny "The queen said that"
      jaxinterp lens gpt2 "The capital of France is" --top 3 --html lens.html
    """
    from ..tour import lens_figure, lens_guesses_table, logit_lens

    checked_plot(html)
    loaded, tokenizer = reader(model)
    ids = prompt(loaded, tokenizer, text, bos)
    with waiting("Logit lens: compiling and running"):
        reading = logit_lens(loaded, tokenizer, ids, top=top)
    draw(lens_guesses_table(reading).rich())
    if html is not None:
        path = lens_figure(reading, title=f"Logit lens: {model}").save(html)
        say(f"Wrote {line(path)}.")


for each in (activations, attention, heads, models, neurons, patch, probe, sae, steer):
    main.add_command(each)


if __name__ == "__main__":
    sys.exit(main())
