"""Chapter 7: a circuit: the few edges that keep an answer, beside as many random ones.

Hanna et al. 2024 (https://arxiv.org/abs/2403.17806), Conmy et al. 2023 (https://arxiv.org/abs/2304.14997).
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from ..circuits import Circuit
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._case import clearest
from ._chapter import Finding, Table, percent
from ._shown import shown

STEPS, SIZES, CUTS, TARGET = 12, 16, 8, 0.9


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    case, _ = clearest(model, tokenizer)
    bos, steps, target, amounts = tokenizer.bos_id is not None, STEPS, TARGET, SIZES
    clean, corrupt, answer, wrong = case.given.values()
    # <curve>
    clean_tokens, corrupt_tokens = (tokenizer(text, bos=bos) for text in (clean, corrupt))
    metric = ji.metrics.logit_diff(tokenizer.token_id(answer), tokenizer.token_id(wrong))
    given = clean_tokens, corrupt_tokens, metric
    scores = ji.circuits.eap(model, *given, steps=steps)
    graph = scores.graph
    sizes = np.unique(np.geomspace(2, graph.size, amounts).astype(int))
    grown = ji.circuits.select(scores, n=sizes.tolist(), how="greedy")
    found = ji.circuits.evaluate(model, grown, *given)
    each = [ji.circuits.Circuit(mask, graph) for mask in grown.mask]
    drawn = [ji.circuits.random_circuits(one, 1, key=jax.random.key(0)).mask for one in each]
    chance = ji.circuits.evaluate(model, ji.circuits.Circuit(jnp.concatenate(drawn), graph), *given)
    figure = ji.viz.lines(
        {"strongest edges": found.faithfulness, "as many random edges": chance.faithfulness},
        x=sizes,
        log=True,
        x_axis="edges taken",
        y_axis="answer kept (share)",
        title="What circuits keep of the answer",
    )
    # </curve>
    curve = figure
    # <circuit>
    enough = np.asarray(found.faithfulness) >= target
    smallest = int(np.where(enough, np.asarray(found.size), graph.size).argmin())
    circuit = ji.circuits.Circuit(grown.mask[smallest], graph)
    kept = ji.circuits.Scores(jnp.where(circuit.mask, scores.values, 0), graph)
    figure = ji.circuits.figure(
        kept, top=min(len(circuit), 100), title=f"The circuit of {len(circuit)} edges, scores in logits"
    )
    # </circuit>
    strongest = scores.top(len(grown.mask))  # as many as circuits: one program evaluates both
    cuts = Circuit(jnp.stack([(~graph.mask([edge.name])).mask for edge in strongest]), graph)
    exact = (np.asarray(ji.circuits.evaluate(model, cuts, *given).faithfulness) - 1) * (
        case.after - case.before
    )
    several = ji.circuits.random_circuits(circuit, len(grown.mask), key=jax.random.key(0))
    null = np.asarray(ji.circuits.evaluate(model, several, *given).faithfulness)
    faithfulness, outside = (
        float(np.asarray(each)[smallest]) for each in (found.faithfulness, found.remaining)
    )
    return Finding(
        "A circuit",
        "How few of all connections are enough for the whole answer?",
        "The curve shows what circuits keep of the answer by their size, and the graph the smallest one that is enough.",
        [
            "Every part of the model reads the sum of what all earlier parts wrote, so each part has an edge to each later reader: "
            f"{graph.size:,} edges here. A circuit keeps some of them. All others carry what they carry after the corrupt "
            "prompt, while the model reads the clean one. "
            f"From {STEPS} backward passes between the two prompts `ji.circuits.eap` estimates what each edge would change if it were cut, "
            "and `ji.circuits.select` grows circuits from the logits back along the strongest edges. Each circuit is then run.",
            shown(chapter, "curve", curve, **case.given, steps=steps, amounts=amounts),
            shown(chapter, "circuit", figure, target=target),
            f"The smallest of {len(grown.mask)} that keeps at least {percent(TARGET)} of the way from the corrupt answer to the clean one has {len(circuit)} edges, "
            f"{100 * len(circuit) / graph.size:.1f}% of all. It keeps {percent(faithfulness)}. The other {graph.size - len(circuit):,} edges together keep "
            f"{percent(outside)}. Of {len(null)} random circuits of this size that lead to the logits, the best keeps {percent(null.max())}.",
            Table(
                ["edge", "estimated (logits)", "exact (logits)"],
                [
                    [edge.name, edge.score, float(cut)]
                    for edge, cut in list(zip(strongest, exact, strict=True))[:CUTS]
                ],
                title="Change of the logit difference when one edge is cut: from gradients, and from a run",
            ),
        ],
        {
            "circuit": circuit,
            "kept": faithfulness,
            "outside": outside,
            "null": null,
            "estimated": np.asarray([edge.score for edge in strongest])[:CUTS],
            "exact": exact[:CUTS],
        },
    )
