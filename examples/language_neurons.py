"""Neurons of a language or of code: found, proven, tested on other documents, ablated.

python examples/language_neurons.py                                  # short pieces that come along
python examples/language_neurons.py --data ../shared/data/corpora    # held-out documents, all layers

Neurons are chosen on documents of the text that the embedded model was trained on, and tested and
ablated on those that it was not (examples/train_tiny/data.py decides it by a hash), which no probe has
seen either. Paragraphs that come twice are dropped; intervals resample documents.
"""

import argparse
import dataclasses
import importlib.util
import json
import time
from pathlib import Path

import jax
import numpy as np

import jaxinterp as ji

CLASSES = {
    "English": ("novels_eng", "gutenberg_eng", "legal_eng"),
    "French": ("novels_fra",),
    "German": ("novels_deu", "legal_deu"),
    "Python": ("code_python",),
    "C": ("code_c",),
    "LaTeX": ("latex",),
}


def pieces():
    """The tour's short pieces, a document each."""
    from jaxinterp.tour._texts import PIECES

    return [ji.data.Document(text, kind) for kind, texts in PIECES.items() for text in texts]


def corpora_of(folder):
    """What the embedded model was trained on and what it was not: `{"train": {name: [text]}, "valid": ...}`."""
    path = Path(__file__).parent / "train_tiny" / "data.py"
    spec = importlib.util.spec_from_file_location("train_tiny_data", path)
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    return data.load_corpora(folder)


def read(folder, each=60, size=6000, key=0):
    """Documents to choose neurons on, and those held out, without paragraphs that were read before.

    The first are of the text that the embedded model was trained on, at most `each` of a corpus; the
    others neither the model nor a probe has seen. Both are cut to `size` characters.
    """
    corpora, rng, seen = corpora_of(folder), np.random.default_rng(key), set()
    chosen = {"train": [], "valid": []}
    for side, several in chosen.items():
        for names in CLASSES.values():
            for name in names:
                texts = corpora[side].get(name, [])
                order = rng.permutation(len(texts))[: each if side == "train" else None]
                for text in (texts[i][:size] for i in order):
                    parts = text.split("\n\n")
                    new = [part for part in parts if len(part) < 100 or part not in seen]
                    seen.update(parts)
                    if text := "\n\n".join(new).strip():
                        several.append(ji.data.Document(text, name))
    return chosen["train"], chosen["valid"]


def contexts(tokenizer, documents, ctx, each, *, least, key=0):
    """Contexts of the documents, at most `each` of a label, shared out over its documents.

    Labels that are names of corpora become classes.
    """
    corpus = ji.data.pack(tokenizer, documents, ctx=ctx, least=least)
    rng, labels, groups, kept = np.random.default_rng(key), corpus.labels, corpus.groups, []
    for label in dict.fromkeys(labels.tolist()):
        rows = rng.permutation(np.flatnonzero(labels == label))
        # In turn from every document, so that a long one does not stand for its class.
        taken, turn = {}, []
        for group in groups[rows].tolist():
            taken[group] = taken.get(group, 0) + 1
            turn.append(taken[group])
        kept.append(rows[np.argsort(turn, kind="stable")][:each])
    of = {name: kind for kind, names in CLASSES.items() for name in names}
    named = tuple(dataclasses.replace(d, label=of.get(d.label, d.label)) for d in corpus.documents)
    return dataclasses.replace(subset(corpus, np.sort(np.concatenate(kept))), documents=named)


def subset(corpus, rows):
    """Some contexts of a corpus."""
    parts = (getattr(corpus, name)[rows] for name in ("tokens", "mask", "positions", "document", "offsets"))
    return ji.data.Corpus(*parts, corpus.documents)


def f1(y, said):
    return 2 * np.sum(y & said) / max(1, np.sum(y) + np.sum(said))


def interval(y, said, groups, key=0, draws=1000):
    """The 95% interval of F1 when documents are drawn anew, those of the class and others apart."""
    rng, found = np.random.default_rng(key), []
    kinds = [np.unique(groups[y]), np.unique(groups[~y])]
    rows = {group: np.flatnonzero(groups == group) for group in np.unique(groups)}
    for _ in range(draws):
        drawn = np.concatenate([rows[g] for kind in kinds for g in rng.choice(kind, len(kind))])
        found.append(f1(y[drawn], said[drawn]))
    return np.quantile(found, [0.025, 0.975])


def study(model, corpus, train, test, *, skip, seconds, ks=(1, 2, 3), batch=32):
    """For each class the best neuron, its F1 on other documents, and the best k with certificates."""
    positions = corpus.positions & ji.data.keep(corpus.mask, skip=skip)
    x = ji.data.activations(model, corpus, "mlp_post", positions=positions, reduce="mean", batch_size=batch)
    groups = corpus.groups
    ji.data.check_split(groups, train, test)
    x = x / np.maximum(x[:, train].std(1, keepdims=True), 1e-3)  # each deviation is 1
    flat = np.moveaxis(x, 0, 1).reshape(len(corpus), -1)
    found = {}
    for kind in CLASSES:
        y = corpus.labels == kind
        best = ji.neurons.monosemantic(x[:, train], y[train])[0]
        said = x[best["layer"], :, best["unit"]] * best["weight"] + best["bias"] > 0
        sets = ji.probes.best_subsets(flat[train], y[train], ks, time_limit=seconds)
        found[kind] = {
            "neuron": best["neuron"],
            "at": (best["layer"], best["unit"]),
            "train_f1": best["f1"],
            "f1": float(f1(y[test], said[test])),
            "interval": interval(y[test], said[test], groups[test]).tolist(),
            "positives": int(y[test].sum()),
            "tested": len(test),
            "documents": len(np.unique(groups[test][y[test]])),
            "sets": {
                k: {
                    "neurons": ["{}.{}".format(*divmod(int(i), x.shape[2])) for i in s.support],
                    "f1": float(f1(y[test], s.decision(flat[test]) > 0)),
                    "value": s.value,
                    "bound": s.bound,
                    "gap": s.gap,
                    "status": s.status,
                    "seconds": s.seconds,
                }
                for k, s in sets.items()
            },
        }
    return found


def joined(tokenizer, train, test, ctx, each):
    """Both sides as one corpus, with the rows of each; contexts of texts on both sides are dropped."""
    sides = [contexts(tokenizer, documents, ctx, each, least=ctx // 2) for documents in (train, test)]
    first = len(sides[0].documents)
    document = np.where(sides[1].document >= 0, sides[1].document + first, -1)
    parts = [np.concatenate([getattr(s, name) for s in sides]) for name in ("tokens", "mask", "positions")]
    document = np.concatenate([sides[0].document, document])
    offsets = np.concatenate([s.offsets for s in sides])
    documents = (*sides[0].documents, *sides[1].documents)
    corpus = ji.data.Corpus(*parts, document, offsets, documents)
    rows, held = np.arange(len(corpus)), np.arange(len(corpus)) >= len(sides[0])
    both = np.isin(corpus.groups, np.intersect1d(corpus.groups[held], corpus.groups[~held]))
    return corpus, rows[~held & ~both], rows[held]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--each", type=int, default=100, help="contexts of a corpus, at most")
    parser.add_argument("--ablated", type=int, default=40, help="contexts of a class to ablate on")
    parser.add_argument("--seconds", type=float, help="limit of a proof")
    parser.add_argument("--out", help="a JSON file for the numbers, and an HTML page beside it")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    model, tokenizer = ji.load(args.model)
    full = args.data is not None
    if full:
        corpus, train, test = joined(tokenizer, *read(args.data), 128, args.each)
    else:
        corpus = contexts(tokenizer, pieces(), 64, args.each, least=8)
        train, test = ji.data.split(corpus.groups, test=0.4, key=jax.random.key(0), labels=corpus.labels)
    skip = 10 if full else 3
    print(
        f"{args.model}: {corpus}; {len(train)} to choose, {len(test)} to test; skipping {skip} tokens of each context"
    )
    seconds = args.seconds or (60.0 if full else 3.0)
    found = study(model, corpus, train, test, skip=skip, seconds=seconds)
    print("\nOne neuron for a class, chosen on other documents than it is tested on")
    print(
        f"{'class':<9}{'neuron':>7}{'F1 train':>10}{'F1 test':>9}   95% interval      test contexts (documents)"
    )
    for kind, each in found.items():
        low, high = each["interval"]
        print(
            f"{kind:<9}{each['neuron']:>7}{each['train_f1']:10.3f}{each['f1']:9.3f}   {low:.3f} to {high:.3f}   {each['positives']} of {each['tested']} ({each['documents']})"
        )
    print("\nThe best k neurons of all layers, with what is proven (gap 0: no other choice is better)")
    for kind, each in found.items():
        for k, s in each["sets"].items():
            print(
                f"{kind:<9}k={k} F1 {s['f1']:.3f}  gap {s['gap']:.1e} {s['status']:<11}{s['seconds']:5.1f} s  {' '.join(s['neurons'])}"
            )

    neurons = list(dict.fromkeys(each["at"] for each in found.values()))
    labels = corpus.labels[test]
    some = subset(corpus, np.concatenate([test[labels == kind][: args.ablated] for kind in CLASSES]))
    effect = ji.neurons.ablation(model, some, neurons, skip=skip, key=jax.random.key(0))
    print("\nSet to zero everywhere: rise of the loss in % (95% interval, documents resampled)")
    print(f"{'ablated':<13}" + "".join(f"{each:>24}" for each in effect.names))
    for r, row in enumerate(effect.rows):
        cells = zip(effect.percent[r], effect.percent_low[r], effect.percent_high[r])
        print(f"{row:<13}" + "".join(f"{f'{a:.2f} ({b:.2f} to {c:.2f})':>24}" for a, b, c in cells))

    weights = ji.neurons.weight_statistics(model)
    print(f"\nSuperposition by weights ({weights.matrix}): input norm times bias, by layer")
    print(weights.reason or f"{'layer':<7}{'median':>9}{'q05':>9}{'q95':>9}{'curve':>9}{'cos(in, out)':>14}")
    for row in weights.records() if not weights.reason else []:
        print(
            f"{row['layer']:<7}{row['product_median']:9.3f}{row['product_q05']:9.3f}{row['product_q95']:9.3f}{row['curve']:9.3f}{row['cosine_median']:14.3f}"
        )
    if args.out:
        page(model, tokenizer, some, found, effect, skip, Path(args.out).with_suffix(".html"))
        numbers = {
            "found": found,
            "ablation": effect.records(),
            "weights": weights.records(),
            "command": vars(args),
            "seconds": time.perf_counter() - began,
        }
        Path(args.out).write_text(json.dumps(numbers, indent=1))
    print(f"\n{time.perf_counter() - began:.0f} s")
    return found, effect


def page(model, tokenizer, corpus, found, effect, skip, path):
    """Histograms and top contexts of every neuron found."""
    neurons = [each["at"] for each in found.values()]
    spread = ji.neurons.distribution(model, corpus, neurons, skip=skip)
    top = ji.neurons.top_contexts(model, corpus, neurons, top=10)
    chapters = [
        ji.viz.Chapter(f"{kind}: neuron {each['neuron']}", [spread.figure(i), top.figure(tokenizer, i)])
        for i, (kind, each) in enumerate(found.items())
    ]
    heat = ji.viz.heatmap(
        effect.percent,
        rows=effect.rows,
        cols=effect.names,
        value="%",
        title="Rise of the loss",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    ji.viz.write(
        path, ji.viz.page("Neurons of languages and code", [*chapters, ji.viz.Chapter("Ablation", [heat])])
    )


if __name__ == "__main__":
    main()
