"""How many neurons a feature needs in a model, and which neuron of a coarse feature a finer one has: from records."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..probes import metrics
from ..stats._results import Record

ORDER = ("single", "best_subset", "adaptive", "dense")


def best_of(records: Iterable[Record]) -> Record:
    """The record that fits the training rows best; of equal ones the one of the smallest loss."""
    rank = lambda r: (
        -r["train_f1"],
        ORDER.index(r["method"]),
        np.inf if r["objective"] is None else r["objective"],
    )
    return min(records, key=rank)


def sparsity(records: Sequence[Record], share: float | int, readable: float | int) -> Record:
    """One feature in one model: its best neuron, the F1 of each k, and the k that is enough.

    Layers and methods are chosen on the training rows, F1 is of the test rows.
    """
    of_k: dict[int, list[Record]] = {}
    for r in records:
        if r["method"] != "dense":
            of_k.setdefault(r["k"], []).append(r)
    best = {k: best_of(of_k[k]) for k in sorted(of_k)}
    best[1] = single = best_single(records, records[0]["feature"])
    dense = best_of(r for r in records if r["method"] == "dense")
    enough = share * dense["f1"]
    reads = bool(dense["f1"] >= readable and dense["f1"] > 0)
    needed = next((k for k, r in best.items() if r["f1"] >= enough), None) if reads else None
    alone = [r["f1"] >= enough for r in records if r["method"] == "single"]
    return {
        "neuron": f"{single['layer']}.{single['support'][0]}",
        "f1": single["f1"],
        "low": single.get("f1_low"),
        "high": single.get("f1_high"),
        "dense_f1": dense["f1"],
        "dense_layer": dense["layer"],
        "readable": reads,
        "dedicated": reads and needed == 1,
        "needed": needed,
        "layers_with_one": float(np.mean(alone)) if reads else None,
        "ks": list(best),
        "f1_by_k": [r["f1"] for r in best.values()],
        "positives": round(single["positive_share"] * single["n_test"]),
        "n_test": single["n_test"],
    }


def best_single(records: Iterable[Record], feature: str) -> Record:
    """The neuron of a feature, chosen on the training rows."""
    return best_of(r for r in records if r["method"] == "single" and r["feature"] == feature)


def splitting(
    records: Sequence[Record],
    labels: dict[str, np.ndarray],
    pairs: Iterable[tuple[str, str]],
    test: np.ndarray,
    read: Callable[[int], np.ndarray],
) -> list[Record]:
    """How well the neurons of a coarse and of a fine feature tell the fine one from the rest of the coarse one.

    Test rows of the coarse feature alone; `read(layer)` gives the rows `(row, unit)`.
    """
    found = []
    for coarse, fine in pairs:
        rows = test[labels[coarse][test]]
        y = labels[fine][rows]
        row: Record = {"coarse": coarse, "fine": fine}
        both = 0 < y.sum() < len(y)
        for whose, feature in (("own", fine), ("coarse", coarse)):
            r = best_single(records, feature)
            value = read(r["layer"])[rows, r["support"][0]] * r["weights"][0]
            row[f"{whose}_neuron"] = f"{r['layer']}.{r['support'][0]}"
            row[f"{whose}_auc"] = float(metrics(y, value)["roc_auc"]) if both else float("nan")
        row |= {
            "same": row["own_neuron"] == row["coarse_neuron"],
            "positives": int(y.sum()),
            "n_test": len(y),
        }
        found.append(row)
    return found
