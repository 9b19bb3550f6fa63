"""What forms when in a training: neurons of a language, n-grams behind them, heads, distance to counts, losses.

python examples/checkpoints.py                                        # step 1000 and the embedded model, short texts
python examples/train_tiny/train.py --data ../shared/data/corpora --out runs/tiny --steps 2000 --decay 0.33 \\
    --save-every 125 --export-every 125
python examples/checkpoints.py --runs runs/tiny --data ../shared/data/corpora --save docs/pictures
python examples/checkpoints.py --data ../shared/data/corpora --save docs/pictures    # the embedded model

The context neuron of a language is chosen at the last checkpoint, on training documents: of the ten neurons with the
largest F1 in layers before the last, whose neurons nothing reads, the one whose removal costs most. Everything that is
printed is measured on documents that the model was not trained on. Stop it at any point: the same line goes on behind
the last checkpoint done, and with other --steps reads the new ones alone.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

HERE = Path(__file__).resolve().parent
KINDS = {
    "English": ("novels_eng", "gutenberg_eng", "legal_eng"),
    "French": ("novels_fra",),
    "German": ("novels_deu", "legal_deu"),
    "code": ("code_python", "code_c"),
    "LaTeX": ("latex",),
}
GERMAN = "1.146"
"The neuron of the embedded model that examples/language_neurons.py chooses."
COUNTED = 20_000
"Training rows of which tokens and pairs are counted."


def short_texts(most=6):
    """Some of the tour's pieces, in two halves."""
    from jaxinterp.tour._texts import PIECES

    kinds = {"Python": "code", "C": "code"}
    parts = [
        [(text, kinds.get(kind, kind)) for kind, texts in PIECES.items() for text in texts[half::2][:most]]
        for half in (0, 1)
    ]
    return [[ji.data.Document(text, kind) for text, kind in part] for part in parts]


def corpora_of(folder):
    """What the embedded model's recipe trains on, and what it does not: `{"train": {name: [text]}, "valid": ...}`."""
    sys.path.insert(0, str(HERE / "train_tiny"))
    import data

    return data.load_corpora(folder)


def some_of(corpora, each, size, seen):
    """At most `each` documents of a kind, in turn of its corpora, without the paragraphs that were seen before."""
    found = []
    for kind, names in KINDS.items():
        columns = [corpora[name] for name in names if name in corpora]
        turns = range(min(each, max(map(len, columns))))
        texts = [column[i] for i in turns for column in columns if i < len(column)]
        for text in texts[:each]:
            parts = text[:size].split("\n\n")
            new = [part for part in parts if len(part) < 100 or part not in seen]
            seen.update(parts)
            if text := "\n\n".join(new).strip():
                found.append(ji.data.Document(text, kind))
    return found


def held_out(folder, each, size):
    """Documents that the model was not trained on, at most `each` of a kind, without shared paragraphs."""
    return some_of(corpora_of(folder)["valid"], each, size, set())


def training_rows(folder):
    """Some of the rows that a run trains on, each with its mask: what stands between documents is counted too."""
    with np.load(folder / "rows.npz") as file:
        rows = np.concatenate([file[name] for name in file.files if name.startswith("train_")])
    return rows[np.random.default_rng(0).permutation(len(rows))[:COUNTED]].astype(np.int32)


def context_neuron(model, corpus, kind, args, key):
    """Of the neurons with the largest F1 before the last layer, the one whose removal costs its class most."""
    probes = ji.neurons.class_probes(
        model, corpus, kind, tokens=args.tokens, test=args.test, skip=args.skip, key=key
    )
    active = np.where(probes.active > probes.inactive, probes.train_f1, -1)[:-1]
    ten = np.stack(
        np.unravel_index(np.argsort(-active, axis=None, kind="stable")[: args.candidates], active.shape), 1
    )
    to = probes.inactive[tuple(ten.T)]
    rows = corpus.labels == kind
    rows[np.argmin(rows)] = True  # a context of another kind, since an ablation compares kinds
    cost = ji.neurons.ablation(model, ji.data.take(corpus, rows), ten, to=to, skip=args.skip, key=key)
    own = cost.names.index(kind)
    chosen = int(np.argmax(cost.increase[: len(ten), own]))
    for i, at in enumerate(ten):
        mark = " <- chosen" if i == chosen else ""
        print(
            f"  {at[0]}.{at[1]:<5} F1 {probes.f1[tuple(at)]:.3f}, cost of removal {cost.increase[i, own]:+.4f} nats "
            f"({cost.low[i, own]:+.4f} to {cost.high[i, own]:+.4f}){mark}"
        )
    return tuple(map(int, ten[chosen]))


def curve_table(found):
    table = Table(box=box.SIMPLE_HEAD, title="over training", title_justify="left", padding=(0, 1))
    columns = ["step", "loss", "to unigram", "to bigram", "induction", "previous"]
    for each, own in zip(found.contexts, found.neurons, strict=True):
        columns += [f"{each}: best", "F1", f"F1 of {own}", "cost", "no indirect", "no direct", "n-grams"]
    for column in columns:
        table.add_column(column, justify="right")
    v = found.values
    for t, step in enumerate(found.steps):
        row = [str(step), f"{found.mean('loss')[t]:.3f}"]
        row += [f"{found.mean(name)[t]:.3f}" for name in ("to_unigram", "to_bigram")]
        row += [f"{v[name][t]:.2f}" for name in ("induction", "previous")]
        for i in range(len(found.contexts)):
            layer, unit = v["best"][t, i]
            row += [f"{layer}.{unit}", f"{v['best_f1'][t, i]:.3f}", f"{v['f1'][t, i]:.3f}"]
            row += [f"{x:+.4f}" for x in v["costs"][t, i]] + [str(v["ngrams"][t, i])]
        table.add_row(*row)
    return table


def by_kind(found):
    table = Table(
        box=box.SIMPLE_HEAD,
        title="by kind of text: loss, and its rise without each neuron",
        title_justify="left",
    )
    table.add_column("step", justify="right")
    for kind in found.classes:
        table.add_column(kind, justify="right")
    v = found.values
    for t, step in enumerate(found.steps):
        cells = [
            " ".join(
                [
                    f"{v['loss'][t, c]:.3f}",
                    *(f"{v['ablation'][t, i, c]:+.4f}" for i in range(len(found.contexts))),
                ]
            )
            for c in range(len(found.classes))
        ]
        table.add_row(str(step), *cells)
    return table


def final_study(model, tokenizer, corpus, kind, neuron, args, key):
    """The contextual n-gram study at the last checkpoint: paths, n-grams, later neurons."""
    settings = ji.neurons.NgramSettings(least=args.least, prompts=args.prompts)
    found = ji.neurons.context_ngrams(
        model, neuron, corpus, context=kind, tokenizer=tokenizer, settings=settings, skip=args.skip, key=key
    )
    print(
        f"\n{kind} neuron {found.neuron} at the last checkpoint: {found.active:.3f} in {kind}, {found.inactive:.3f} elsewhere; "
        f"{found.tokens} tokens of {found.documents} documents, loss {found.losses[0]:.4f}"
    )
    for row in found.records():
        share = 100 * row["cost"] / row["original"]
        print(
            f"  without {row['removed']:<14} {row['cost']:+.4f} nats ({row['low']:+.4f} to {row['high']:+.4f}), {share:+.2f}%"
        )
    print(f"  n-grams with costs above {args.least:g} nats and a loss of at most 2.5: {len(found.ngrams)}")
    for row in found.ngrams.records()[:8]:
        print(
            f"    {row['ngram']!r}: {row['count']} times, loss {row['loss']:.2f}, cost {row['total']:.2f}, without the indirect path "
            f"{row['without_indirect']:.2f}; behind random tokens {row['random_total']:+.2f}"
        )
    print(
        "  later neurons, in nats per token that they add to the right one: "
        + ", ".join(
            f"{a}.{b} {x:+.5f}" for (a, b), x in zip(found.components[:6], found.added[:6], strict=True)
        )
    )
    up, down = found.added[found.added > 0].sum(), found.added[found.added < 0].sum()
    print(
        f"  of the {len(found.added)} largest: {up:+.5f} by those that boost, {down:+.5f} by those that suppress"
    )
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", help="a folder of step0, step125 ... that train_tiny/train.py writes")
    parser.add_argument("--steps", type=int, nargs="+", help="steps that are read; all by default")
    parser.add_argument(
        "--neurons", nargs="+", help="in place of a choice: German=2.226 French=2.430; without --data 1.146"
    )
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument(
        "--contexts", nargs="+", help="classes with a neuron; German, with --data also French"
    )
    parser.add_argument("--candidates", type=int, default=10, help="neurons of which one is chosen")
    parser.add_argument("--each", type=int, default=12, help="documents of a kind that are measured, at most")
    parser.add_argument("--choose", type=int, default=40, help="training documents of a kind for the choice")
    parser.add_argument("--size", type=int, default=1000, help="characters of a document")
    parser.add_argument("--test", type=float, default=0.5, help="the share of documents that test a probe")
    parser.add_argument("--tokens", type=int, default=4000, help="tokens of a class for the probes, at most")
    parser.add_argument(
        "--least", type=float, default=1.0, help="nats that an n-gram costs; the paper's are 3"
    )
    parser.add_argument("--prompts", type=int, help="random prompts for each n-gram; 50 with --data, or 8")
    parser.add_argument("--checkpoint", help="a file from which it goes on; RUNS/curves.npz with --runs")
    parser.add_argument("--save", help="a folder for the figure")
    args = parser.parse_args(argv)
    args.skip, prompts = (10, 50) if args.data else (3, 8)
    args.prompts = prompts if args.prompts is None else args.prompts
    args.contexts = args.contexts or (["German", "French"] if args.data else ["German"])
    began, key = time.perf_counter(), jax.random.key(0)
    if args.runs:
        folders = sorted(Path(args.runs).glob("step[0-9]*"), key=lambda path: int(path.name[4:]))
        if args.steps:
            folders = [Path(args.runs) / f"step{step}" for step in sorted(args.steps)]
    else:
        folders = [HERE / "train_tiny" / "checkpoints" / "step1000", Path(ji.__file__).parent / "_tiny"]
    if len(folders) < 2:
        raise SystemExit(
            f"Curves need two checkpoints; {args.runs} has {len(folders)}. Train with --export-every 125."
        )
    labels = None if args.runs else ["step1000", "step4100"]
    series = ji.neurons.checkpoints(folders, labels=labels)
    tokenizer, last = series.tokenizer, series[-1]
    if args.data:
        seen, corpora = set(), corpora_of(args.data)
        measured = some_of(corpora["valid"], args.each, args.size, seen)
        halves = some_of(corpora["train"], args.choose, args.size, seen), measured
    else:
        halves = short_texts()
    ctx = 128 if args.data else 64
    chosen_on, corpus = (ji.data.pack(tokenizer, half, ctx=ctx, least=args.skip + 5) for half in halves)
    print(f"chosen on {chosen_on}")
    print(f"{len(series)} checkpoints, {series.labels[0]} to {series.labels[-1]}; measured on {corpus}")
    rows = Path(args.runs or ".") / "rows.npz"
    counted = training_rows(Path(args.runs)) if args.runs and rows.exists() else chosen_on
    bigrams = ji.corpus.bigrams(counted, tokenizer.vocab)
    print(
        f"counts of {bigrams.pairs:,} pairs of tokens of {'the training text' if counted is not chosen_on else 'the documents of the choice'}"
    )
    given = args.neurons or ([] if args.data else [f"German={GERMAN}"])
    neurons = dict(each.split("=") for each in given)
    neurons = {kind: tuple(map(int, at.split("."))) for kind, at in neurons.items()}
    for kind in () if neurons else args.contexts:
        print(f"{kind}: candidates at {series.labels[-1]}, on the documents of the choice")
        neurons[kind] = context_neuron(last, chosen_on, kind, args, key)
    settings = ji.neurons.TrainingSettings(
        tokens=args.tokens,
        test=args.test,
        skip=args.skip,
        bos=tokenizer.bos_id,
        ngrams=ji.neurons.NgramSettings(least=args.least, top=1000, prompts=0),
        mlps=bool(args.data),
    )
    kept = args.checkpoint or (Path(args.runs) / "curves.npz" if args.runs else None)
    found = ji.neurons.training_curves(
        series, corpus, neurons, bigrams=bigrams, settings=settings, key=key, checkpoint=kept
    )
    console = Console(width=200)
    console.print(curve_table(found), by_kind(found))
    studies = [final_study(last, tokenizer, corpus, kind, at, args, key) for kind, at in neurons.items()]
    if args.save:
        folder = Path(args.save)
        folder.mkdir(parents=True, exist_ok=True)
        name = "training_curves" if args.runs else "training_curves_embedded"
        found.figure().save(folder / f"{name}.svg")
    print(f"\n{time.perf_counter() - began:.0f} s")
    return found, studies


if __name__ == "__main__":
    main()
