"""The command `jaxinterp sae train` and its options."""

from pathlib import Path
from typing import Any

import click

from ._command import MODEL, Command, Number, choice, say
from ._texts import CTX, FIELD, MOST


@click.command(cls=Command, epilog=MODEL, short_help="Train a dictionary on the activations of a model.")
@click.argument("model")
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--site",
    required=True,
    metavar="SITE[LAYER]",
    help='Which activations to train on, such as "resid_post[2]".',
)
@click.option(
    "--kind",
    default="TopK",
    show_default=True,
    metavar="KIND",
    help="The kind of dictionary, in any case: TopK, BatchTopK, Matryoshka, JumpReLU, Gated, Standard or Vanilla.",
)
@click.option(
    "--features",
    type=click.IntRange(min=1),
    help="How many features the dictionary has. [default: 8 times the width of the site]",
)
@click.option(
    "--k",
    type=click.IntRange(min=1),
    help="How many features are active on a token, for the TopK kinds. [default: 32]",
)
@click.option(
    "--sparsity",
    type=Number(min=0),
    help="How strongly active features are penalised, for the other kinds. [default: that of the kind]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="How many steps to train in all. More steps than before continue a finished run.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="How many tokens each step learns from.",
)
@click.option(
    "--rate",
    type=Number(min=0, min_open=True),
    help="The learning rate of Adam, which rises in the first 5% of the steps and falls to 0 in the last 20%. "
    "[default: the published recipe of the kind]",
)
@click.option(
    "--average",
    type=Number(),
    help="The decay of a moving average of the weights, such as 0.999, which becomes the dictionary. [default: no average]",
)
@click.option(
    "--matmul",
    type=choice("float32", "bfloat16"),
    default="float32",
    show_default=True,
    help="The precision of the large products; bfloat16 is faster on accelerators.",
)
@CTX
@MOST
@FIELD
@click.option(
    "--held",
    "held_contexts",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="How many contexts at the end of the texts are kept for evaluation and not trained on.",
)
@click.option(
    "--every",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="How many steps lie between two evaluations; 0 evaluates at the end alone.",
)
@click.option(
    "--store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Train from a folder that jaxinterp activations wrote; DATA is then used for evaluation alone.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that keeps the state of the training, from which it goes on. [default: OUT/checkpoint]",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many steps lie between two savings of that state.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="A number that chooses the first weights and the order of the texts.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("dictionary"),
    show_default=True,
    help="The folder to write the dictionary to.",
)
def train(model: str, data: tuple[Path, ...], **options: Any) -> None:
    """Train a sparse dictionary on the activations of MODEL at one site, while it reads the texts of DATA.

    DATA is files or folders: .txt (documents parted by blank lines, or one to a line), .jsonl, .csv
    and .tsv with a "text" on each line, each also .xz or .gz; .parquet; or one .npy of token ids
    (seq, pos), which is read as it is needed. Texts are joined, cut into full contexts, and shuffled.

    The same command goes on where it was interrupted, to the same weights. With more --steps it
    continues a finished run. Where the learning rate depends on the number of steps, as it does with
    --rate and for the kinds that are penalised, the command says how the result differs from that of one
    longer run; otherwise the weights are the same, bit for bit.

    In the end OUT is a dictionary for ji.sae.load and jaxinterp sae browse, and OUT/training.json has the
    settings, the history and the last numbers.

    \b
    Examples:
      jaxinterp sae train tiny texts/ --site "resid_post[2]" --k 16 --steps 2000 --batch 512
      jaxinterp sae train gpt2 part.jsonl.xz --site "mlp_out[5]" --kind jumprelu --sparsity 1e-3
    """
    from ._sae_train import train_dictionary

    for message in train_dictionary(model, data, **options):
        say(message)
