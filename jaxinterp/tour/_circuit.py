"""Chapter 7: a circuit: the few edges that keep an answer, beside as many random ones.

Hanna et al. 2024 (https://arxiv.org/abs/2403.17806), Conmy et al. 2023 (https://arxiv.org/abs/2304.14997).
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ..circuits import Circuit, Scores
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, Table, percent
from ._patching import clearest

STEPS, SIZES, CUTS, TARGET = 12, 16, 8, 0.9


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, _ = clearest(model, tokenizer)
    given = (case.clean, case.corrupt, case.metric)
    scores = ji.circuits.eap(model, *given, steps=STEPS)
    graph = scores.graph
    sizes = np.unique(np.geomspace(2, graph.size, SIZES).astype(int))
    grown = ji.circuits.select(scores, n=sizes.tolist(), how="greedy")
    strongest = scores.top(CUTS)
    cuts = jnp.stack([(~graph.mask([edge.name])).mask for edge in strongest])
    # All circuits of one call run in one program, and the random ones run in it again.
    tried = Circuit(jnp.concatenate([grown.mask, cuts]), graph)
    found = ji.circuits.evaluate(model, tried, *given)
    faithfulness, outside = (np.asarray(each) for each in (found.faithfulness, found.remaining))
    kept = np.asarray(found.size)[: len(grown.mask)]
    reach = faithfulness[: len(kept)] >= TARGET
    best = int(np.where(reach, kept, graph.size).argmin())
    circuit = Circuit(grown.mask[best], graph)
    random = ji.circuits.random_circuits(circuit, len(tried.mask), key=jax.random.key(0))
    null = np.asarray(ji.circuits.evaluate(model, random, *given).faithfulness)
    exact = (faithfulness[len(kept) :] - 1) * (case.after - case.before)
    share = len(circuit) / graph.size
    shown = Scores(jnp.where(circuit.mask, scores.values, 0), graph)
    return Finding(
        "A circuit",
        [
            "Every part of the model reads the sum of what all earlier parts wrote, so each part has an edge to each later reader: "
            f"{graph.size:,} edges here. A circuit keeps some of them. All others carry what they carry after the corrupt "
            f"prompt {case.pair.corrupt!r}, while the model reads {case.pair.clean!r}. "
            f"From {STEPS} backward passes between the two prompts `ji.circuits.eap` estimates what each edge would change if it were cut, "
            "and `ji.circuits.select` grows circuits from the logits back along the strongest edges. Each circuit is then run.",
            f"The smallest of {len(kept)} that keeps at least {percent(TARGET)} of the way from the corrupt answer to the clean one has {len(circuit)} edges, "
            f"{100 * share:.1f}% of all. It keeps {percent(faithfulness[best])}. The other {graph.size - len(circuit):,} edges together keep "
            f"{percent(outside[best])}. Of {len(null)} random circuits of this size that lead to the logits, the best keeps {percent(null.max())}.",
            Table(
                ["edge", "estimated", "exact"],
                [[edge.name, edge.score, float(cut)] for edge, cut in zip(strongest, exact, strict=True)],
                title="Change of the logit difference when one edge is cut: from gradients, and from a run",
            ),
            viz.lines(
                {
                    "strongest edges": faithfulness[: len(kept)],
                    "the model": np.ones(len(kept)),
                },
                x=sizes,
                title="What circuits keep of the answer, by the number of edges taken",
                x_axis="edges taken",
                y_axis="share kept",
                log=True,
            ),
            ji.circuits.figure(
                shown, top=min(len(circuit), 100), title=f"The circuit of {len(circuit)} edges"
            ),
        ],
        {
            "circuit": circuit,
            "kept": float(faithfulness[best]),
            "outside": float(outside[best]),
            "null": null,
            "estimated": np.asarray([edge.score for edge in strongest]),
            "exact": exact,
        },
    )
