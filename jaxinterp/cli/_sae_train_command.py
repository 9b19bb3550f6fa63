"""The command `jaxinterp sae train` and its options."""

from pathlib import Path
from typing import Any

import click

from ._command import MODEL, Command, say


@click.command(cls=Command, epilog=MODEL, short_help="Train one on activations of a model.")
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
    "held_contexts",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Contexts at the end that are not trained on: the dictionary is evaluated on them.",
)
@click.option(
    "--every",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Steps between evaluations.",
)
@click.option(
    "--store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Train from a folder that save_activations wrote; DATA is then used for evaluation alone.",
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

    for message in train_dictionary(model, data, **options):
        say(message)
