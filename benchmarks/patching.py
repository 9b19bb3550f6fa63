"""Sweeps and attribution beside TransformerLens: same weights, same prompts, same answers, one script.

    python benchmarks/patching.py             # GPT-2 small's shape, 4 pairs of 16 tokens
    python benchmarks/patching.py --smoke     # seconds: a tiny shape, no claim

Needs torch==2.13.0 and transformer-lens<4. Answers are compared before anything is timed; times are
medians of runs in turn, the first call (compiling) apart. The floor is the matrix products that an
ideal sweep must do, over this machine's rate: for each cell the blocks from the patched layer on,
at the positions from the patched one on (a head patched at all positions: from the first that
differs), and one unembedded position. The first rows are the worst case: prompts that differ at
every position. In the last rows the first ten positions agree, as in prompts that differ by a name.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from forward import DEVICE, make_models, timed
from transformer_lens import patching

import jaxinterp as ji

TOLERANCE = 1e-3


def rate(config: Any, rows: int = 1024, repeats: int = 15) -> float:
    """FLOP/s of XLA at a product of the MLP's shape: the median."""
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
    a = jax.random.normal(jax.random.key(0), (rows, config.d))
    b = jax.random.normal(jax.random.key(1), (config.d, config.ff))
    product(a, b).block_until_ready()
    seconds = [timed(lambda: product(a, b).block_until_ready()) for _ in range(repeats)]
    return 2.0 * rows * config.d * config.ff / statistics.median(seconds)


def block_flop(config: Any, tokens: float, keys: float) -> float:
    """Of one block at so many tokens, each attending to so many keys."""
    c = config
    return 2.0 * tokens * (4 * c.d * c.heads * c.k + 2 * c.d * c.ff + 2 * keys * c.heads * c.k)


def ideal(config: Any, batch: int, lengths: list[int], pos: int) -> float:
    """FLOP of a sweep over layers x suffixes of these lengths."""
    each = sum(block_flop(config, length, pos - (length - 1) / 2) for length in lengths)
    blocks = sum(config.layers - layer for layer in range(config.layers))
    unembed = 2.0 * config.d * config.vocab * len(lengths) * config.layers
    return batch * (each * blocks + unembed)


def their_attribution(model: Any, clean: Any, corrupt: Any, metric: Callable[[Any], Any]) -> Any:
    """The metric and its first-order change for every residual stream, with TransformerLens's hooks."""
    names = lambda name: name.endswith("hook_resid_pre")
    with torch.no_grad():
        _, cache = model.run_with_cache(clean, names_filter=names)
    stored, grads = {}, {}

    def keep(x: Any, hook: Any) -> None:
        stored[hook.name] = x.detach()

    def keep_grad(g: Any, hook: Any) -> None:
        grads[hook.name] = g.detach()

    with model.hooks(fwd_hooks=[(names, keep)], bwd_hooks=[(names, keep_grad)]):
        start = metric(model(corrupt))
        start.backward()
    model.zero_grad()
    change = [((cache[name] - stored[name]) * grads[name]).sum((0, 2)) for name in stored]
    return (start.detach() + torch.stack(change)).cpu().numpy()


def cases(model: Any, theirs: Any, batch: int, pos: int, prefix: int) -> dict[str, tuple[Any, Any, Any]]:
    """Ours, theirs, and the least FLOP, for prompts that agree at the first `prefix` positions."""
    config = model.config
    rng = np.random.default_rng(0)
    clean = rng.integers(0, config.vocab, (batch, pos))
    corrupt = (clean + rng.integers(1, config.vocab, (batch, pos))) % config.vocab
    corrupt[:, :prefix] = clean[:, :prefix]
    right, wrong = rng.integers(0, config.vocab, (2, batch))
    metric = ji.metrics.logit_diff(right, wrong)
    prompts = [jnp.asarray(tokens, jnp.int32) for tokens in (clean, corrupt)]
    torch_clean, torch_corrupt = (torch.from_numpy(tokens).to(DEVICE) for tokens in (clean, corrupt))
    rows = torch.arange(batch, device=DEVICE)

    def their_metric(logits: Any) -> Any:
        last = logits[:, -1]
        good, bad = (torch.from_numpy(ids).to(DEVICE) for ids in (right, wrong))
        return (last[rows, good] - last[rows, bad]).mean()

    def sweep(site: str, over: tuple[str, ...]) -> Callable[[], Any]:
        return lambda: np.asarray(ji.patching.sweep(model, *prompts, metric, site=site, over=over))

    def their_sweep(function: Callable[..., Any]) -> Callable[[], Any]:
        def call() -> Any:
            with torch.no_grad():
                _, cache = theirs.run_with_cache(torch_clean)
                return function(theirs, torch_corrupt, cache, their_metric).cpu().numpy()

        return call

    live = pos - prefix
    where = f", {prefix} equal" if prefix else ""
    found = {
        f"residual: layer x pos{where}": (
            sweep("resid_pre", ("layer", "pos")),
            their_sweep(patching.get_act_patch_resid_pre),
            ideal(config, batch, list(range(1, live + 1)), pos),
        ),
        f"heads: layer x head{where}": (
            sweep("z", ("layer", "head")),
            their_sweep(patching.get_act_patch_attn_head_out_all_pos),
            ideal(config, batch, [live] * config.heads, pos),
        ),
    }
    if not prefix:
        found["attribution: layer x pos"] = (
            lambda: np.asarray(ji.patching.attribution(model, *prompts, metric)),
            lambda: their_attribution(theirs, torch_clean, torch_corrupt, their_metric),
            None,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--prefix", type=int, default=10, help="positions at which the pairs of the last rows agree"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    patching.tqdm = lambda items, **kwargs: items
    if options.smoke:
        config = ji.models.GPT2Config(vocab=100, ctx=32, d=32, layers=2, heads=2)
        batch, pos, repeats = 2, 8, 1
    else:
        config = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
        batch, pos, repeats = 4, 16, options.repeats
    model, theirs = make_models(config)
    shared = min(options.prefix, pos - 2)
    calls = {**cases(model, theirs, batch, pos, 0), **cases(model, theirs, batch, pos, shared)}
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, torch {torch.__version__} on {DEVICE}")
    print(f"{config.layers} layers, d {config.d}, vocabulary {config.vocab}, {batch} pairs of {pos} tokens")
    lines = []
    for name, (ours, other, flop) in calls.items():
        first = timed(ours)
        wanted = other()
        gap, spread = float(np.abs(ours() - wanted).max()), float(np.ptp(wanted))
        assert gap <= TOLERANCE * max(spread, 1.0), (name, gap, spread)
        pairs, rates = [], []
        for _ in range(repeats):
            rates.append(rate(config))
            pairs.append((timed(ours), timed(other)))
        a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
        speed = statistics.median(rates)
        floor = "" if flop is None else f"{flop / speed:7.2f} s  {a * speed / flop:5.2f}"
        lines.append(f"{name:30} {a:8.3f} s  {b:13.3f} s  {b / a:5.1f}  {floor:16}  {first - a:6.2f} s")
        print(f"{name}: agree within {gap:.1e}; XLA matmul {speed / 1e9:.0f} GFLOP/s", flush=True)
    print(
        f"\n{'median of ' + str(repeats):30} jaxinterp   TransformerLens  ratio  floor    over it  compiling"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
