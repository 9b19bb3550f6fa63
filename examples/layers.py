"""Layers deleted, swapped and repeated: which of them a model's predictions need.

python examples/layers.py                                    # the embedded model, short texts that come along
python examples/layers.py --data ../shared/data/corpora      # held-out English books
python examples/layers.py --data ../shared/data/corpora --model smollm2-135m \\
    --tokens 50000 --ctx 256 --checkpoint runs/layers.npz        # goes on where it was stopped

Then the stages of inference: attention within words and to the tokens just before, entropy of the logit
lens and its distance to the model, norms, prediction and suppression neurons, and CKA of neighbouring streams.

Texts are those that the embedded model was not trained on (examples/train_tiny/data.py decides it by a
hash). The table gives each layer's agreement with the whole model ("relative accuracy"), with intervals
over contexts.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

ENGLISH = ("gutenberg_eng", "novels_eng")


def held_out(folder, size=8000):
    """English documents that the embedded model has not seen: the first `size` characters of each, then the next."""
    sys.path.insert(0, str(Path(__file__).parent / "train_tiny"))
    import data

    several = data.load_corpora(folder)["valid"]
    texts = [
        text
        for group in zip(*(several[name] for name in ENGLISH if name in several), strict=False)
        for text in group
    ]
    for start in range(0, max(map(len, texts)), size):
        yield from (ji.data.Document(text[start : start + size], "English") for text in texts if text[start:])


def short_texts():
    """The tour's English pieces."""
    from jaxinterp.tour._texts import PIECES

    return [ji.data.Document(text, "English") for text in PIECES["English"]]


def corpus_of(tokenizer, documents, ctx, tokens):
    """Rows of `ctx` tokens with at least so many predictions together, or all there are."""
    rows, made = [], 0
    for document in documents:
        part = ji.data.pack(tokenizer, [document], ctx=ctx)
        rows.append(part)
        made += int(np.maximum(part.positions.sum(1) - 2, 0).sum())
        if made > tokens:
            break
    whole, real, counted = (
        np.concatenate([getattr(part, name) for part in rows]) for name in ("tokens", "mask", "positions")
    )
    last = int(np.searchsorted(np.maximum(counted.sum(1) - 2, 0).cumsum(), tokens)) + 1
    return ji.corpus.as_corpus(whole[:last], mask=real[:last])


def table_of(found):
    """One line for each layer: agreement and nats of KL, deleted, swapped with the next one, repeated."""
    tables = {kind: found[kind] for kind in ("delete", "swap", "repeat") if kind in found}
    table = Table(box=box.SIMPLE_HEAD, title="agreement with the whole model and its interval, nats of KL")
    table.add_column("layer", justify="right")
    for kind in tables:
        table.add_column(kind, justify="right")
    for layer in range(max(map(len, tables.values()))):
        cells = [
            f"{t.agreement[layer]:.3f} [{t.low[layer, 3]:.3f}, {t.high[layer, 3]:.3f}]  {t.kl[layer]:7.3f}"
            if layer < len(t)
            else ""
            for t in tables.values()
        ]
        table.add_row(str(layer), *cells)
    return table


def stages_of(found):
    """One line for each layer of what `ji.neurons.stages` measures."""
    rows = found.records()
    table = Table(
        box=box.SIMPLE_HEAD,
        title="stages: bits and nats of the lens behind the layer, norms, attention, neurons",
    )
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row.values()))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny", help="A name that ji.load takes.")
    parser.add_argument("--data", help="A folder with corpora; by default short texts that come along.")
    parser.add_argument("--ctx", type=int, default=128, help="Tokens of a row.")
    parser.add_argument("--tokens", type=int, default=20_000, help="Predictions to measure, at least.")
    parser.add_argument("--chars", type=int, default=8000, help="Characters of a piece of a document.")
    parser.add_argument("--kinds", nargs="+", default=["delete", "swap", "repeat"], help="Interventions.")
    parser.add_argument("--checkpoint", help="A file from which an interrupted run goes on.")
    parser.add_argument("--out", help="An HTML file for the figure.")
    args = parser.parse_args()
    console = Console(width=120)
    began = time.perf_counter()
    model, tokenizer = ji.load(args.model)
    documents = held_out(args.data, args.chars) if args.data else short_texts()
    corpus = corpus_of(tokenizer, documents, args.ctx, args.tokens)
    made = int(np.maximum(corpus.positions.sum(1) - 1, 0).sum())
    if args.data and made < args.tokens:
        console.print(f"These texts have {made} predictions, fewer than --tokens {args.tokens}.")
    keep = ji.corpus.Checkpoint(args.checkpoint, every=10) if args.checkpoint else None
    found = ji.neurons.layer_interventions(model, corpus, kinds=args.kinds, checkpoint=keep)
    console.print(table_of(found))
    console.print(
        f"{args.model}: {found.predictions} predictions in {found.documents} contexts, "
        f"{found.loss:.3f} nats and {found.entropy:.3f} bits as it is."
    )
    for kind in args.kinds:
        table = found[kind]
        console.print(
            f"{kind}: mean agreement without the first and the last {table.middle:.3f}, "
            f"least {table.agreement.min():.3f} ({table.names[int(table.agreement.argmin())]})"
        )
    starts = ji.neurons.word_starts(tokenizer)
    keep = ji.corpus.Checkpoint(f"{args.checkpoint}.stages", every=10) if args.checkpoint else None
    staged = ji.neurons.stages(model, corpus, starts=starts, checkpoint=keep)
    console.print(stages_of(staged))
    if args.out:
        chapter = ji.viz.Chapter("", [found.figure(), staged.figure()])
        ji.viz.write(args.out, ji.viz.page(f"Layers of {args.model}", [chapter]))
    console.print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
