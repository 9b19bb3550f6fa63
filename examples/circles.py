"""Circles in a model: days of the week and months, in its answers, its states and a dictionary of it.

python examples/circles.py                              # a planted ring of features among other clusters, no model
python examples/circles.py --model smollm2-135m --data ../shared/data/corpora --out runs/circles --pictures docs/pictures

For a model it prints, for days and for months: how often the model counts on rightly; how well a circle is read from its
states, beside names in random orders; what the answers do when the angle is set in a layer; what the circle of the
answer explains. Then it trains a small dictionary on texts that name days and months, each text once with every other
name in its place, so that names and contexts are independent, and ranks clusters of its features.

Stop it at any point: what is done is in --out, and the same line goes on from there.
"""

import argparse
import functools
import json
import lzma
import re
import time
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import jaxinterp as ji

CYCLES = {
    "weekdays": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "months": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
}
ENGLISH = ("gutenberg_eng", "novels_eng", "legal_eng")


class Record:
    """Answers by name, in a file: what is there is not computed again."""

    def __init__(self, folder, about):
        self.path = None if folder is None else Path(folder) / "circles.json"
        self.found = {}
        if self.path and self.path.exists():
            self.found = json.loads(self.path.read_text())
            if self.found.get("about") != about:
                raise SystemExit(
                    f"{self.path} is of {self.found.get('about')}, not of {about}: give another --out."
                )
        self.found["about"] = about

    def get(self, name, make):
        if name not in self.found:
            self.found[name] = make()
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                part = self.path.with_suffix(".part")
                part.write_text(json.dumps(self.found))
                part.replace(self.path)
        return self.found[name]


def table_of(rows, title):
    """Records as a table."""
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row.values()))
    return table


class Prompts:
    """All prompts of a cycle, and one forward of them when it is needed."""

    def __init__(self, model, tokenizer, cycle):
        self.model, self.p = model, len(CYCLES[cycle])
        self.pairs = ji.tasks.calendar(tokenizer, self.p**2, key=jax.random.key(0), cycle=cycle, pad="left")

    @functools.cached_property
    def run(self):
        logits, acts = ji.run(
            self.model, self.pairs.clean, mask=self.pairs.mask, capture=["resid_post"], logits=-1
        )
        return np.asarray(logits).reshape(len(self.pairs), -1), np.asarray(acts["resid_post"])

    def states(self, where, layer):
        """States `(prompt, d)` behind a layer, at one token of each prompt."""
        return self.run[1][layer][np.arange(len(self.pairs)), self.pairs.positions[where]]

    def accuracy(self):
        """How often the right name is the likeliest token, and the likeliest of the names."""
        logits, about, rows = self.run[0], self.pairs.about, []
        names = np.take_along_axis(logits, about["answers"], 1).argmax(1)
        for what, right in (
            ("likeliest token", logits.argmax(1) == self.pairs.correct),
            ("likeliest of the names", names == about["answer"]),
            ("says the name it begins with", names == about["start"]),
            ("says the next name", names == (about["start"] + 1) % self.p),
            ("always its commonest answer", about["answer"] == np.bincount(names).argmax()),
        ):
            found = ji.stats.mean_interval(right.astype(float), key=jax.random.key(0), interval="percentile")
            ends = {name: float(found[name]) for name in ("low", "high")}
            rows.append({"what": what, "share": float(found.mean)} | ends)
        return rows

    def read(self, on, layers):
        """R2 of circles of names, beside random orders of them, by layer."""
        rows = []
        for layer in layers:
            row, x = {"layer": layer}, self.states({"start": "START", "answer": "END"}[on], layer)
            for k in (5, 2):
                found = ji.geometry.circle_test(
                    x, self.pairs.about[on], key=jax.random.key(layer), components=k
                )
                row |= {
                    f"R2 of {k}": found.r2,
                    f"chance of {k}": float(found.chance.mean()),
                    f"p of {k}": found.p,
                }
            rows.append(row)
        return rows

    def explained(self, layers):
        """What the circle of the answer adds to names and counts, at the last token."""
        given = [self.pairs.about[name] for name in ("start", "count", "answer")]
        find = lambda x: ji.geometry.circle_explanation(x, *given, period=self.p).records()[0]
        return [{"layer": layer} | find(self.states("END", layer)) for layer in layers]


def tasks(model, tokenizer, record, args, console):
    """Everything that needs the prompts alone."""
    layers = list(range(0, model.config.layers, args.every))
    for cycle in CYCLES:
        prompts = Prompts(model, tokenizer, cycle)
        rows = record.get(f"{cycle} accuracy", prompts.accuracy)
        console.print(table_of(rows, f"{cycle}: {prompts.p**2} prompts, chance {1 / prompts.p:.3f}"))
        for on in ("start", "answer"):
            rows = record.get(f"{cycle} {on} read", lambda on=on, prompts=prompts: prompts.read(on, layers))
            console.print(table_of(rows, f"{cycle}: a circle read from states, {on}"))
        rows = record.get(f"{cycle} explained", lambda prompts=prompts: prompts.explained(layers))
        console.print(table_of(rows, f"{cycle}: shares of variance at the last token, 20 components"))


def patching(model, tokenizer, record, args, console):
    """What setting the angle does, layer by layer."""
    few = ("exact", "donor", "average")
    for cycle, on, modes, step in (
        ("weekdays", "start", (*few, "subspace", "only", "without"), args.step),
        ("weekdays", "answer", few, args.step),
        ("months", "start", few, 2 * args.step),
    ):
        pairs, rows = Prompts(model, tokenizer, cycle).pairs, []
        for layer in range(0, model.config.layers, step):

            def one(pairs=pairs, on=on, layer=layer, modes=modes):
                found = ji.geometry.circle_patching(model, pairs, on=on, layers=[layer], modes=modes)
                return [*found.records(), {"mode": "none", "effect": found.unpatched}]

            found = {row["mode"]: row for row in record.get(f"{cycle} {on} patched {layer}", one)}
            cell = lambda row: (
                f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] {row['hits']:.2f}"
            )
            rows.append({"layer": layer} | {mode: cell(found[mode]) for mode in modes})
        title = f"{cycle}, {on} set: old answer's logit less the new one's, interval, share where the new one leads"
        console.print(table_of(rows, f"{title}; unpatched {found['none']['effect']:+.2f}"))


def windows(folder, count, plain, rng, before=90, after=40):
    """Pieces of English text around a name, `(text before, cycle, text after)`, and pieces without any."""
    pattern = re.compile(r" (" + "|".join(name for names in CYCLES.values() for name in names) + r")\b")
    text = ""
    for name in ENGLISH:
        if (path := Path(folder) / f"{name}.txt.xz").exists():
            text += re.sub(r"\s+", " ", lzma.decompress(path.read_bytes()).decode("utf-8")) + " "
    hits = [m for m in pattern.finditer(text) if m.start() > before and m.end() + after < len(text)]
    of = {name: cycle for cycle, names in CYCLES.items() for name in names}
    chosen = {}
    for cycle in CYCLES:
        own = [m for m in hits if of[m[1]] == cycle and m[1] != "May"]
        own = [own[i] for i in rng.permutation(len(own))[: count[cycle]]]
        chosen[cycle] = [(text[m.start() - before : m.start()], text[m.end() : m.end() + after]) for m in own]
    starts = rng.integers(0, len(text) - 200, plain)
    return chosen, [text[i : i + before + after] for i in starts]


def corpus_of(tokenizer, folder, args):
    """Rows of tokens, what counts, and `(cycle, name)` of each token that counts; -1 for other tokens."""
    rng = np.random.default_rng(0)
    count = {"weekdays": args.texts, "months": args.texts * 7 // 12}
    chosen, plain = windows(folder, count, args.plain, rng)
    rows, kept, labels = [], [], []
    for number, cycle in enumerate(CYCLES):
        for left, right in chosen[cycle]:
            left_ids = np.asarray(tokenizer(left))[-(args.ctx * 2 // 3) :]
            for v, name in enumerate(CYCLES[cycle]):
                ids = np.concatenate([left_ids, np.asarray(tokenizer(f" {name}{right}"))])[: args.ctx]
                at = len(left_ids)
                # What stands before the name is the same with every name, and counts once.
                counted = np.arange(len(ids)) >= (1 if v == 0 else at)
                label = np.full((len(ids), 2), -1)
                label[at] = number, v
                rows.append(ids), kept.append(counted), labels.append(label)
    for text in plain:
        ids = np.asarray(tokenizer(text))[: args.ctx]
        rows.append(ids), kept.append(np.arange(len(ids)) >= 1), labels.append(np.full((len(ids), 2), -1))
    width = max(map(len, rows))
    pad = lambda x, value: np.stack(
        [np.pad(r, ((0, width - len(r)),) + ((0, 0),) * (r.ndim - 1), constant_values=value) for r in x]
    )
    mask = pad([np.ones(len(r), bool) for r in rows], False)
    positions = pad(kept, False)
    corpus = ji.corpus.as_corpus(pad(rows, 0).astype(np.int32), mask=mask, positions=positions)
    return corpus, pad(labels, -1)[positions]


def dictionary(model, tokenizer, record, args, console):
    """A dictionary of one layer, its clusters, and where the names are."""
    out = Path(args.out)
    corpus, labels = corpus_of(tokenizer, args.data, args)
    site = f"resid_post[{args.layer}]"
    console.print(f"{len(labels):,} tokens of {len(corpus.tokens):,} pieces of text, at {site}")
    store = ji.data.save_activations(out / "activations", model, corpus, site, shard=512, batch_size=64)
    x = np.asarray(store.read())
    kind = ji.sae.TopK(d=x.shape[1], features=args.features, k=args.k, dead_tokens=20 * args.batch)
    settings = ji.fit.Settings(checkpoint=out / "training", checkpoint_every=50, sample=8192)
    sae, history = ji.sae.train(
        kind, x, key=jax.random.key(0), steps=args.steps, batch_size=args.batch, settings=settings
    )
    console.print(
        f"{args.features} features, k={args.k}, {args.steps} steps of {args.batch}: unexplained "
        f"{float(np.mean(history['reconstruction'][-20:])):.3f}, dead {float(history['dead'][-1]):.3f}"
    )
    study(sae, x, labels, record, args, console)


def study(sae, x, labels, record, args, console):
    """Clusters by hand and by both methods, ranked; how pure features of names are; circles in what they write."""
    fires = np.concatenate([np.asarray(sae.encode(x[i : i + 2048])) > 0 for i in range(0, len(x), 2048)])
    weight = fires.sum(0)
    own = {}
    for number, cycle in enumerate(CYCLES):
        here = labels[:, 0] == number
        precision = fires[here].sum(0) / np.maximum(weight, 1)
        own[cycle] = np.flatnonzero((precision > 0.5) & (weight >= 10))
        states, value = x[here], labels[here, 1]
        rows = record.get(
            f"{cycle} in texts",
            lambda s=states, v=value, names=CYCLES[cycle]: [
                {"components": k}
                | ji.geometry.circle_test(
                    s, v, key=jax.random.key(k), period=len(names), components=k
                ).records()[0]
                for k in (2, 5, 20)
            ],
        )
        console.print(table_of(rows, f"{cycle} in texts: a circle read from {here.sum()} states of names"))
        where = [here & (labels[:, 1] == v) for v in range(len(CYCLES[cycle]))]
        shares = {name: fires[at].mean(0) for name, at in zip(CYCLES[cycle], where, strict=True)}
        rows = [
            {"feature": int(i)} | {name[:3]: float(share[i]) for name, share in shares.items()}
            for i in own[cycle]
        ]
        if rows:
            console.print(table_of(rows, f"how often features of {cycle} fire at each name"))
    hand = np.full(len(weight), -1)
    for number, cycle in enumerate(CYCLES):
        hand[own[cycle]] = number
    near = lambda least: lambda: ji.geometry.feature_clusters(sae.decoder, least=least)
    ways = {"by hand": lambda: hand} | {f"graph above {least}": near(least) for least in args.least}
    ways["spectral"] = lambda: ji.geometry.feature_clusters(sae.decoder, method="spectral")
    for way, find in ways.items():

        def rank(way=way, find=find):
            clusters = find()
            try:
                found = ji.geometry.irreducible_clusters(
                    sae, x, clusters, key=jax.random.key(2), clip=0.001, points=args.points
                )
            except ValueError as error:  # no cluster that fires often enough is an answer
                console.print(f"{way}: {error}")
                return []
            rows = found.records()
            for i, row in enumerate(rows):
                for number, cycle in enumerate(CYCLES):
                    row[cycle] = float(np.mean(labels[found.rows[i], 0] == number))
                    row[f"features of {cycle}"] = int(np.isin(found.members[i], own[cycle]).sum())
                    here = labels[found.rows[i], 0] == number
                    value = labels[found.rows[i][here], 1]
                    if row[cycle] > 0.5 and len(set(value.tolist())) > 2:
                        test = ji.geometry.circle_test(
                            found.points[i][here],
                            value,
                            key=jax.random.key(3),
                            period=len(CYCLES[cycle]),
                            components=min(5, found.points[i].shape[1]),
                        )
                        row |= {
                            "circle_r2": test.r2,
                            "circle_chance": float(test.chance.mean()),
                            "circle_p": test.p,
                        }
                        if args.pictures:
                            names = np.asarray(CYCLES[cycle])[labels[found.rows[i], 1]]
                            names = np.where(here, names, "other tokens")
                            slug = f"circles_{way}_{cycle}_{i + 1}".replace(" ", "_")
                            found.figure(i + 1, labels=names).save(Path(args.pictures) / f"{slug}.svg")
            return rows

        rows = record.get(f"clusters {way}", rank)
        if not rows:
            continue
        names = [f"features of {cycle}" for cycle in CYCLES]
        shown = [row for row in rows if row["rank"] <= 5 or any(row[cycle] > 0.2 for cycle in CYCLES)]
        keep = ("rank", "features", "tokens", "score", "p", "separability_1", "mixture_1", *CYCLES, *names)
        more = ("circle_r2", "circle_chance", "circle_p")
        console.print(
            table_of(
                [{k: row[k] for k in keep} | {k: row.get(k, "") for k in more} for row in shown],
                f"{way}: {len(rows)} clusters, ranked",
            )
        )
    for cycle in CYCLES:
        console.print(f"{len(own[cycle])} features fire at {cycle} more than elsewhere.")


class Given(eqx.Module):
    """A dictionary whose latent values are given: `encode` hands them on."""

    decoder: np.ndarray

    def encode(self, f):
        return f

    def decode(self, f):
        return f @ self.decoder


def planted(console):
    """A ring of seven features among 20 clusters of others, in 64 dimensions."""
    rng = np.random.default_rng(0)
    unit = lambda z: z / np.linalg.norm(z, axis=-1, keepdims=True)
    turn = 2 * np.pi * np.arange(7) / 7
    ring = np.stack([np.cos(turn), np.sin(turn)], 1) @ np.linalg.qr(rng.normal(size=(64, 2)))[0].T
    others = [unit(unit(rng.normal(size=64)) + 0.09 * rng.normal(size=(4, 64))) for _ in range(20)]
    directions = np.concatenate([ring, *others]).astype(np.float32)
    n = 4000
    f = np.where(rng.random((n, 87)) < 0.05, rng.uniform(0.5, 1.5, (n, 87)), 0)
    f[:, :7] = 0
    there = rng.random(n) < 0.4
    f[there, rng.integers(0, 7, there.sum())] = rng.normal(1, 0.05, there.sum())
    sae = Given(directions)
    clusters = ji.geometry.feature_clusters(directions)
    found = ji.geometry.irreducible_clusters(
        sae, f.astype(np.float32), clusters, key=jax.random.key(0), points=500, resamples=5
    )
    rows = [
        {k: row[k] for k in ("rank", "cluster", "features", "tokens", "score", "p")}
        for row in found.records()[:5]
    ]
    console.print(table_of(rows, "clusters by graph; the planted ring has 7 features"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="A name that ji.load takes; by default a planted dictionary.")
    parser.add_argument("--data", help="A folder with corpora, for the dictionary.")
    parser.add_argument("--out", help="A folder for what is done.")
    parser.add_argument("--pictures", help="A folder for figures of clusters of names.")
    parser.add_argument("--every", type=int, default=3, help="States are read behind every so many layers.")
    parser.add_argument("--step", type=int, default=6, help="Angles are set behind every so many layers.")
    parser.add_argument("--layer", type=int, default=5, help="The dictionary's layer.")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=290, help="Texts that name a day.")
    parser.add_argument("--plain", type=int, default=1500, help="Texts as they come.")
    parser.add_argument("--ctx", type=int, default=24, help="Tokens of a text.")
    parser.add_argument("--least", type=float, nargs="+", default=[0.3, 0.5], help="Cosines of neighbours.")
    parser.add_argument("--points", type=int, default=2000, help="Tokens of a cluster.")
    parser.add_argument("--only", choices=("tasks", "dictionary", "patching"), help="One part.")
    args = parser.parse_args()
    console, began = Console(width=150), time.perf_counter()
    if args.model is None:
        planted(console)
    else:
        if args.pictures:
            Path(args.pictures).mkdir(parents=True, exist_ok=True)
        model, tokenizer = ji.load(args.model)
        about = {
            name: getattr(args, name)
            for name in (
                "model",
                "every",
                "step",
                "layer",
                "features",
                "k",
                "steps",
                "batch",
                "texts",
                "plain",
                "ctx",
                "least",
                "points",
            )
        }
        record = Record(args.out, about)
        if args.only in (None, "tasks"):
            tasks(model, tokenizer, record, args, console)
        if args.only in (None, "dictionary") and args.data:
            if args.out is None:
                parser.error("A dictionary is trained in a folder: give --out.")
            dictionary(model, tokenizer, record, args, console)
        if args.only in (None, "patching"):
            patching(model, tokenizer, record, args, console)
    console.print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
