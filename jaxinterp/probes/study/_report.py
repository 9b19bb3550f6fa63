"""What a study found: the best neuron of each feature with its proof, curves, one page."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._text import grid
from ...data import Feature, Store
from ...typing import ArrayLike, CorpusLike, KeyLike, ModelLike, PathLike
from ...viz import Chapter, by_k, by_layer, by_size, number, page, table
from ._records import Record, best, select, shown
from ._scaling import scaling
from ._settings import RESPELLED, StudySettings
from ._study import study

if TYPE_CHECKING:
    from rich.table import Table

_EACH = 5
"Curves in one figure: so many colours there are."


@respelled(**{old: new for old, new in RESPELLED.items() if old != "ks"})
@takes_settings
def prove_best(
    model: ModelLike | None,
    data: CorpusLike | Store,
    labels: Mapping[str, ArrayLike | Feature],
    records: Iterable[Record],
    *,
    key: KeyLike,
    ks: Sequence[int] = (1, 2, 3),
    settings: StudySettings = StudySettings(time_limit=10),
    groups: ArrayLike | None = None,
    parts: tuple[ArrayLike, ArrayLike] | None = None,
    out: PathLike | None = None,
    store: PathLike | None = None,
    progress: bool = True,
) -> list[Record]:
    r"""Calls `best_subset` for each label at the layer of its best single neuron, chosen on the training rows.

    **Arguments:**

    - `model`, `data`, `labels` (a dict), `key`, `settings`, `groups`, `parts`, `out`, `store`, `progress`: as they
      were in the call of `study`. The time limit of the settings is for each proof.
    - `records`: those of `study`, with the method "single".
    - `ks`: numbers of neurons. Default 1, 2 and 3.

    **Raises:** ValueError for records of a label that `labels` lacks; as `study`.

    **Returns:** records of the method "best_subset", added to `out` if there is one.

    ```python
    proofs = ji.probes.prove_best(model, corpus, labels, records, ks=[1, 2], key=key, out="study.jsonl")
    ```
    """
    at: dict[int, list[str]] = {}
    chosen = best_neurons(records)
    unknown = [r["feature"] for r in chosen if r["feature"] not in labels]
    if unknown:
        raise ValueError(
            f"records are of the study of the same labels; they hold {unknown[0]!r}, and labels hold {list(labels)}. "
            "Give the labels of that study: ji.probes.prove_best(model, data, labels, records, ...)."
        )
    for r in chosen:
        at.setdefault(r["layer"], []).append(r["feature"])
    found = []
    for layer, names in at.items():
        found += study(
            model,
            data,
            {name: labels[name] for name in names},
            key=key,
            settings=dataclasses.replace(settings, layers=[layer], methods={"best_subset": list(ks)}),
            groups=groups,
            parts=parts,
            out=out,
            store=store,
            progress=progress,
        )
    return found


def best_neurons(records: Iterable[Record]) -> list[Record]:
    r"""The best single neuron of all layers for each feature, chosen on the training rows.

    The layer is chosen on the training rows too, so the F1 of the record, on the test rows, is not biased by a choice.

    ```python
    for r in ji.probes.best_neurons(records):
        print(r["feature"], f"{r['layer']}.{r['support'][0]}", r["f1"])
    ```
    """
    singles = select(records, method="single")
    if not singles:
        raise ValueError("No record is of the method 'single': study(..., methods=['single', ...]).")
    # Of several that tell the training rows apart equally well, the one of the lower loss.
    singles.sort(key=lambda r: (r["objective"] is None, r["objective"]))
    found = best(singles, by=("model", "feature"), metric="train_f1")
    order = list(dict.fromkeys((r["model"], r["feature"]) for r in records))
    return sorted(found, key=lambda r: order.index((r["model"], r["feature"])))


COLUMNS = ("feature", "positives", "best neuron", "F1", "MCC", "certificate")


def best_rows(records: Sequence[Record]) -> list[list[str]]:
    """Rows under `COLUMNS`: the best neuron of each feature, and what is proven at its layer."""
    proofs: dict[tuple[Any, ...], list[Record]] = {}
    for r in records:
        if r["method"] == "best_subset":
            proofs.setdefault((r["model"], r["feature"], r["layer"]), []).append(r)
    rows = []
    for r in best_neurons(records):
        proven = []
        for proof in sorted(proofs.get((r["model"], r["feature"], r["layer"]), []), key=lambda p: p["k"]):
            neurons = ", ".join(map(str, proof["support"] or []))
            state = "proven" if proof["status"] == "optimal" else f"gap {number(proof['gap'], 2)}"
            proven.append(f"k={proof['k']}: {neurons} ({state}, F1 {number(proof['f1'])})")
        rows.append(
            [
                r["feature"],
                f"{100 * r['positive_share']:.0f}%",
                f"{r['layer']}.{r['support'][0]}",
                shown(r, "f1"),
                shown(r, "mcc"),
                "; ".join(proven),
            ]
        )
    return rows


def best_table(records: Sequence[Record], *, title: str = "") -> "Table":
    """The best neuron of each feature with its certificate, for the terminal: `rich.print(table)`.

    **Arguments:**

    - `records`: records of `study`.
    - `title`: the title of the table; empty by default.

    ```python
    rich.print(ji.probes.best_table(records, title="German"))
    ```
    """
    return grid(COLUMNS, best_rows(records), title=title)


def study_page(records: Iterable[Record], *, title: str = "A probing study") -> str:
    """The HTML page of a study: best neurons, and F1 by layer, by number of neurons and by model size.

    **Arguments:**

    - `records`: records of `study`, of one model or several.
    - `title`: the title of the page; "A probing study" by default.

    ```python
    ji.viz.write("study.html", ji.probes.study_page(records))
    ```
    """
    records = list(records)
    features = list(dict.fromkeys(r["feature"] for r in records))
    models = list(dict.fromkeys(r["model"] for r in records))
    parts = [features[i : i + _EACH] for i in range(0, len(features), _EACH)]
    chapters = []
    for model in models:
        mine = select(records, model=model)
        name = f" ({model})" if len(models) > 1 else ""
        r = mine[0]
        about = (
            f"`{model}`, site `{r['site']}`, {'a row per token' if r['reduce'] is None else r['reduce'] + ' over each context'}: "
            f"{r['n_train']:,} rows to train and {r['n_test']:,} to test, no document in both. Intervals are of 95%."
        )
        if select(mine, method="single"):
            body: list[Any] = [
                about,
                "The neuron (layer.neuron) is chosen on the training rows, its F1 taken on the others.",
            ]
            chapters.append(Chapter(f"Best neurons{name}", [*body, table(COLUMNS, best_rows(mine))]))
        for method, words in (("single", "the best single neuron"), ("adaptive", "the best k")):
            chosen = select(mine, method=method)
            if chosen and len({r["layer"] for r in chosen}) > 1:
                chapters.append(
                    Chapter(
                        f"F1 by layer, {words}{name}",
                        [
                            by_layer(chosen, features=[f for f in part if select(chosen, feature=f)])
                            for part in parts
                        ],
                    )
                )
        many = [
            m
            for m in ("adaptive", "mean_diff", "best_subset")
            if len({r["k"] for r in mine if r["method"] == m}) > 1
        ]
        if many:
            chosen = select(mine, method=many[0])
            figures = [
                by_k(chosen, features=[f for f in part if select(chosen, feature=f)]) for part in parts
            ]
            rows = [
                [s.feature, *(s.score[i] for i in _ends(s.ks)), s.needed]
                for s in scaling(chosen, method=many[0])
            ]
            first = scaling(chosen, method=many[0])[0]
            columns = [
                "feature",
                *(f"F1 at k={first.ks[i]}" for i in _ends(first.ks)),
                "k for 95% of the last",
            ]
            chapters.append(
                Chapter(
                    f"F1 by number of neurons{name}",
                    [*figures, table(columns, rows, title=f"Best of all layers, {many[0]}")],
                )
            )
    if len({r["parameters"] for r in records if r.get("parameters")}) > 1:
        chapters.append(Chapter("F1 by model size", [by_size(records, features=part) for part in parts]))
    versions = ", ".join(f"{name} {records[0].get(name)}" for name in ("jaxinterp", "jax", "numpy"))
    return page(title, chapters, footer=f"{len(records):,} records; {versions}.")


def _ends(ks: Sequence[int]) -> list[int]:
    """The first, about the middle, and the last."""
    return sorted({0, len(ks) // 2, len(ks) - 1} & set(np.arange(len(ks)).tolist()))
