"""Chapter 12: neurons of a language or of code: found, proven to be the best, and taken out.

Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, listed
from ._shown import shown
from ._texts import PIECES

CTX, BAR, KS, SECONDS = 64, 0.95, (1, 2, 3), 5
WHOLE = 10_000
"Up to so many neurons a proof is over all layers; beyond, over the layer of the best one."


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    if "mlp_post" not in ji.sites(model):
        raise NotForThisModel("it has no MLP, so it has no neurons.")
    ctx, bos = min(CTX, model.config.ctx), tokenizer.bos_id is not None
    size = sum(map(len, PIECES.values())) if ctx * model.config.layers < 1000 else 8
    # <ablation>
    documents = [(text, kind) for kind, texts in PIECES.items() for text in texts]
    corpus = ji.data.pack(tokenizer, documents, ctx=ctx, bos=bos, least=5)
    kinds, counted = corpus.labels, corpus.positions & ji.data.keep(corpus.mask, skip=3)
    means = ji.data.activations(
        model, corpus, "mlp_post", positions=counted, reduce="mean", batch_size=size, progress=False
    )
    means = np.asarray(means)  # (layer, piece, neuron)
    train, test = ji.data.split(corpus.groups, test=0.4, key=jax.random.key(0), labels=kinds)
    means = means / (10 * np.maximum(means[:, train].std(1, keepdims=True), 1e-3))  # in tens of the deviation
    best = {kind: ji.neurons.monosemantic(means[:, train], kinds[train] == kind)[0] for kind in PIECES}
    neurons = list(dict.fromkeys((each["layer"], each["unit"]) for each in best.values()))
    tested = {kind: test[kinds[test] == kind] for kind in PIECES}
    tested = {kind: (corpus.tokens[at], corpus.mask[at]) for kind, at in tested.items()}
    effect = ji.neurons.ablation(model, tested, neurons, key=jax.random.key(0), progress=False)
    figure = ji.viz.heatmap(
        effect.increase,
        rows=list(effect.rows),
        cols=list(effect.names),
        axis_names=("neuron", "kind"),
        value="rise of the loss (nats per token)",
        interval=(effect.low, effect.high),
        title="Rise of the loss when a neuron is set to zero, by kind of text",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </ablation>
    rises = figure
    study = Study(kinds, means, train, test)
    found = {kind: tested_neuron(study, kind, best[kind]) for kind in PIECES}
    proofs = {kind: proven(study, kind, found[kind]["layer"]) for kind in PIECES}
    good = [kind for kind in PIECES if found[kind]["f1"] >= BAR]
    own = np.array([effect.names.index(kind) for kind in PIECES])
    rows = np.array([effect.rows.index(each["neuron"]) for each in found.values()])
    spared = np.array([np.delete(effect.increase[r], c).mean() for r, c in zip(rows, own, strict=True)])
    hit = effect.increase[rows, own]
    fires_on = max(PIECES, key=lambda kind: found[kind]["f1"] + found[kind]["gap"])
    # <pieces>
    one = best[fires_on]
    values = means[one["layer"], test, one["unit"]]
    edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-6), 21)
    figure = ji.viz.histogram(
        {kind: np.histogram(values[kinds[test] == kind], edges)[0] for kind in PIECES},
        edges,
        marks={"threshold": -one["bias"] / one["weight"]},
        x_axis="mean activation over a piece (tens of the deviation)",
        y_axis="share of pieces",
        title=f"Neuron {one['layer']}.{one['unit']}, which fires on {fires_on}: pieces held out, by kind",
    )
    # </pieces>
    done = [each.status == "optimal" for several in proofs.values() for each in several.values()]
    where = (
        f"of all {means.shape[0] * means.shape[2]:,} neurons"
        if means.shape[0] * means.shape[2] <= WHOLE
        else f"of the {means.shape[2]:,} neurons of the best one's layer"
    )
    most = int(np.argmax(hit))
    return Finding(
        "Neurons of a language",
        "Can a part be as small as one neuron: does one know a language, and does the model need it?",
        "The heat map shows what each kind of text loses without the best neuron of each kind, and the histogram where one of them fires.",
        [
            f"{len(kinds)} short pieces of {listed(list(PIECES))} are read, and the mean activation of every neuron over a piece is its row. "
            f"{len(train)} pieces choose neurons and fit thresholds, {len(test)} others test them: "
            + (
                f"for {listed(good)} one neuron alone reaches F1 {BAR} or more on pieces that it was not chosen on."
                if good
                else f"for none of them one neuron alone reaches F1 {BAR} on pieces that it was not chosen on."
            ),
            f"Ranking can overlook a better neuron; `ji.probes.best_subset` cannot. It minimises the loss of a probe over every choice {where} "
            f"and proves that no other is better: {sum(done)} of {len(done)} searches (k = {listed([str(k) for k in KS])}) ended with a proof"
            + ("." if all(done) else ", the others with the gap that is shown."),
            shown(chapter, "ablation", rises, ctx=ctx, size=size),
            f"The test by intervention: each neuron is set to zero at every position of the pieces held out. The neuron of {list(PIECES)[most]}, {found[list(PIECES)[most]]['neuron']}, "
            f"costs its own kind most: {viz.number(hit[most])} nats per token. "
            f"In the mean over the {len(PIECES)} neurons their own kind loses {viz.number(hit.mean())} nats, and the other kinds {viz.number(spared.mean())}. "
            + ("What such a neuron knows, others know too." if hit.mean() < 0.05 else "The model uses them."),
            Table(
                ["kind", "best neuron", "F1 on pieces held out", "interval", *(f"best {k}, gap" for k in KS)],
                [
                    [
                        kind,
                        each["neuron"],
                        each["f1"],
                        f"{viz.number(each['low'])} to {viz.number(each['high'])}",
                        *(
                            f"{listed(support(study, proofs[kind][k], each['layer']))} ({proofs[kind][k].gap:.0e})"
                            for k in KS
                        ),
                    ]
                    for kind, each in found.items()
                ],
                title=f"One neuron for a kind of text, and the best {listed([str(k) for k in KS])} with what is left to prove",
            ),
            shown(chapter, "pieces", figure, fires_on=fires_on),
        ],
        {
            "found": found,
            "proofs": proofs,
            "good": good,
            "increase": effect.increase,
            "rows": effect.rows,
            "kinds": effect.names,
            "hit": hit,
            "spared": spared,
        },
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Kinds of the pieces, their rows `x (layer, piece, ff)` in tens of each neuron's deviation, and the split."""

    kinds: np.ndarray
    x: np.ndarray
    train: np.ndarray
    test: np.ndarray


def tested_neuron(study: Study, kind: str, best: Mapping[str, Any]) -> dict[str, Any]:
    """The neuron with the best training F1, and its F1 with interval on the pieces held out."""
    y = study.kinds == kind
    score = study.x[best["layer"], study.test, best["unit"]] * best["weight"] + best["bias"]
    scores = ji.probes.metrics(y[study.test], score, resamples=100, key=jax.random.key(0))
    low, high = scores["intervals"]["f1"]
    gap = score[y[study.test]].min() - score[~y[study.test]].max()
    return {**best, "train_f1": best["f1"], "f1": scores["f1"], "low": low, "high": high, "gap": float(gap)}


def proven(study: Study, kind: str, layer: int) -> Mapping[int, Any]:
    """The best k neurons with their certificates."""
    x = columns(study, layer)[study.train]
    return ji.probes.best_subsets(x, study.kinds[study.train] == kind, KS, time_limit=SECONDS, gamma=1.0)


def columns(study: Study, layer: int) -> np.ndarray:
    """What a proof is over: all neurons side by side, or those of a layer."""
    layers, pieces, ff = study.x.shape
    return np.moveaxis(study.x, 0, 1).reshape(pieces, -1) if layers * ff <= WHOLE else study.x[layer]


def support(study: Study, found: Any, layer: int) -> list[str]:
    """Names of the neurons of a proof."""
    layers, _, ff = study.x.shape
    first = 0 if layers * ff <= WHOLE else layer * ff
    return ["{}.{}".format(*divmod(int(i) + first, ff)) for i in found.support]
