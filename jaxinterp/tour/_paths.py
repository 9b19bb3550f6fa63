"""Chapter 6: who tells the induction head where to look, by path patching.

Wang et al. 2022 (https://arxiv.org/abs/2211.00593), Olsson et al. 2022
(https://arxiv.org/abs/2209.11895).
"""

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, percent
from ._shown import shown

BLOCK, PROMPTS, BAR = 12, 8, 0.3


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    bos, block, prompts = tokenizer.bos_id is not None, BLOCK, PROMPTS
    key = jax.random.key(0)
    scores = np.asarray(ji.heads.induction_scores(model, key=key, block=BLOCK, bos=tokenizer.bos_id))
    previous = np.asarray(ji.heads.previous_token_scores(model, key=key, block=BLOCK, bos=tokenizer.bos_id))
    layer, head = map(int, np.unravel_index(scores.argmax(), scores.shape))
    if scores[layer, head] < BAR or layer == 0:
        raise NotForThisModel(
            f"its best induction head, {layer}.{head}, scores {viz.number(scores[layer, head])}, below {BAR}."
        )
    # <paths>
    pairs = ji.tasks.induction(
        tokenizer, prompts, key=jax.random.key(0), block=block, corrupt="block", bos=bos
    )
    metric = ji.metrics.log_prob(pairs.correct)
    # Query heads that share keys and values read them through one head.
    reader = head * ji.sites(model)["k"].shape[-2] // model.config.heads
    readers = {f"k_in[{layer}]": reader, f"q_in[{layer}]": head, f"v_in[{layer}]": reader}
    _, _, grads = ji.site_grads(model, pairs.clean, metric.of, at=list(readers), logits=metric.pos)
    written, instead = (
        ji.run(model, each, capture=["head_out"], logits=False)[1]["head_out"]
        for each in (pairs.clean, pairs.corrupt)
    )
    estimates = {}  # to first order, what corrupting each earlier head's path changes: (layer, head)
    for site, at in readers.items():
        grad = grads[site][..., at, :]
        effect = jnp.einsum("lbphd,bpd->lhb", (instead - written)[:layer], grad, precision="highest")
        estimates[site] = np.asarray(effect.mean(-1))
    figure = ji.viz.heatmap(
        estimates[f"k_in[{layer}]"],
        axis_names=("layer", "head"),
        value="change of the log-probability (nats)",
        title=f"Paths from every earlier head into the keys of {layer}.{head}",
        settings=ji.viz.HeatmapSettings(diverging=True),
    )
    # </paths>
    clean, corrupt = (
        float(ji.metrics.measure(model, x, metric).mean()) for x in (pairs.clean, pairs.corrupt)
    )
    keys = estimates[f"k_in[{layer}]"]
    first = [tuple(map(int, np.unravel_index(i, keys.shape))) for i in np.argsort(keys, axis=None)[:3]]
    exact = {
        sender: float(
            ji.circuits.path_patch(
                model,
                pairs.clean,
                pairs.corrupt,
                metric,
                f"{sender[0]}.{sender[1]}",
                f"{layer}.{reader}.k",
                mode="noise",
            )
        )
        - clean
        for sender in first
    }
    teller = min(exact, key=lambda sender: exact[sender])
    rank = int((previous > previous[teller]).sum()) + 1
    found = (
        f"The head whose message to the keys of {layer}.{head} matters most is {teller[0]}.{teller[1]}: corrupting that one path costs "
        f"{viz.number(-exact[teller])} nats, {percent(exact[teller] / (corrupt - clean))} of what corrupting the whole prompt costs. "
        f"Its previous-token score is {viz.number(previous[teller])}, number {rank} of {previous.size} heads."
    )
    rows = [
        [
            f"{a}.{b}",
            exact[a, b],
            *(float(each[a, b]) for each in estimates.values()),
            float(previous[a, b]),
        ]
        for a, b in first
    ]
    return Finding(
        "Who tells the induction head",
        "How does the copying head know where to look?",
        "The figure shows, for every earlier head, what its path into the keys of the copying head is worth.",
        [
            f"An induction head looks for the token after an earlier copy of the present one. To find it, the keys it matches must carry what "
            f"stood before each token, and only an earlier head can have put that there. The best induction head here is {layer}.{head} "
            f"(score {viz.number(scores[layer, head])} on blocks of {BLOCK} random tokens).",
            shown(chapter, "paths", figure, layer=layer, head=head, block=block, prompts=prompts),
            f"Path patching asks for single edges: on {PROMPTS} prompts that come twice, what one head writes is replaced by what it writes where the "
            f"first round holds other tokens, but only as {layer}.{head} reads it (keys, queries or values apart); everything else is held. "
            f"The log-probability of the token to be copied is {viz.number(clean)} nats, and {viz.number(corrupt)} on the corrupted prompts. "
            f"One backward pass estimates the paths of all {previous.size} heads; the first three are then patched exactly.",
            found,
            Table(
                [
                    "sender",
                    "to its keys, exact",
                    "estimated",
                    "to its queries",
                    "to its values",
                    "previous-token score",
                ],
                rows,
                title=f"Change of the log-probability when one path into head {layer}.{head} is corrupted (nats)",
            ),
        ],
        {
            "head": (layer, head),
            "teller": teller,
            "keys": keys,
            "exact": exact,
            "previous": previous,
            "clean": clean,
            "corrupt": corrupt,
        },
    )
