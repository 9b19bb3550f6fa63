"""Do larger models need fewer neurons for a feature? Several models on the same labelled texts.

python examples/scaling.py                                   # two checkpoints of the embedded model, short texts
python examples/scaling.py --data ../shared/data/corpora --models step1000=examples/train_tiny/checkpoints/step1000 \\
    tiny stories260k=../shared/data/checkpoints/stories260k/stories260K.bin stories15m=package/src/llama2.data \\
    smollm2-135m --each 24 --layers 8 --out runs/scaling     # goes on where it was stopped

After section 6 of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610). A model is NAME=WHAT, where WHAT is a folder, a
file or a name that `ji.load` takes, or such a name alone. Texts of --data are excerpts of documents that the embedded
model was not trained on (examples/train_tiny/data.py decides it by a hash), an excerpt of each document; where a
source has too few, documents are cut into several, which stay on one side of the split.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import jax
from rich.console import Console

import jaxinterp as ji

HERE = Path(__file__).resolve().parent
DEFAULT = [f"step1000={HERE / 'train_tiny' / 'checkpoints' / 'step1000'}", "tiny"]
LABELS = {
    "German": ("novels_deu", "legal_deu"),
    "French": ("novels_fra",),
    "English": ("novels_eng", "gutenberg_eng", "legal_eng"),
    "code": ("code_python", "code_c"),
    "Python": ("code_python",),
    "C": ("code_c",),
    "LaTeX": ("latex",),
    "legal text": ("legal_eng", "legal_deu"),
    "German law": ("legal_deu",),
}


def spans_of(pattern):
    """A function of a text to the spans that a regular expression matches."""
    return lambda text: [match.span() for match in re.finditer(pattern, text)]


TOKENS = {
    "number": spans_of(r"\d+"),
    "capitalised word": spans_of(r"\b[A-ZÄÖÜÉ][a-zäöüßéè]+\b"),
    "closing bracket": spans_of(r"[)\]}]"),
}


def excerpts(folder, each, chars):
    """At most `each` excerpts of a source, in turn of its documents, of which each is one group."""
    sys.path.insert(0, str(HERE / "train_tiny"))
    import data

    documents, wanted = [], sorted({name for names in LABELS.values() for name in names})
    held = data.load_corpora(folder)["valid"]
    for name in wanted:
        pieces = []
        for d, text in enumerate(held.get(name, ())):
            # Far apart, so that they are of different passages.
            for turn, start in enumerate(range(0, max(1, len(text) - chars), 4 * chars)):
                piece = text[start : start + chars].strip()
                if len(piece) > chars // 2:
                    pieces.append((turn, d, ji.data.Document(piece, name, f"{name}:{d}")))
        documents += [piece for *_, piece in sorted(pieces, key=lambda one: one[:2])[:each]]
    return documents


def short_texts():
    """The tour's pieces, each a document."""
    from jaxinterp.tour._texts import PIECES

    return [ji.data.Document(text, kind) for kind, texts in PIECES.items() for text in texts]


def print_tables(console, found):
    """Sizes, features, splits and weights."""
    console.print(found.table(title="Models by size"))
    names = [model["model"] for model in found.models]
    for reduce in dict.fromkeys(row["reduce"] for row in found.features):
        mine = [row for row in found.features if row["reduce"] == reduce]
        print(f"\n{reduce}: F1 of the best neuron / of all neurons of a layer / k for {100 * found.share:g}%")
        print(f"{'':>18}" + "".join(f"{name:>22}" for name in names))
        for feature in dict.fromkeys(row["feature"] for row in mine):
            of = {row["model"]: row for row in mine if row["feature"] == feature}
            cell = lambda r: f"{r['f1']:.3f} / {r['dense_f1']:.3f} / {r['needed'] or '-'}"
            print(f"{feature:>18}" + "".join(f"{cell(of[n]) if n in of else '-':>22}" for n in names))
    if found.splits:
        print("\nThe finer feature within the coarser one: AUC of its own neuron / of the coarser one's")
        for reduce in dict.fromkeys(row["reduce"] for row in found.splits):
            for pair in dict.fromkeys((row["coarse"], row["fine"]) for row in found.splits):
                of = {
                    row["model"]: row
                    for row in found.splits
                    if (row["reduce"], row["coarse"], row["fine"]) == (reduce, *pair)
                }
                cell = lambda r: f"{r['own_auc']:.3f} / {r['coarse_auc']:.3f}"
                cells = "".join(f"{cell(of[n]) if n in of else '-':>22}" for n in names)
                print(f"{reduce:>5} {pair[1]} in {pair[0]:<14}" + cells)
    print(
        "\nWeight statistic by depth (median of norm times bias over its largest), median cosine of weights"
    )
    for name in names:
        rows = [row for row in found.weights if row["model"] == name]
        curve, cosine = (" ".join(f"{row[what]:.2f}" for row in rows) for what in ("curve", "cosine_median"))
        print(f"{name:>14}: {'no biases' if rows[0]['reason'] else curve}; {cosine}")
    for row in found.skipped:
        print(f"left out for {row['model']}: {row['reason']}")


def figures_of(found):
    """The figures that the results are defined for, and a line for each one that is left out."""
    drawn, missing = {}, []
    for i, reduce in enumerate(dict.fromkeys(row["reduce"] for row in found.features)):
        if any(row["readable"] for row in found.features if row["reduce"] == reduce):
            drawn[f"scaling_{reduce}" if i else "scaling"] = found.figure(reduce=reduce)
        else:
            missing.append(f"no curves of F1 ({reduce}): no feature is readable in any model")
    if any(not row["reason"] for row in found.weights):
        drawn["depth"] = found.depth_figure()
    else:
        missing.append("no weight statistic by depth: no model has biases in its MLPs")
    return drawn, missing


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=DEFAULT, help="NAME=WHAT, or what ji.load takes")
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--each", type=int, default=24, help="excerpts of a source")
    parser.add_argument("--chars", type=int, default=250, help="characters of an excerpt")
    parser.add_argument(
        "--layers", type=int, help="at most so many layers of a model, evenly spread; 2 without --data"
    )
    parser.add_argument(
        "--reduces",
        nargs="+",
        default=["mean", "max"],
        help="what tokens of a document become: mean, max, last, sum",
    )
    parser.add_argument("--out", type=Path, help="a folder to write to, and to go on with")
    args = parser.parse_args(argv)
    began = time.perf_counter(), time.process_time()
    console = Console(width=160)
    models = {}
    for given in args.models:
        name, _, what = given.rpartition("=")
        models[name or Path(what).name] = what
    documents = excerpts(args.data, args.each, args.chars) if args.data else short_texts()
    features = (LABELS | TOKENS) if args.data else None
    small = (
        {"reduces": args.reduces}
        if args.data
        else {"ks": (1, 2, 4), "exact": (), "reduces": ("mean",), "resamples": 0, "ctx": 64}
    )
    settings = ji.neurons.ScalingSettings(
        layers=args.layers or (None if args.data else 2),
        tokens=400,
        **({"exact": (2,), "time_limit": 2} | small),
    )
    found = ji.neurons.scaling(
        models, documents, features, key=jax.random.key(0), settings=settings, out=args.out
    )
    print(f"{len(documents)} documents; {found.features[0]['n_test']} of them to test")
    print_tables(console, found)
    if args.out:
        tables = {name: found[name] for name in ("models", "features", "splits", "weights", "skipped")}
        (args.out / "scaling.json").write_text(json.dumps(tables, indent=1))
        figures, missing = figures_of(found)
        for line in missing:
            print(line)
        page = ji.viz.page("Models by size", [ji.viz.Chapter("", list(figures.values()))])
        ji.viz.write(args.out / "scaling.html", page)
        for name, figure in figures.items():
            figure.save(args.out / f"{name}.svg")
    print(f"{time.perf_counter() - began[0]:.0f} s, {time.process_time() - began[1]:.0f} s of processor")
    return found


if __name__ == "__main__":
    main()
