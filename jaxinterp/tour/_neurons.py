"""Chapter 10: neurons of a language or of code: found, proven to be the best, and taken out.

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
from ._texts import PIECES

CTX, SKIP, BAR, KS, SECONDS = 64, 3, 0.95, (1, 2, 3), 5
WHOLE = 10_000
"Up to so many neurons a proof is over all layers; beyond, over the layer of the best one."


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    if "mlp_post" not in ji.sites(model):
        raise NotForThisModel("it has no MLP, so it has no neurons.")
    study = read(model, tokenizer)
    found = {kind: best_neuron(study, kind) for kind in PIECES}
    proofs = {kind: proven(study, kind, found[kind]["layer"]) for kind in PIECES}
    good = [kind for kind in PIECES if found[kind]["f1"] >= BAR]
    neurons = list(dict.fromkeys((each["layer"], each["unit"]) for each in found.values()))
    tested = study.held_out()
    effect = ji.neurons.ablation(model, tested, neurons, key=jax.random.key(0), progress=False)
    own = np.array([effect.names.index(kind) for kind in PIECES])
    rows = np.array([effect.rows.index(each["neuron"]) for each in found.values()])
    spared = np.array([np.delete(effect.increase[r], c).mean() for r, c in zip(rows, own, strict=True)])
    hit = effect.increase[rows, own]
    shown = max(PIECES, key=lambda kind: found[kind]["f1"] + found[kind]["gap"])
    done = [each.status == "optimal" for several in proofs.values() for each in several.values()]
    whole = study.x.shape[0] * study.x.shape[2] <= WHOLE
    where = (
        f"of all {study.x.shape[0] * study.x.shape[2]:,} neurons"
        if whole
        else f"of the {study.x.shape[2]:,} neurons of the best one's layer"
    )
    most = int(np.argmax(hit))
    return Finding(
        "Neurons of a language",
        [
            f"{len(study.corpus)} short pieces of {listed(list(PIECES))} are read, and the mean activation of every neuron over a piece is its row. "
            f"{len(study.train)} pieces choose neurons and fit thresholds, {len(study.test)} others test them: "
            + (
                f"for {listed(good)} one neuron alone reaches F1 {BAR} or more on pieces that it was not chosen on."
                if good
                else f"for none of them one neuron alone reaches F1 {BAR} on pieces that it was not chosen on."
            ),
            f"Ranking can overlook a better neuron; `ji.probes.best_subset` cannot. It minimises the loss of a probe over every choice {where} "
            f"and proves that no other is better: {sum(done)} of {len(done)} searches (k = {listed([str(k) for k in KS])}) ended with a proof"
            + ("." if all(done) else ", the others with the gap that is shown."),
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
            viz.heatmap(
                effect.increase,
                rows=list(effect.rows),
                cols=list(effect.names),
                axis_names=("neuron", "kind"),
                value="nats",
                interval=(effect.low, effect.high),
                title="Rise of the loss per token when a neuron is set to zero, by kind of text",
                settings=viz.HeatmapSettings(
                    diverging=True, caption="Hover for the interval, from resampled pieces."
                ),
            ),
            pieces_figure(
                study,
                found[shown],
                f"Neuron {found[shown]['neuron']}, which fires on {shown}: pieces held out, by kind",
            ),
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


def pieces_figure(study: "Study", neuron: dict[str, Any], title: str) -> viz.Figure:
    """Mean activations of one neuron over the pieces that test, and its threshold."""
    values = study.x[neuron["layer"], study.test, neuron["unit"]]
    edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-6), 21)
    kinds = study.corpus.labels[study.test]
    counts = {kind: np.histogram(values[kinds == kind], edges)[0] for kind in PIECES}
    return viz.histogram(
        counts,
        edges,
        title=title,
        x_axis="mean activation over a piece, in tens of the deviation",
        y_axis="share of pieces",
        marks={"threshold": -neuron["bias"] / neuron["weight"]},
        caption="Shares are drawn by their square root, so that few pieces stay visible.",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Pieces, their rows `x (layer, piece, ff)` in tens of each neuron's deviation, and the split."""

    corpus: Any
    x: np.ndarray
    train: np.ndarray
    test: np.ndarray

    def held_out(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Tokens and masks of the pieces that test, by kind."""
        kinds, corpus = self.corpus.labels[self.test], self.corpus
        return {
            kind: (corpus.tokens[self.test][kinds == kind], corpus.mask[self.test][kinds == kind])
            for kind in PIECES
        }


def read(model: LoadedModel, tokenizer: Tokenizer) -> Study:
    """Every piece as the mean activations of its tokens, train and test parted by piece."""
    ctx = min(CTX, model.config.ctx)
    documents = [(text, kind) for kind, texts in PIECES.items() for text in texts]
    corpus = ji.data.pack(tokenizer, documents, ctx=ctx, bos=tokenizer.bos_id is not None, least=SKIP + 2)
    positions = corpus.positions & ji.data.keep(corpus.mask, skip=SKIP)
    rows = len(corpus) if ctx * model.config.layers < 1000 else 8
    read = ji.data.activations(
        model, corpus, "mlp_post", positions=positions, reduce="mean", batch_size=rows, progress=False
    )
    x = np.asarray(read)
    train, test = ji.data.split(corpus.groups, test=0.4, key=jax.random.key(0), labels=corpus.labels)
    spread = np.maximum(x[:, train].std(1, keepdims=True), 1e-3)
    return Study(corpus, x / (10 * spread), train, test)


def best_neuron(study: Study, kind: str) -> dict[str, Any]:
    """The neuron with the best training F1, and its F1 with interval on the pieces held out."""
    y = study.corpus.labels == kind
    best = ji.neurons.monosemantic(study.x[:, study.train], y[study.train])[0]
    score = study.x[best["layer"], study.test, best["unit"]] * best["weight"] + best["bias"]
    scores = ji.probes.metrics(y[study.test], score, resamples=100, key=jax.random.key(0))
    low, high = scores["intervals"]["f1"]
    gap = score[y[study.test]].min() - score[~y[study.test]].max()
    return {**best, "train_f1": best["f1"], "f1": scores["f1"], "low": low, "high": high, "gap": float(gap)}


def proven(study: Study, kind: str, layer: int) -> Mapping[int, Any]:
    """The best k neurons with their certificates."""
    x = columns(study, layer)[study.train]
    return ji.probes.best_subsets(
        x, study.corpus.labels[study.train] == kind, KS, time_limit=SECONDS, gamma=1.0
    )


def columns(study: Study, layer: int) -> np.ndarray:
    """What a proof is over: all neurons side by side, or those of a layer."""
    layers, pieces, ff = study.x.shape
    return np.moveaxis(study.x, 0, 1).reshape(pieces, -1) if layers * ff <= WHOLE else study.x[layer]


def support(study: Study, found: Any, layer: int) -> list[str]:
    """Names of the neurons of a proof."""
    layers, _, ff = study.x.shape
    first = 0 if layers * ff <= WHOLE else layer * ff
    return ["{}.{}".format(*divmod(int(i) + first, ff)) for i in found.support]
