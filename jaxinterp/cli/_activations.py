"""The command `jaxinterp activations`: activations of texts on disk, for dictionaries and probes."""

from pathlib import Path
from typing import Any

import click

from .._text import line
from ._command import MODEL, Command, choice, say
from ._texts import CTX, FIELD, MOST, contexts, reader


@click.command(
    cls=Command, epilog=MODEL, short_help="Write the activations of texts to a folder, to train from."
)
@click.argument("model")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--site",
    "sites",
    multiple=True,
    required=True,
    metavar="SITE[LAYER]",
    help='What to write, such as "resid_post[2]", or "resid_post" for all layers. May be given several times.',
)
@CTX
@MOST
@FIELD
@click.option(
    "--dtype",
    type=choice("float32", "float16", "bfloat16", "int8"),
    help="How numbers are kept. int8 takes a quarter of float32. [default: as the model computes them]",
)
@click.option(
    "--shard",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Contexts in one file. After an interruption the last unfinished file is written again.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Contexts that the model reads at once.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("activations"),
    show_default=True,
    help="The folder to write.",
)
def activations(
    model: str,
    data: tuple[Path, ...],
    sites: tuple[str, ...],
    out: Path,
    shard: int,
    batch: int,
    **options: Any,
) -> None:
    """Write the activations of MODEL on the texts of DATA to a folder, an activation store.

    DATA is files or folders of texts (.txt, .jsonl, .csv, .tsv, .parquet), or one .npy of token ids
    (seq, pos). Texts are joined and cut into full contexts. The first token of a context does not count.
    Where the command was interrupted, the same command goes on.

    A dictionary is trained from the folder with jaxinterp sae train --store, as often as you like and
    without the model running again. In Python: ji.data.Store(FOLDER).

    \b
    Examples:
      jaxinterp activations tiny texts/ --site "resid_post[2]" --out acts
      jaxinterp sae train tiny --store acts --site "resid_post[2]"
    """
    from .. import data as stores

    loaded, tokenizer = reader(model, tokens=False)
    field, most, ctx = options["field"], options["most"], options["ctx"]
    tokens, positions = contexts(loaded, tokenizer, data, ctx=ctx, most=most, field=field)
    names = list(dict.fromkeys(sites))
    store = stores.save_activations(
        out,
        loaded,
        tokens,
        names if len(names) > 1 else names[0],
        positions=positions,
        dtype=options["dtype"],
        shard=shard,
        batch_size=batch,
        about={"model": model, "data": [str(path) for path in data]},
    )
    size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
    say(f"Wrote {line(out)}: {len(store):,} rows of {', '.join(names)}, {size / 2**20:,.1f} MiB.")
    say(f"Train from it: jaxinterp sae train {line(model)} --store {line(out)} --site {names[0]!r}")
