"""Circuits beside their peers: same weights, same prompts, same answers, one script.

    python benchmarks/circuits.py                              # GPT-2 small's shape, 4 pairs of 16 tokens
    python benchmarks/circuits.py --peer PATH/TO/PYTHON        # beside peers in an environment of their own
    python benchmarks/circuits.py --smoke                      # seconds: a tiny shape, no claim

The peers need torch==2.13.0, auto-circuit==1.0.1, transformer-lens<3 and pyarrow<20, which do not install beside what
the other benchmarks need; `benchmarks/circuits_peer.py` runs there. Answers are compared before times are printed.
Times are processor seconds, summed over threads, so that other work on the machine counts little; the peers run with one
thread, because threads of torch that wait count as work. They are medians of calls after the first, which compiles and
is printed apart. The unit of the first table is one forward and one backward pass of ours, to the embeddings.

ACDC stands beside a plain loop of one masked forward for each edge, with hooks of TransformerLens. The loop is timed on
edges spread over the walk, each in the circuit in which ACDC judged it, and extrapolated to all edges of the graph.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

TOLERANCE = 1e-3
Prompts = dict[str, np.ndarray]


def timed(call: Callable[[], Any]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    jax.block_until_ready(call())
    return time.process_time() - start


def setting(smoke: bool, batch: int) -> tuple[Any, Prompts]:
    """A random model of GPT-2's family, and pairs of prompts that differ in one token, with answers."""
    if smoke:
        config, pos = ji.models.GPT2Config(vocab=100, ctx=16, d=32, layers=2, heads=2), 8
    else:
        config, pos = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12), 16
    rng = np.random.default_rng(0)
    clean = rng.integers(0, config.vocab, (batch, pos))
    corrupt = clean.copy()
    corrupt[:, pos // 2] += rng.integers(1, config.vocab, batch)
    right, wrong = rng.integers(0, config.vocab, (2, batch))
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    # Doubled weights, so that what one token writes matters at the last one.
    model = jax.tree.map(lambda x: 2 * x if eqx.is_inexact_array(x) and x.ndim > 2 else x, model)
    return model, {"clean": clean, "corrupt": corrupt % config.vocab, "right": right, "wrong": wrong}


def pair(prompts: Prompts) -> tuple[jax.Array, jax.Array]:
    return tuple(jnp.asarray(prompts[name], jnp.int32) for name in ("clean", "corrupt"))


def rows(model: Any, prompts: Prompts) -> dict[str, Callable[[], Any]]:
    """What is timed, by name. A row of another method is one more entry."""
    clean, corrupt = pair(prompts)
    metric = ji.metrics.logit_diff(prompts["right"], prompts["wrong"])

    def eap(**options: Any) -> Callable[[], Any]:
        return lambda: ji.circuits.eap(model, clean, corrupt, metric, **options).values

    return {
        "forward and backward": lambda: ji.site_grads(model, clean, metric, at="embed").grads["embed"],
        "EAP": eap(),
        "EAP-IG, 5 steps": eap(steps=5),
    }


def acdc(model: Any, prompts: Prompts, share: float) -> tuple[Any, float, float]:
    """The circuit of a threshold that is a share of the metric's gap; the seconds of the second call and of the first."""
    clean, corrupt = pair(prompts)
    metric = ji.metrics.kl(ji.run(model, clean, logits=-1)[0])
    gap = float(metric(ji.run(model, corrupt, logits=-1)[0]).mean())
    find = lambda: ji.circuits.acdc(model, clean, corrupt, metric, threshold=share * gap, progress=False)
    seconds, found = [], find
    for _ in range(2):
        start = time.process_time()
        found = find()
        seconds.append(time.process_time() - start)
    return found, seconds[1], seconds[0]


def judged(found: Any, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges spread over the walk of ACDC, and what was cut when each was judged, `(2 edge, receiver, sender)`.

    The first half of these is without the edge, the second half with it.
    """
    graph = found.graph
    sequence = ji.circuits.AcdcSettings().sequence(graph)
    steps = np.linspace(0, graph.size - 1, sample).astype(int)
    cuts = np.zeros((2, sample, len(graph.receivers), len(graph.senders)), bool)
    for i, step in enumerate(steps):
        gone = ~found.kept & np.isin(np.arange(graph.size), sequence[:step])
        for way, edge in enumerate((sequence[step : step + 1], sequence[:0])):
            senders, receivers = graph.pairs[np.union1d(np.flatnonzero(gone), edge)].T
            cuts[way, i, receivers, senders] = True
    return sequence[steps], cuts.reshape(2 * sample, *cuts.shape[2:])


def peer(python: str, model: Any, prompts: Prompts, cuts: np.ndarray, repeats: int) -> Prompts:
    """What `circuits_peer.py` finds."""
    config, blocks = model.config, model.blocks
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        sizes = np.asarray([config.layers, config.d, config.heads, config.ff, config.vocab, config.ctx])
        weights = {
            "w_embed": model.w_embed,
            "w_pos": model.w_pos,
            "lnf_w": model.ln_final.weight,
            "lnf_b": model.ln_final.bias,
            **{
                f"ln{i}_{n[0]}": getattr(getattr(blocks, f"ln{i}"), n)
                for i in (1, 2)
                for n in ("weight", "bias")
            },
            **{f"{n}_{kind}": getattr(blocks.attn, f"{n}_{kind}") for kind in "qkvo" for n in "wb"},
            **{f"{n}_{kind}": getattr(blocks.mlp, f"{n}_{kind}") for kind in ("in", "out") for n in "wb"},
        }
        arrays = {name: np.asarray(leaf) for name, leaf in weights.items()}
        np.savez(given, sizes=sizes, cuts=cuts, **arrays, **prompts)
        script = Path(__file__).with_name("circuits_peer.py")
        subprocess.run([python, str(script), str(given), str(found), str(repeats)], check=True)
        return dict(np.load(found))


def edges_of(theirs: Prompts, graph: Any) -> np.ndarray:
    """The scores of auto-circuit in the order of our edges. Its loss is minus the difference of logits."""
    matrix = np.full((len(graph.receivers), len(graph.senders)), np.nan)
    for number, name in enumerate(graph.receivers):
        layer, *rest = name.removeprefix("mlp").split(".")
        if name == "logits":
            row = theirs[f"blocks.{graph.layers - 1}.hook_resid_post"]
        elif not rest:
            row = theirs[f"blocks.{layer}.hook_mlp_in"]
        else:
            row = theirs[f"blocks.{layer}.hook_{rest[1]}_input"][int(rest[0])]
        row = row.reshape(-1)
        matrix[number, : len(row)] = row
    return -matrix[graph.pairs[:, 1], graph.pairs[:, 0]]


def alike(what: str, ours: np.ndarray, theirs: np.ndarray, scale: float | None = None) -> str:
    """Raises where answers differ, by default relative to the largest."""
    gap = float(np.abs(ours - theirs).max() / (np.abs(ours).max() if scale is None else scale))
    assert gap < TOLERANCE, f"{what} differ by {gap:.1e}"
    return f"{what} agree within {gap:.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="pairs of prompts")
    parser.add_argument("--share", type=float, default=0.01, help="ACDC's threshold as a share of the gap")
    parser.add_argument("--sample", type=int, default=10, help="edges of the plain loop that are timed")
    parser.add_argument("--peer", help="a Python with auto-circuit")
    options = parser.parse_args()
    repeats = 1 if options.smoke else options.repeats
    model, prompts = setting(options.smoke, options.batch)
    config, (batch, pos) = model.config, prompts["clean"].shape
    graph = ji.circuits.graph(model)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    print(f"{config.layers} layers, d {config.d}, {batch} pairs of {pos} tokens, {graph.size:,} edges")
    calls = rows(model, prompts)
    first = {name: timed(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(timed(call))
    median = {name: statistics.median(some) for name, some in times.items()}
    # Neighbours in time saw the same machine.
    unit = times["forward and backward"]
    print(f"\n{'median of ' + str(repeats):24} jaxinterp   passes  compiling")
    for name in calls:
        passes = statistics.median(a / b for a, b in zip(times[name], unit, strict=True))
        print(
            f"{name:24} {median[name]:8.3f} s  {passes:6.2f}  {first[name] - median[name]:7.2f} s", flush=True
        )
    scores = np.asarray(calls["EAP"]())
    found, seconds, before = acdc(model, prompts, options.share)
    print(
        f"{'ACDC':24} {seconds:8.1f} s  {seconds / median['forward and backward']:6.0f}  {before - seconds:7.2f} s   "
        f"{len(found):,} edges kept, {found.runs:,} circuits ran",
        flush=True,
    )
    if not options.peer:
        return
    judgements, cuts = judged(found, options.sample)
    theirs = peer(options.peer, model, prompts, cuts, repeats)
    without, kept = theirs["loop_values"].reshape(2, -1)
    senders = np.bincount(graph.pairs[:, 0], scores, len(graph.senders))
    checks = (
        alike("scores", scores, edges_of(theirs, graph)),
        alike("sums of scores by sender", senders[1:], theirs["nodes"][1:]),
        alike("values", np.asarray(found.deltas)[judgements] + kept, without, float(found.empty)),
    )
    one = float(np.median(theirs["loop_seconds"]))
    table = (
        ("EAP beside auto-circuit", float(theirs["eap_seconds"]), median["EAP"]),
        ("EAP beside attribution of nodes by TransformerLens", float(theirs["nodes_seconds"]), median["EAP"]),
        ("ACDC beside a loop of TransformerLens over all edges", one * graph.size, seconds),
    )
    print(f"\n{'':52} {'peer':>11}  {'times ours':>10}")
    for (name, slow, fast), check in zip(table, checks, strict=True):
        print(f"{name:52} {slow:9.2f} s  {slow / fast:10.1f}   {check}")
    print(
        f"One masked forward of the loop takes {one:.3f} s, a bare one {float(theirs['bare_seconds']):.3f} s. "
        f"A loop that leaves out edges into receivers that nothing reads runs at most {found.runs:,} circuits: "
        f"{one * found.runs / seconds:.1f} times ours."
    )


if __name__ == "__main__":
    main()
