"""A dictionary of the embedded model: trained on its residual stream, judged, read, steered.

python examples/sparse_dictionary.py                                           # short pieces: shows how
python examples/sparse_dictionary.py --data ../shared/data/corpora --out DIR   # what docs/measured.md reports

The dictionary reads documents that the model was trained on; everything that is measured is measured
on documents that neither has seen. A feature of a language is found by a probe of one feature on some
documents and tested on others, then held at its largest value while the model writes; what it writes
is judged by the counts of tokens in each language, which know nothing of the model.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from language_neurons import CLASSES, corpora_of, interval, joined, pieces, read

import jaxinterp as ji

PROMPTS = ["It was", "The", "In the", "And then", "When the", "This is", "1. ", "A"]
OF = {name: kind for kind, names in CLASSES.items() for name in names}


def documents(folder, characters, key=0):
    """Of the text that the embedded model was trained on, so many characters of each corpus."""
    rng, chosen = np.random.default_rng(key), []
    for name, several in corpora_of(folder)["train"].items():
        size = 0
        for i in rng.permutation(len(several)):
            if size < characters:
                chosen.append(ji.data.Document(several[i], name))
                size += len(several[i])
    return chosen


def learn(model, corpus, args):
    """The dictionary, its history, and the seconds that it took with compilation."""
    stream = ji.data.stream(model, corpus, site=args.site, batch_size=args.batch, positions=counted(corpus))
    dead = 250 * args.batch
    kind = ji.sae.TopK(d=model.config.d, features=args.features, k=args.k, dead_tokens=dead)
    began = time.perf_counter()
    sae, history = ji.sae.train(
        kind,
        stream,
        key=jax.random.key(args.seed),
        steps=args.steps,
        settings=ji.fit.Settings(
            average=0.99,
            checkpoint_every=250,
            checkpoint=None if args.out is None else Path(args.out) / "run",
        ),
    )
    return sae, history, time.perf_counter() - began


def counted(corpus):
    """Real tokens but the first of each context."""
    return corpus.positions & ji.data.keep(corpus.mask)


def detectors(sae, model, corpus, site, train, test):
    """For each class the feature that tells it best alone: chosen on `train`, measured on `test`."""
    base, layer = site.removesuffix("]").split("[")
    spliced = ji.intervene(model, [ji.splice(base, sae, layer=int(layer), error=True)])
    x = ji.data.activations(
        spliced, corpus, f"{base}.sae.feature[{layer}]", positions=counted(corpus), reduce="mean"
    )
    x = x / np.maximum(x[train].std(0), 1e-3)
    found = {}
    for kind in CLASSES:
        y = corpus.labels == kind
        best = ji.neurons.monosemantic(x[train], y[train])[0]
        said = x[test][:, best["unit"]] * best["weight"] + best["bias"] > 0
        f1 = 2 * np.sum(y[test] & said) / max(1, np.sum(y[test]) + np.sum(said))
        found[kind] = {
            "feature": best["unit"],
            "train_f1": best["f1"],
            "f1": float(f1),
            "interval": interval(y[test], said, corpus.groups[test]).tolist(),
        }
    return found


class Judge:
    """Which kind a text is of, by the frequencies of single tokens in texts of each kind."""

    def __init__(self, corpus, vocab):
        counts = np.full((len(CLASSES), vocab), 0.5)
        for row, label, counts_here in zip(corpus.tokens, corpus.labels, corpus.positions, strict=True):
            kind = OF.get(label, label)
            np.add.at(counts[list(CLASSES).index(kind)], row[counts_here], 1)
        self.log = np.log(counts / counts.sum(1, keepdims=True))

    def __call__(self, tokens):
        return np.asarray(list(CLASSES))[self.log[:, np.asarray(tokens)].sum(-1).argmax(0)]


def steered(sae, model, tokenizer, judge, found, seen, site, samples, times=(0.5, 1.0, 2.0)):
    """How many texts of 40 tokens are of a feature's kind, by how far it is held; 0 is the model alone."""
    prompts = tokenizer(PROMPTS, bos=True)[0] if tokenizer.bos_id is not None else tokenizer(PROMPTS)[0]
    mask = tokenizer(PROMPTS, bos=True)[1]
    tokens, mask = np.repeat(prompts, samples, 0), np.repeat(mask, samples, 0)
    table, shown = {}, {}
    write = lambda edits: np.asarray(
        ji.generate(model, tokens, 40, edits=edits, mask=mask, key=jax.random.key(1), top_p=0.9)
    )[:, tokens.shape[1] :]
    alone = write([])
    for kind, each in found.items():
        feature = each["feature"]
        shares = [float(np.mean(judge(alone) == kind))]
        for scale in times:
            edit = ji.sae.steer(sae, feature, site=site, observed=seen, times=scale)
            text = write([edit])
            shares.append(float(np.mean(judge(text) == kind)))
            if scale == 1.0:
                shown[kind] = tokenizer.decode(text[0])
        table[kind] = shares
    return table, shown, tokenizer.decode(alone[0])


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a folder with the corpora")
    parser.add_argument("--out", help="a folder: checkpoints, the dictionary, numbers, a browser")
    parser.add_argument("--site", default="resid_post[1]")
    parser.add_argument("--features", type=int)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--characters", type=int, default=2_000_000, help="of each corpus")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    full = args.data is not None
    args.features = args.features or (2048 if full else 320)
    args.steps, args.batch = args.steps or (1500 if full else 300), args.batch or (4096 if full else 256)
    began = time.perf_counter()
    model, tokenizer = ji.load("tiny")
    if full:
        corpus = ji.data.pack(tokenizer, documents(args.data, args.characters), ctx=256)
        studied, train, test = joined(tokenizer, *read(args.data), 128, 100)
    else:
        corpus = studied = ji.data.pack(tokenizer, pieces(), ctx=64, least=8)
        train, test = ji.data.split(corpus.groups, test=0.4, key=jax.random.key(0), labels=corpus.labels)
    print(f"{corpus}, read in {time.perf_counter() - began:.0f} s")
    sae, history, seconds = learn(model, corpus, args)
    print(
        f"{args.features} features, k={args.k}, {args.steps} steps of {args.batch} tokens: {seconds:.0f} s; dead {history['dead'][-1]:.1%}"
    )

    held = ji.data.Corpus(
        *(getattr(studied, n)[test] for n in ("tokens", "mask", "positions", "document", "offsets")),
        studied.documents,
    )
    quality = ji.sae.evaluate(sae, model, held, site=args.site)
    print("\nOn documents held out")
    for name in (
        "l0",
        "explained_variance",
        "loss",
        "loss_sae",
        "loss_zero",
        "recovered",
        "recovered_mean",
        "kl_recovered",
        "dead",
        "dense",
    ):
        print(f"  {name:<20}{quality[name]:10.4f}")

    found = detectors(sae, model, studied, args.site, train, test)
    seen = ji.sae.examples(sae, model, held, site=args.site)
    weights = ji.sae.logit_weights(sae, model, args.site)
    print("\nThe feature of a class: chosen on other documents than it is tested on")
    for kind, each in found.items():
        low, high = each["interval"]
        tokens = " ".join(repr(t["token"]) for t in weights.records(tokenizer, each["feature"], k=6)[:6])
        print(f"  {kind:<9}{each['feature']:>5}  F1 {each['f1']:.3f} ({low:.3f} to {high:.3f})  {tokens}")

    judge = Judge(corpus, model.config.vocab)
    times = (0.5, 1.0, 2.0)
    table, shown, alone = steered(
        sae, model, tokenizer, judge, found, seen, args.site, 8 if full else 1, times
    )
    print(
        f"\nHeld at times its largest value: share of texts of its kind\n  {'':<9}{'model':>7}"
        + "".join(f"{t:>7}" for t in times)
    )
    for kind, shares in table.items():
        print(f"  {kind:<9}" + "".join(f"{share:7.2f}" for share in shares))
    print(f"\nModel alone: {alone!r}")
    for kind, text in shown.items():
        print(f"{kind}: {text!r}")
    if args.out:
        out = Path(args.out)
        about = {
            "model": "tiny",
            "model_hash": ji.data.model_hash(model),
            "site": args.site,
            "steps": args.steps,
            "batch": args.batch,
        }
        ji.sae.save(out / "dictionary", sae, about=about)
        labels = {each["feature"]: kind for kind, each in found.items()}
        ji.sae.browse(out / "features", sae, model, tokenizer, site=args.site, read=seen, labels=labels)
        numbers = {n: float(v) for n, v in quality.items() if np.ndim(v) == 0}
        record = {
            "command": vars(args),
            "train_seconds": seconds,
            "quality": numbers,
            "found": found,
            "steered": table,
        }
        (out / "numbers.json").write_text(json.dumps(record, indent=1))
    print(f"\n{time.perf_counter() - began:.0f} s")
    return quality, found, table


if __name__ == "__main__":
    main()
