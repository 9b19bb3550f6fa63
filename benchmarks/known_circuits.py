"""How well methods find circuits that are known: the pessimistic area under the ROC curve of edges.

python benchmarks/known_circuits.py              # a table, beside the published numbers of two programs
python benchmarks/known_circuits.py --steps 50   # learned masks in fewer steps

The circuits are those of two RASP programs and of two models with planted circuits. The truth is every edge that the
outputs depend on. Where cut edges carry what their senders write on other prompts, some edges carry the same there; a row
of its own judges methods by the edges that carry something else. Published are the areas of Conmy et al. 2023
(https://arxiv.org/abs/2304.14997), appendix, with the loss as the metric and all edges as the truth.

ACDC and learned masks lower the mean squared error of the outputs (or the wrong answer's lead). The derivative of that
error is zero in the whole model. So gradient methods take the inner product of the outputs with the right ones.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

PUBLISHED = {  # (ACDC, HISP, subnetwork probing) by program and ablation
    ("x_proportion", "patch"): (0.600, 0.679, 0.400),
    ("reverse", "patch"): (0.200, 0.656, 0.416),
    ("x_proportion", "zero"): (1.000, None, None),
    ("reverse", "zero"): (1.000, None, None),
}
METHODS = ("ACDC", "EAP", "EAP-IG", "HISP", "nodes learned", "edges learned")
PENALTIES = np.logspace(-3, 1, 9)


def of_program(name):
    """Model, prompts, corrupt prompts, padding, metrics for the methods, and the edges."""
    program = ji.toy.rasp(name, length=3)
    rng = np.random.default_rng(0)
    length = program.mask.sum(1)
    # Each prompt beside another one of its length.
    other = np.arange(len(length))
    for n in np.unique(length):
        rows = np.flatnonzero(length == n)
        other[rows] = np.roll(rng.permutation(rows), 1)[np.argsort(np.argsort(rows))]
    right, scored = jnp.asarray(program.outputs), jnp.asarray(program.scored, jnp.float32)
    inner = lambda x, right, scored: ((x * right).sum(-1) * scored).sum(-1) / scored.sum(-1)
    linear = ji.metrics.custom(inner, right, scored, pos=None)
    return (
        program.model,
        program.prompts,
        program.prompts[other],
        program.mask,
        program.metric,
        linear,
        program.edges,
    )


def of_planted(name):
    """The same of a planted circuit; what is lowered is the lead of a wrong answer."""
    if name == "planted IOI":
        planted = ji.toy.planted_ioi()
        prompts = planted.prompts(16, key=jax.random.key(0))
        clean, corrupt, right, wrong = prompts.clean, prompts.corrupt, prompts.correct, prompts.wrong
    else:
        planted = ji.toy.planted_induction(vocab=8, ctx=12)
        rng = np.random.default_rng(0)
        block = np.stack([rng.permutation(8) for _ in range(16)])
        clean = np.concatenate([block[:, :4], block[:, :1]], 1)  # a b c d a: b comes next
        corrupt = np.concatenate([block[:, 4:], block[:, 4:5]], 1)
        right, wrong = block[:, 1], block[:, 2]
    metric = ji.metrics.logit_diff(wrong, right)
    return planted.model, clean, corrupt, None, metric, metric, planted.edges


def changing(graph, task):
    """Which true edges change the logits of the whole model when they are patched alone."""
    model, clean, corrupt, mask, *_, edges = task
    masks = jnp.concatenate(
        [graph.full().mask[None], jnp.stack([(~graph.mask([edge])).mask for edge in edges])]
    )
    many = ji.circuits.Circuit(masks, graph)
    whole, *cut = np.asarray(ji.circuits.run(model, clean, corrupt, many, mask=mask))
    real = np.ones(whole.shape[:-1], bool) if mask is None else mask
    return [e for e, logits in zip(edges, cut, strict=True) if abs(logits - whole)[real].max() > 1e-4]


def found_by(graph, task, ablate, steps):
    """Circuits or scores of each method."""
    model, clean, corrupt, mask, metric, linear, _ = task
    other = corrupt if ablate == "patch" else None
    options = {"ablate": ablate, "graph": graph, "mask": mask}
    settings = ji.circuits.AcdcSettings(goal="min")
    sweep = ji.circuits.acdc(
        model,
        clean,
        other,
        metric,
        threshold=np.logspace(-5, 1, 13),
        settings=settings,
        progress=False,
        **options,
    )
    scores = {
        "ACDC": sweep,
        "EAP": ji.circuits.eap(model, clean, other, linear, **options),
        "EAP-IG": ji.circuits.eap(model, clean, other, linear, steps=16, **options),
        "HISP": ji.circuits.node_importance(model, clean, linear, corrupt=other, mask=mask).scores(graph),
    }
    for of in ("nodes", "edges"):
        quiet = ji.fit.Settings(progress=False)
        learning = ji.circuits.PruneSettings(of=of, goal="min", steps=steps, fit=quiet)
        found = ji.circuits.prune(
            jax.random.key(0),
            model,
            clean,
            other,
            metric,
            penalty=PENALTIES.tolist(),
            settings=learning,
            **options,
        )
        scores[f"{of} learned"] = found.circuit
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of learned masks")
    options = parser.parse_args()
    head = ("circuit", "cut edges carry", *METHODS, "published: ACDC / HISP / nodes learned")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for name in ("x_proportion", "reverse", "planted induction", "planted IOI"):
        task = of_planted(name) if "planted" in name else of_program(name)
        graph = ji.circuits.graph(task[0], split_embed=True)
        for ablate in ("zero", "patch"):
            scores = found_by(graph, task, ablate, options.steps)
            truths = {ablate: task[-1]}
            if ablate == "patch":
                truths["patch, edges that carry something else"] = changing(graph, task)
            for judged, edges in truths.items():
                truth = graph.mask(edges)
                found = [f"{ji.circuits.roc(scores[method], truth).auc:.3f}" for method in METHODS]
                known = PUBLISHED.get((name, judged))
                beside = "" if known is None else " / ".join("-" if x is None else f"{x:.3f}" for x in known)
                size = f"{name} ({len(edges)} of {graph.size})"
                print("| " + " | ".join([size, judged, *found, beside]) + " |", flush=True)


if __name__ == "__main__":
    main()
