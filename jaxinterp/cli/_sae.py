"""The commands `jaxinterp sae`: train a sparse dictionary, judge it, look through it, steer with it."""

from pathlib import Path
from typing import Any

import click

from .._text import line
from ._command import MODEL, Group, say


@click.group(cls=Group)
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
_TEXTS = (
    click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path)),
    click.option(
        "--ctx", type=click.IntRange(min=4), default=128, show_default=True, help="Tokens of a context."
    ),
    click.option(
        "--most", type=click.IntRange(min=1), default=500, show_default=True, help="Documents of each file."
    ),
    click.option(
        "--chars",
        type=click.IntRange(min=1),
        default=2000,
        show_default=True,
        help="Characters of each document.",
    ),
)


def _texts(command: Any) -> Any:
    for each in reversed(_TEXTS):
        command = each(command)
    return command


def _opened(dictionary: Path, model: str) -> tuple[Any, Any, Any]:
    from .. import load
    from .. import sae as dictionaries

    loaded, tokenizer = load(model)
    if tokenizer is None:
        raise ValueError(
            f"{model} has no tokenizer, so it cannot read text. Give a folder with a tokenizer.json, or use the library with token ids."
        )
    return dictionaries.load(dictionary), loaded, tokenizer


def _packed(tokenizer: Any, model: Any, data: Any, ctx: int, most: int, chars: int) -> Any:
    from .. import data as texts

    documents = texts.read_texts(*data, most=most, chars=chars)
    bos = tokenizer.bos_id is not None
    return texts.pack(tokenizer, documents, ctx=min(ctx, model.config.ctx), bos=bos)


@sae.command(epilog=MODEL, short_help="Train one on activations of a model.")
@click.argument("model")
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--site", required=True, metavar="SITE[LAYER]", help='Where to train it, such as "resid_post[2]".'
)
@click.option(
    "--kind",
    default="TopK",
    show_default=True,
    metavar="KIND",
    help="TopK, BatchTopK, Matryoshka, JumpReLU, Gated, Standard or Vanilla.",
)
@click.option("--features", type=int, help="How many. [default: 8 times the width of the site]")
@click.option("--k", type=int, help="Of the TopK kinds: features of a row. [default: 32]")
@click.option(
    "--sparsity", type=float, help="Of the other kinds: the coefficient of the penalty. [default: the kind's]"
)
@click.option("--steps", type=int, default=10_000, show_default=True)
@click.option("--batch", type=int, default=4096, show_default=True, help="Tokens of a step.")
@click.option(
    "--rate",
    type=float,
    help="Adam at this rate, with a warm-up and a linear end. [default: the kind's published recipe]",
)
@click.option("--average", type=float, help="Decay of an average of the weights, such as 0.999.")
@click.option("--matmul", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option(
    "--ctx", type=click.IntRange(min=4), default=128, show_default=True, help="Tokens of a context."
)
@click.option("--most", type=click.IntRange(min=1), help="Documents of each file. [default: all]")
@click.option(
    "--field",
    default="text",
    show_default=True,
    help="The field of a line, or the column of a table, that holds the text.",
)
@click.option(
    "--held",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Contexts at the end that are not trained on: the dictionary is judged on them.",
)
@click.option(
    "--every",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Judge it after so many steps.",
)
@click.option(
    "--store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Train from a folder that save_activations wrote; DATA is then only judged on.",
)
@click.option(
    "--checkpoint", type=click.Path(file_okay=False, path_type=Path), help="[default: OUT/checkpoint]"
)
@click.option("--checkpoint-every", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dictionary"),
    show_default=True,
    help="The folder to write.",
)
def train(model: str, data: tuple[Path, ...], **options: Any) -> None:
    """Train a sparse dictionary on a site of MODEL, reading the texts of DATA.

    DATA is files or folders: .txt (documents parted by blank lines, or one to a line), .jsonl, .csv
    and .tsv with a "text" on each line, each also .xz or .gz; .parquet; or one .npy of token ids (seq, pos), which is
    read as it is needed. It is packed into full contexts, and shuffled.

    The same command goes on where it was interrupted, to the same weights. OUT is then a dictionary
    (ji.sae.load, jaxinterp sae browse), with training.json: settings, history, last numbers.

    \b
    Examples:
      jaxinterp sae train tiny texts/ --site "resid_post[2]" --k 16 --steps 2000 --batch 512
      jaxinterp sae train gpt2 part.jsonl.xz --site "mlp_out[5]" --kind JumpReLU --sparsity 1e-3
    """
    from ._sae_train import train_dictionary

    for told in train_dictionary(model, data, **options):
        say(told)


@sae.command(epilog=MODEL, short_help="Write a folder of pages to look through its features.")
@_DICTIONARY
@click.argument("model")
@_texts
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
    corpus = _packed(tokenizer, loaded, data, ctx, most, chars)
    path = dictionaries.browse(out, found, loaded, tokenizer, corpus, site=site, top=top)
    say(f"Wrote {line(path)}; open {line(path / 'index.html')}.")


@sae.command("eval", epilog=MODEL, short_help="How much of activations and predictions it keeps.")
@_DICTIONARY
@click.argument("model")
@_texts
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
    corpus = _packed(tokenizer, loaded, data, ctx, most, chars)
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
