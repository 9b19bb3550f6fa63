"""Chapter 6: who tells the induction head where to look, by path patching.

Wang et al. 2022 (https://arxiv.org/abs/2211.00593), Olsson et al. 2022
(https://arxiv.org/abs/2209.11895).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from .. import viz
from ..hub import Tokenizer
from ..hub._classes import LoadedModel
from ._chapter import Finding, NotForThisModel, Table, percent

BLOCK, PROMPTS, BAR = 12, 8, 0.3


def chapter(model: LoadedModel, tokenizer: Tokenizer) -> Finding:
    bos = tokenizer.bos_id is not None
    pairs = ji.tasks.induction(
        tokenizer, PROMPTS, key=jax.random.key(0), block=BLOCK, corrupt="block", bos=bos
    )
    key = jax.random.key(0)
    scores = np.asarray(ji.heads.induction_scores(model, key=key, block=BLOCK, bos=tokenizer.bos_id))
    previous = np.asarray(ji.heads.previous_token_scores(model, key=key, block=BLOCK, bos=tokenizer.bos_id))
    layer, head = map(int, np.unravel_index(scores.argmax(), scores.shape))
    if scores[layer, head] < BAR or layer == 0:
        raise NotForThisModel(
            f"its best induction head, {layer}.{head}, scores {viz.number(scores[layer, head])}, below {BAR}."
        )
    metric = ji.metrics.log_prob(pairs.correct)
    clean, corrupt = (
        float(ji.metrics.measure(model, x, metric).mean()) for x in (pairs.clean, pairs.corrupt)
    )
    # Query heads that share keys and values read them through one head.
    reader = head * ji.sites(model)["k"].shape[-2] // model.config.heads
    estimates = paths_to(model, pairs, metric, layer, {"k": reader, "q": head, "v": reader})
    keys = estimates["k"]
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
            *(float(estimates[kind][a, b]) for kind in "kqv"),
            float(previous[a, b]),
        ]
        for a, b in first
    ]
    return Finding(
        "Who tells the induction head",
        [
            f"An induction head looks for the token after an earlier copy of the present one. To find it, the keys it matches must carry what "
            f"stood *before* each token, and only an earlier head can have put that there. The best induction head here is {layer}.{head} "
            f"(score {viz.number(scores[layer, head])} on blocks of {BLOCK} random tokens).",
            f"Path patching asks for single edges: on {PROMPTS} prompts that come twice, what one head writes is replaced by what it writes where the "
            f"first round holds other tokens, but only as {layer}.{head} reads it (keys, queries or values apart); everything else is held. "
            f"The log-probability of the token to be copied is {viz.number(clean)} nats, and {viz.number(corrupt)} on the corrupted prompts. "
            f"One backward pass estimates the paths of all {keys.size} heads; the first three are then patched exactly.",
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
            viz.heatmap(
                keys[:layer],
                axis_names=("layer", "head"),
                value="nats",
                title=f"Paths from every earlier head into the keys of {layer}.{head}, as the backward pass estimates them",
                settings=viz.HeatmapSettings(diverging=True),
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


def paths_to(
    model: LoadedModel, pairs: Any, metric: Any, layer: int, readers: dict[str, int]
) -> dict[str, np.ndarray]:
    """To first order, what corrupting each head's path to keys, queries and values changes: (layer, head)."""
    names = {kind: f"{kind}_in[{layer}]" for kind in readers}
    _, _, grads = ji.site_grads(model, pairs.clean, metric.of, at=list(names.values()), logits=metric.pos)
    clean, corrupt = (
        ji.run(model, tokens, capture=["head_out"], logits=False)[1]["head_out"]
        for tokens in (pairs.clean, pairs.corrupt)
    )
    later = np.arange(len(clean)) >= layer  # later layers cannot reach it
    effects = {}
    for kind, head in readers.items():
        grad = grads[names[kind]][..., head, :]
        effect = jnp.einsum("lbphd,bpd->lhb", corrupt - clean, grad, precision="highest").mean(-1)
        effects[kind] = np.where(later[:, None], 0.0, effect)
    return effects
