"""Circuits beside their peers: same weights, same prompts, same answers, one script.

    python benchmarks/circuits.py                              # GPT-2 small's shape, 8 pairs of 16 tokens
    python benchmarks/circuits.py --peer PATH/TO/PYTHON        # beside auto-circuit in an environment of its own
    python benchmarks/circuits.py --smoke                      # seconds: a tiny shape, no claim

The peer needs torch==2.13.0, auto-circuit==1.0.1 and transformer-lens<3, which do not install beside what the other
benchmarks need; `benchmarks/circuits_peer.py` runs there. Answers are compared before times are printed. Times are
medians of calls after the first, which compiles and is printed apart. The unit of the second table is one forward and
one backward pass of ours on the clean prompts, to the embeddings.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

TOLERANCE = 1e-3


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def setting(smoke: bool) -> tuple[Any, dict[str, np.ndarray]]:
    """A random model of GPT-2's family, and pairs of prompts with answers."""
    if smoke:
        config, batch, pos = ji.models.GPT2Config(vocab=100, ctx=16, d=32, layers=2, heads=2), 2, 8
    else:
        config = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
        batch, pos = 8, 16
    rng = np.random.default_rng(0)
    clean = rng.integers(0, config.vocab, (batch, pos))
    corrupt = (clean + rng.integers(1, config.vocab, (batch, pos))) % config.vocab
    right, wrong = rng.integers(0, config.vocab, (2, batch))
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    return model, {"clean": clean, "corrupt": corrupt, "right": right, "wrong": wrong}


def rows(model: Any, prompts: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """What is timed, by name. A row of another method is one more entry."""
    clean, corrupt = (jnp.asarray(prompts[name], jnp.int32) for name in ("clean", "corrupt"))
    metric = ji.metrics.logit_diff(prompts["right"], prompts["wrong"])

    def eap(**options: Any) -> Callable[[], Any]:
        return lambda: ji.circuits.eap(model, clean, corrupt, metric, **options).values

    return {
        "forward and backward": lambda: ji.site_grads(model, clean, metric, at="embed").grads["embed"],
        "EAP": eap(),
        "EAP-IG, 5 steps": eap(steps=5),
    }


def peer(python: str, model: Any, prompts: dict[str, np.ndarray], repeats: int) -> tuple[np.ndarray, float]:
    """The scores of auto-circuit in the order of our edges, and its median seconds."""
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
        np.savez(given, sizes=sizes, **{name: np.asarray(leaf) for name, leaf in weights.items()}, **prompts)
        script = Path(__file__).with_name("circuits_peer.py")
        subprocess.run([python, str(script), str(given), str(found), str(repeats)], check=True)
        scores = dict(np.load(found))
    graph = ji.circuits.graph(model)
    senders, receivers = graph.senders, graph.receivers
    matrix = np.full((len(receivers), len(senders)), np.nan)
    for number, name in enumerate(receivers):
        layer, *rest = name.removeprefix("mlp").split(".")
        if name == "logits":
            row = scores[f"blocks.{config.layers - 1}.hook_resid_post"]
        elif not rest:
            row = scores[f"blocks.{layer}.hook_mlp_in"]
        else:
            row = scores[f"blocks.{layer}.hook_{rest[1]}_input"][int(rest[0])]
        row = row.reshape(-1)
        matrix[number, : len(row)] = row
    pairs = graph.pairs
    # Its loss is minus the difference of logits.
    return -matrix[pairs[:, 1], pairs[:, 0]], float(scores["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", help="a Python with auto-circuit")
    options = parser.parse_args()
    repeats = 1 if options.smoke else options.repeats
    model, prompts = setting(options.smoke)
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
        print(f"{name:24} {median[name]:8.3f} s  {passes:6.2f}  {first[name] - median[name]:7.2f} s")
    if options.peer:
        theirs, seconds = peer(options.peer, model, prompts, repeats)
        ours = np.asarray(calls["EAP"]())
        gap = float(np.abs(ours - theirs).max() / np.abs(ours).max())
        assert gap < TOLERANCE, f"scores differ by {gap:.1e} of the largest"
        print(
            f"\nEAP: auto-circuit {seconds:.3f} s, {seconds / median['EAP']:.1f} times ours; scores agree within {gap:.0e}"
        )


if __name__ == "__main__":
    main()
