"""How alike the layers of two models are: CKA of all pairs, and the shape of each layer.

python examples/similarity.py                                # the embedded model and its checkpoint of step 1000
python examples/similarity.py --model smollm2-135m --data ../shared/data/corpora --tokens 4000 --out docs/pictures
python examples/similarity.py --runs runs/tiny --data ../shared/data/corpora --out docs/pictures    # a training

Texts are short ones that come along, or held-out English books with --data. Tokens at the first position of a row
do not count: most models write one and the same large vector there.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np
from layers import corpus_of, held_out, short_texts
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

EARLY = Path(__file__).parent / "train_tiny" / "checkpoints" / "step1000"


def without_first(corpus):
    """The same rows, of which the first token does not count."""
    counted = corpus.positions & (np.cumsum(corpus.mask, 1) > 1)
    return ji.corpus.as_corpus(np.asarray(corpus.tokens[:]), mask=corpus.mask, positions=counted)


def shapes_of(model, corpus, most, key):
    """One line for each layer: dimensions and spread of `most` tokens."""
    x = np.asarray(ji.data.activations(model, corpus, "resid_post"))
    if x.shape[1] > most:
        x = x[:, np.asarray(jax.random.choice(key, x.shape[1], (most,), replace=False))]
    table = Table(box=box.SIMPLE_HEAD, title=f"shape of each layer, {x.shape[1]} tokens")
    for name in ("layer", "participation ratio", "two-NN dimension", "anisotropy"):
        table.add_column(name, justify="right")
    for layer, rows in enumerate(x):
        rows = np.unique(rows, axis=0)
        found = ji.geometry.participation_ratio(rows), ji.geometry.two_nn(rows), ji.geometry.anisotropy(rows)
        table.add_row(str(layer), *(f"{float(value):.3f}" for value in found))
    return table


def matrix_of(found, title):
    """The matrix of CKA as a table, at most nine columns of it."""
    table = Table(box=box.SIMPLE_HEAD, title=title)
    step = -(-len(found.layers_b) // 9)
    columns = list(range(0, len(found.layers_b), step))
    table.add_column("layer", justify="right")
    for j in columns:
        table.add_column(str(found.layers_b[j]), justify="right")
    for i, layer in enumerate(found.layers_a):
        table.add_row(str(layer), *(f"{found.cka[i, j]:.3f}" for j in columns))
    return table


def training(folder, args, console):
    """CKA of each checkpoint's layers with the same layers at the end, and of its first layer with its last."""
    steps = sorted(int(path.name.removeprefix("step")) for path in Path(folder).glob("step*"))
    last, tokenizer = ji.load(str(Path(folder) / f"step{steps[-1]}"))
    documents = held_out(args.data) if args.data else short_texts()
    corpus = without_first(corpus_of(tokenizer, documents, args.ctx, args.tokens))
    how = {"points": args.points, "batch_size": args.batch_size, "progress": False}
    rows = []
    for step in steps:
        model, _ = ji.load(str(Path(folder) / f"step{step}"))
        found = ji.geometry.similarity(model, last, corpus, **how)
        own = ji.geometry.similarity(model, model, corpus, **how)
        rows.append([step, *np.diag(found.cka), own.cka[0, -1]])
    numbers = np.array(rows)
    names = [f"layer {i}" for i in range(numbers.shape[1] - 2)]
    table = Table(box=box.SIMPLE_HEAD, title=f"CKA with step {steps[-1]}: {found.tokens} tokens")
    for name in ("step", *names, "first with last layer"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(str(row[0]), *(f"{x:.3f}" for x in row[1:]))
    console.print(table)
    if args.out:
        series = {name: numbers[:, i + 1] for i, name in enumerate(names)}
        series["first with last layer"] = numbers[:, -1]
        ji.viz.lines(
            series,
            x=numbers[:, 0],
            title=f"CKA of checkpoints with step {steps[-1]}",
            x_axis="step",
            y_axis="CKA",
        ).save(Path(args.out) / f"similarity_{Path(folder).name}_training.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny", help="A name that ji.load takes.")
    parser.add_argument(
        "--other", help="A second model of the same tokenizer; of tiny its checkpoint of step 1000."
    )
    parser.add_argument(
        "--runs", help="A folder with checkpoints step0, step125 and so on, in place of a model."
    )
    parser.add_argument("--data", help="A folder with corpora; by default short texts that come along.")
    parser.add_argument("--ctx", type=int, default=128, help="Tokens of a row.")
    parser.add_argument("--tokens", type=int, default=4000, help="Tokens to read, about.")
    parser.add_argument("--points", type=int, default=256, help="Tokens of a group.")
    parser.add_argument("--most", type=int, default=1000, help="Tokens for the shape of each layer.")
    parser.add_argument("--batch-size", type=int, default=8, help="Rows of a batch.")
    parser.add_argument("--out", help="A folder for the figures.")
    args = parser.parse_args()
    console = Console(width=120)
    began = time.perf_counter()
    if args.runs:
        training(args.runs, args, console)
        console.print(f"{time.perf_counter() - began:.0f} s")
        return
    model, tokenizer = ji.load(args.model)
    documents = held_out(args.data) if args.data else short_texts()
    corpus = without_first(corpus_of(tokenizer, documents, args.ctx, args.tokens))
    other = args.other or (str(EARLY) if args.model == "tiny" else None)
    pairs = {"itself": (model, model)}
    if other:
        second, _ = ji.load(other)
        pairs |= {f"{Path(other).name}": (model, second), f"{Path(other).name}_itself": (second, second)}
    for name, (a, b) in pairs.items():
        found = ji.geometry.similarity(a, b, corpus, points=args.points, batch_size=args.batch_size)
        console.print(matrix_of(found, f"CKA of {args.model}, {name}: {found.tokens} tokens"))
        if a is b and len(found.layers_a) > 1:
            beside = np.diag(found.cka, 1)
            console.print(
                f"Neighbouring layers {beside.min():.3f} to {beside.max():.3f}; the first and the last layer "
                f"{found.cka[0, -1]:.3f}."
            )
        if args.out:
            slug = f"{args.model}_{name}".replace("-", "_")
            names = (f"layer of {args.model}", f"layer of {args.model if a is b else name}")
            found.figure(title=f"Linear CKA, {args.model} and {name}", names=names).save(
                Path(args.out) / f"similarity_{slug}.svg"
            )
    console.print(shapes_of(model, corpus, args.most, jax.random.key(0)))
    console.print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
