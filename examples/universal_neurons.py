"""Neurons that several trainings of one model share: how many, where, and what sets them apart.

python examples/universal_neurons.py                                  # two checkpoints of the embedded model
python examples/train_seeds/train_seeds.py --data ../shared/data/corpora --out runs/seeds --steps 4000
python examples/universal_neurons.py --seeds runs/seeds --data ../shared/data/corpora --save docs/pictures

With --seeds each seed is the reference in turn, and its neurons are matched in all others. A number is the mean over
references; its range is that of the references. Texts are those that no seed was trained on. Without --seeds the
models are two checkpoints of one training, which share far more than seeds do; --control adds a model without training.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from checkpoints import held_out, short_texts
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

HERE = Path(__file__).resolve().parent


def models_of(folder, control):
    """Seeds in a folder, or two checkpoints that the repository has, with their names and tokenizer."""
    if folder is None:
        paths = [Path(ji.__file__).parent / "_tiny", HERE / "train_tiny" / "checkpoints" / "step1000"]
        series = ji.neurons.checkpoints(paths, labels=["step 4,100", "step 1,000"])
        models = list(series)
        random = [ji.weights.reinitialised(models[0], key=jax.random.key(0))] if control else []
        return [*models, *random], [*series.labels, "untrained"][: 2 + control], series.tokenizer
    paths = sorted(Path(folder).glob("seed[0-9]*"), key=lambda path: int(path.name[4:]))
    if len(paths) < 2:
        raise SystemExit(
            f"Neurons are universal among two seeds or more; {folder} has {len(paths)}: train them first."
        )
    series = ji.neurons.checkpoints(paths)
    return list(series), list(series.labels), series.tokenizer


def table_of(title, columns, rows):
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def spread(values, digits=3, percent=False):
    """The mean over references, and their range."""
    x = np.asarray(values, float) * (100 if percent else 1)
    unit = "%" if percent else ""
    if len(x) == 1:
        return f"{x[0]:.{digits}f}{unit}"
    return f"{np.nanmean(x):.{digits}f}{unit} ({np.nanmin(x):.{digits}f} to {np.nanmax(x):.{digits}f})"


def shares(found, names, *, whole):
    """The share of universal neurons by reference, with Student's interval over references."""
    rows = [
        [
            name,
            f"{each.mask.sum()} of {len(each.mask)}",
            f"{100 * each.share:.1f}%",
            f"{each.excess.mean():.3f}",
            f"{each.excess.max():.3f}",
            f"{each.correlations.mean():.3f}",
            f"{each.baselines.mean():.3f}",
        ]
        for name, each in zip(names, found)
    ]
    if whole:
        ends = ji.stats.mean_interval([each.share for each in found])
        rows.append(
            ["mean", "", f"{100 * ends.mean:.1f}% ({100 * ends.low:.1f} to {100 * ends.high:.1f})", *[""] * 4]
        )
    columns = ["reference", "universal", "share", "mean excess", "largest", "correlation", "baseline"]
    return table_of(f"excess correlation above {found[0].threshold:g}", columns, rows)


def by_layer(found):
    tables = [each.layers() for each in found]
    rows = []
    for i in range(len(tables[0])):
        column = lambda name, i=i: [np.nan if t[i][name] is None else t[i][name] for t in tables]
        rows.append(
            [tables[0][i]["layer"], spread(column("share"), 1, percent=True)]
            + [spread(column(name)) for name in ("excess", "correlation", "baseline", "same_layer")]
        )
    return table_of(
        "by layer", ["layer", "share", "excess", "correlation", "baseline", "match in the same layer"], rows
    )


def properties(found):
    tables = [each.contrast() for each in found if 0 < each.mask.sum() < len(each.mask)]
    if not tables:
        return "No model has universal neurons and others: give a lower --threshold."
    rows = []
    for i, first in enumerate(tables[0]):
        of = lambda name, i=i: [t[i][name] for t in tables]
        rows.append(
            [
                first["property"],
                f"{np.mean(of('universal')):.3f}",
                f"{np.mean(of('others')):.3f}",
                spread(of("above"), 2),
            ]
        )
    return table_of(
        "universal and other neurons: medians, and how often a universal one has the larger value within a layer (0.5: chance)",
        ["property", "universal", "others", "larger"],
        rows,
    )


def kinds(models, found, corpus, tokenizer):
    """Families and roles of universal and other neurons, counted over all references."""
    labels = dict(ji.neurons.token_families(corpus, tokenizer).items())
    of = sorted({document.label for document in corpus.documents})
    languages = np.full(corpus.tokens.shape, -1, np.int32)
    for number, name in enumerate(of):
        languages[corpus.label_of_tokens(name)] = number
    labels["language"] = languages
    counts, roles = {}, {}
    for model, each in zip(models, found):
        best = ji.neurons.families(model, corpus, labels)
        for least in (0.5, 0.2):
            for name, mask in zip(best.best(least), each.mask):
                counts.setdefault((least, name or "none"), [0, 0])[int(mask)] += 1
        for name, mask in zip(ji.neurons.logit_moments(model).roles().ravel(), each.mask):
            roles.setdefault(name or "none", [0, 0])[int(mask)] += 1
    total = [sum(int((each.mask == side).sum()) for each in found) for side in (False, True)]
    cell = lambda pair, side: f"{pair[side]} ({100 * pair[side] / max(1, total[side]):.1f}%)"
    families = [
        [f"{name}, {least:g} or more", cell(pair, 1), cell(pair, 0)]
        for (least, name), pair in sorted(counts.items(), key=lambda x: (-x[0][0], -sum(x[1])))
    ]
    heads = [
        [name, cell(pair, 1), cell(pair, 0)] for name, pair in sorted(roles.items(), key=lambda x: -sum(x[1]))
    ]
    return (
        table_of(
            "the feature that reduces a neuron's variance most, by family",
            ["family", "universal", "others"],
            families,
        ),
        table_of("roles by output weights", ["role", "universal", "others"], heads),
    )


def switches(model, found, corpus, tokenizer, name, pairs):
    """The pairs of neuron and head with the largest score by weights, and what the neuron does to the head."""
    universal = {f"{layer}.{unit}" for layer, unit in found.neurons[found.mask]}
    rows = []
    for pair in ji.neurons.head_deactivation(model, tokenizer.bos_id).top(pairs):
        layer, head = map(int, pair["head"].split("."))
        if layer >= model.config.layers:
            continue
        effect = ji.neurons.path_ablation(
            model, corpus, pair["neuron"], (layer, head), progress=False
        ).records()[0]
        rows.append(
            [
                pair["neuron"],
                "yes" if pair["neuron"] in universal else "no",
                pair["head"],
                f"{pair['score']:+.2f}",
                pair["switches"],
                f"{effect['bos']:.3f}",
                f"{effect['bos_without']:.3f}",
                f"{effect['pearson']:+.2f}",
            ]
        )
    columns = [
        "neuron",
        "universal",
        "head",
        "score",
        "switches",
        "to BOS",
        "without the neuron",
        "correlation",
    ]
    return table_of(f"heads that attend to the first token, {name}", columns, rows)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", help="a folder of seed0, seed1 ... that train_seeds/train_seeds.py writes")
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--each", type=int, default=8, help="documents of a kind, at most")
    parser.add_argument("--size", type=int, default=3000, help="characters of a document")
    parser.add_argument("--threshold", type=float, default=0.5, help="of the excess correlation")
    parser.add_argument("--baseline", default="rotation", help="rotation, permutation or gaussian")
    parser.add_argument(
        "--control", action="store_true", help="without --seeds: a model without training too"
    )
    parser.add_argument("--pairs", type=int, help="of neuron and head that are ablated; 3 with --seeds, or 1")
    parser.add_argument("--save", help="a folder for the figure")
    args = parser.parse_args(argv)
    began, console = time.perf_counter(), Console(width=150)
    models, names, tokenizer = models_of(args.seeds, args.control)
    documents = held_out(args.data, args.each, args.size) if args.data else short_texts()[0]
    corpus = ji.data.pack(tokenizer, documents, ctx=128 if args.data else 64, bos=True, least=8)
    layers, ff = np.shape(models[0].blocks.mlp.w_out)[:2]
    print(f"{len(models)} models of {layers * ff} neurons: {', '.join(names)}; {corpus}")
    losses = [ji.neurons.class_losses(model, corpus, progress=False) for model in models]
    rows = [[name, *(f"{x:.3f}" for x in each.loss)] for name, each in zip(names, losses)]
    console.print(table_of("nats per token", ["model", *losses[0].names], rows))
    options = {"threshold": args.threshold, "baseline": args.baseline, "key": jax.random.key(0)}
    if args.seeds:
        orders = [[i, *(j for j in range(len(models)) if j != i)] for i in range(len(models))]
        found = [ji.neurons.universal([models[i] for i in order], corpus, **options) for order in orders]
        console.print(shares(found, names, whole=True))
    else:
        found = [ji.neurons.universal(models[:2], corpus, **options)]
        several = found + [
            ji.neurons.universal([models[0], other], corpus, **options) for other in models[2:]
        ]
        console.print(shares(several, ["with step 1,000", "untrained"][: len(several)], whole=False))
    console.print(by_layer(found))
    if not any(each.mask.any() for each in found):
        least = float(np.quantile(np.concatenate([each.excess for each in found]), 0.95))
        print(
            f"No neuron is universal. The tables below call those so whose excess is among the largest 5%, {least:.3f} or more."
        )
        found = [dataclasses.replace(each, threshold=least) for each in found]
        console.print(by_layer(found))
    console.print(properties(found))
    console.print(*kinds(models, found, corpus, tokenizer))
    pairs = args.pairs or (3 if args.seeds else 1)
    console.print(switches(models[0], found[0], corpus, tokenizer, names[0], pairs))
    if args.save:
        folder = Path(args.save)
        folder.mkdir(parents=True, exist_ok=True)
        found[0].figure(title=f"Excess correlation of {names[0]} with the other seeds").save(
            folder / "universal_neurons.svg"
        )
    print(f"\n{time.perf_counter() - began:.0f} s")
    return found


if __name__ == "__main__":
    main()
