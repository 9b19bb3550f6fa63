"""Neurons explained by a judge, and the explanations tested against those of other neurons.

python examples/explain_neurons.py                                    # a judge by rule, on short pieces
python examples/explain_neurons.py --data ../shared/data/corpora      # the same on held-out documents
python examples/explain_neurons.py --judge smollm2 --out explained    # SmolLM2-135M-Instruct judges

The neurons of languages and of code that docs/neurons.md names, random ones, and combinations of
neurons that a sparse probe reads. An explanation is good when it tells in which texts a neuron fires better
than the explanations of other neurons do. With --out, a run that was interrupted goes on.
"""

import argparse
import time
from pathlib import Path

import jax
import numpy as np

import jaxinterp as ji

CASES = ("2.430", "1.146", "1.255", "1.36", "1.483", "2.313")  # French, German, Python, C, LaTeX, English


def words_judge(most=6):
    """A judge by rule: the tokens with the highest levels explain a neuron, and the texts that hold them fit."""

    def explain(shown):
        levels = {}
        for window in shown.examples:
            for token, level in zip(window.tokens, window.levels):
                levels.setdefault(token, []).append(int(level))
        # One more token of level 0 for each: a token seen once proves little.
        mean = {token: sum(each) / (len(each) + 1) for token, each in levels.items()}
        return "|".join(sorted(mean, key=lambda token: -mean[token])[:most])

    def simulate(explanation, tokens):
        return [9.0 * (token in explanation.split("|")) for token in tokens]

    def detect(explanation, texts):
        return np.array([sum(simulate(explanation, text)) for text in texts]) - 0.5

    return ji.sae.Judges(explain=explain, simulate=simulate, detect=detect)


def judge_of(name):
    if name == "words":
        return words_judge()
    return ji.sae.ModelJudge(*ji.load("smollm2-135m")).judges()


def corpus_of(tokenizer, folder, each):
    """Contexts with the labels of languages and codes: the tour's pieces, or held-out documents."""
    import language_neurons

    if folder is None:
        return language_neurons.contexts(tokenizer, language_neurons.pieces(), 64, each, least=8)
    return language_neurons.contexts(tokenizer, language_neurons.read(folder)[1], 128, each, least=64)


def units_of(model, corpus, cases, random, combined, seconds, key):
    """Neurons and sparse probes as features of all layers side by side, with their names."""
    layers, ff = model.config.layers, model.config.ff
    numbers = [int(layer) * ff + int(unit) for layer, unit in (case.split(".") for case in cases)]
    rest = np.setdiff1d(np.arange(layers * ff), numbers)
    numbers += sorted(np.asarray(jax.random.choice(key, rest, (random,), replace=False)).tolist())
    supports, weights, bias = [[n] for n in numbers], [[1.0]] * len(numbers), [0.0] * len(numbers)
    names = [f"{n // ff}.{n % ff}" for n in numbers]
    if combined:
        x = ji.data.activations(model, corpus, "mlp_post", reduce="mean", progress=False)
        x = np.moveaxis(x, 0, 1).reshape(len(corpus), -1)
        scale = np.maximum(x.std(0), 1e-3)
        for label in combined:
            probe = ji.probes.best_subset(x / scale, corpus.labels == label, k=3, time_limit=seconds)
            supports.append(probe.support)
            weights.append(probe.weights / scale[probe.support])
            bias.append(probe.bias)
            names.append(f"{label}, k=3")
    return ji.sae.Combinations(ff, supports, weights, bias, layers=layers), names


def labels_table(model, corpus, names, skip, seconds):
    """The way back: labels that may explain each neuron, and the optimal supports that hold it."""
    neurons = [name for name in names if "k=" not in name]
    settings = ji.neurons.CandidateSettings(skip=skip)
    found = ji.neurons.candidate_labels(model, corpus, neurons, settings=settings, key=jax.random.key(0))
    print("\nLabels of neurons: their top 20 contexts, and the neuron alone as a probe on held-out documents")
    print(f"{'neuron':<9}{'label':<9}{'top':>6}{'all':>6}{'p':>9}{'F1':>7}   95% interval")
    for name, each in zip(neurons, found.best()):
        row = next(r for r in found.records() if r["neuron"] == name and r["label"] in (each or r["label"]))
        print(
            f"{name:<9}{each or 'none':<9}{row['share']:6.2f}{row['base']:6.2f}{row['p']:9.1e}{row['f1']:7.3f}   "
            f"{row['f1_low']:.3f} to {row['f1_high']:.3f}"
        )
    if not seconds:
        return found
    positions = corpus.positions & ji.data.keep(corpus.mask, skip=skip)
    x = ji.data.activations(model, corpus, "mlp_post", positions=positions, reduce="mean", progress=False)
    pairs = found.neurons[[bool(each) for each in found.best()]]
    truth = {each: corpus.labels == each for each in dict.fromkeys(filter(None, found.best()))}
    held = ji.neurons.superpositions(x, truth, pairs, ks=(1, 2, 3), time_limit=seconds)
    print("\nOptimal supports of k neurons of its layer that hold a neuron")
    for row in held.records():
        if row["member"]:
            others = ", ".join(f"{o} (r {r:+.2f})" for o, r in zip(row["others"], row["correlations"]))
            print(
                f"{row['neuron']:<7}{row['label']:<9}k={row['k']} weight {row['weight']:+.2f} gap {row['gap']:.1e} with {others or 'none'}"
            )
    print("The neuron of its layer with the largest correlation")
    for row in held.neighbours(1):
        print(f"{row['neuron']:<7}{row['other']:<7}{row['correlation']:+.2f}")
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", choices=("words", "smollm2"), default="words")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--each", type=int, default=20, help="contexts of a corpus, at most")
    parser.add_argument(
        "--neurons", help="neurons, as 2.430,1.146; six with --data, or the first three of them"
    )
    parser.add_argument("--random", type=int, help="random neurons; 4 with --data, or 1")
    parser.add_argument("--combined", help="labels whose best three neurons are a unit; German with --data")
    parser.add_argument("--others", type=int, help="explanations of other neurons to test; all by default")
    parser.add_argument("--supports", type=float, default=0, help="seconds for each optimal support; 0: none")
    parser.add_argument("--out", help="a folder from which an interrupted run goes on")
    args = parser.parse_args(argv)
    if args.neurons is None:
        args.neurons = ",".join(CASES if args.data else CASES[:3])
    if args.combined is None:
        args.combined = "German" if args.data else ""
    args.random = args.random if args.random is not None else (4 if args.data else 1)
    began = time.perf_counter()
    model, tokenizer = ji.load(args.model)
    corpus = corpus_of(tokenizer, args.data, args.each)
    cases, combined = ([each for each in text.split(",") if each] for text in (args.neurons, args.combined))
    units, names = units_of(
        model, corpus, cases, args.random, combined, 10 if args.data else 1, jax.random.key(1)
    )
    print(f"{args.judge} judges {len(names)} units of {args.model} on {corpus}")
    site = [f"mlp_post[{layer}]" for layer in range(model.config.layers)]
    judges, key = judge_of(args.judge), jax.random.key(0)
    given = {"site": site, "key": key}
    files = {}
    if args.out:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        files = {name: Path(args.out) / f"{args.judge}_{name}.jsonl" for name in ("texts", "scores")}
    only = ji.sae.Judges(explain=judges.explain)
    told = ji.sae.interpret(units, model, tokenizer, corpus, judges=only, out=files.get("texts"), **given)
    texts = {each["feature"]: each["explanation"] for each in told if each["kept"]}
    for each in told:
        if not each["kept"]:
            print(f"{names[each['feature']]} fires in {each['examples']} windows: not judged")
    found = ji.sae.explanation_scores(
        units,
        model,
        tokenizer,
        corpus,
        texts,
        judges=judges,
        others=args.others,
        out=files.get("scores"),
        **given,
    )
    measures = [name for name in ("detection_auc", "detection", "spearman") if name in found.scores]
    print(f"\n{'unit':<14}" + "".join(f"{name:>14}{'others':>8}" for name in measures) + "   explanation")
    for row in found.records():
        numbers = "".join(f"{row[name]:14.2f}{row[f'{name}_others']:8.2f}" for name in measures)
        print(f"{names[row['feature']]:<14}{numbers}   {row['explanation']!r}")
    print("\nOwn explanation minus those of others, mean over units (95% interval)")
    for name in measures:
        ends, p = found.interval(name), found.p(name, key=key)
        print(f"{name:<14}{ends.mean:+.3f} ({ends.low:+.3f} to {ends.high:+.3f}), p = {p:.3f}")
    labels = labels_table(model, corpus, names, 10 if args.data else 3, args.supports)
    print(f"\n{time.perf_counter() - began:.0f} s")
    return found, names, labels


if __name__ == "__main__":
    main()
