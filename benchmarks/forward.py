"""A forward pass, and one with every site captured, beside TransformerLens: same weights, same work.

    python benchmarks/forward.py              # GPT-2 small's shape, random weights, batch 8 x 128
    python benchmarks/forward.py --smoke      # seconds: a tiny shape, no claim

Needs torch==2.13.0 and transformer-lens<4. Repeats are interleaved, so that a slow moment of the
machine hits both; the numbers are medians. The floor is the time of the matrix products alone, each
called by itself in between (a pass may go below it: single calls pay for fresh memory). Outputs are
compared before anything is timed.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

import jaxinterp as ji

TOLERANCE = 1e-4
DEVICE = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
"Where the peer runs: on the same card as we do."


def make_models(config: Any) -> tuple[Any, Any]:
    """One random model in both libraries."""
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    theirs = HookedTransformer(
        HookedTransformerConfig(
            n_layers=config.layers,
            d_model=config.d,
            n_ctx=config.ctx,
            d_head=config.k,
            n_heads=config.heads,
            d_mlp=config.ff,
            d_vocab=config.vocab,
            act_fn="gelu_new",
            normalization_type="LN",
            device=DEVICE,
            init_weights=False,
        )
    )
    weights = {
        "embed.W_E": model.w_embed,
        "pos_embed.W_pos": model.w_pos,
        "unembed.W_U": model.w_embed.T,
        "unembed.b_U": np.zeros(config.vocab),
        "ln_final.w": model.ln_final.weight,
        "ln_final.b": model.ln_final.bias,
    }
    blocks = model.blocks
    for layer in range(config.layers):
        ours = {
            "ln1.w": blocks.ln1.weight,
            "ln1.b": blocks.ln1.bias,
            "ln2.w": blocks.ln2.weight,
            "ln2.b": blocks.ln2.bias,
            **{f"attn.W_{name.upper()}": getattr(blocks.attn, f"w_{name}") for name in "qkvo"},
            **{f"attn.b_{name.upper()}": getattr(blocks.attn, f"b_{name}") for name in "qkvo"},
            "mlp.W_in": blocks.mlp.w_in,
            "mlp.b_in": blocks.mlp.b_in,
            "mlp.W_out": blocks.mlp.w_out,
            "mlp.b_out": blocks.mlp.b_out,
        }
        weights |= {f"blocks.{layer}.{name}": leaf[layer] for name, leaf in ours.items()}
    state = {name: torch.tensor(np.asarray(x, np.float32)) for name, x in weights.items()}
    missing = theirs.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys, missing
    assert all("mask" in name or "IGNORE" in name for name in missing.missing_keys), missing
    return model, theirs.eval()


def floor_calls(config: Any, rows: int) -> dict[str, Callable[[], Any]]:
    """The two kinds of products that nearly all the work consists of, as XLA alone does them."""
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))

    def call(inner: int, columns: int) -> Callable[[], Any]:
        a = jax.random.normal(jax.random.key(0), (rows, inner))
        b = jax.random.normal(jax.random.key(1), (inner, columns))
        product(a, b).block_until_ready()
        return lambda: product(a, b).block_until_ready()

    return {"mlp": call(config.d, config.ff), "unembed": call(config.d, config.vocab)}


def floor(config: Any, rows: int, seq: int, mlp: float, unembed: float) -> tuple[float, float]:
    """Seconds and FLOP of a pass's matrix products, from the time of one of the MLP's products and
    that of the unembedding: attention's count at the MLP's rate."""
    c = config
    block = rows * (4 * c.d * c.heads * c.k + 2 * c.d * c.ff + 2 * seq * c.heads * c.k)
    rate = rows * c.d * c.ff / mlp
    return c.layers * block / rate + unembed, 2.0 * (c.layers * block + rows * c.d * c.vocab)


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, two repeats")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if options.smoke:
        config = ji.models.GPT2Config(vocab=100, ctx=32, d=32, layers=2, heads=2)
        batch, seq, repeats = 2, 16, 2
    else:
        config = ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12)
        batch, seq, repeats = 8, 128, options.repeats
    model, theirs = make_models(config)
    tokens = np.random.default_rng(0).integers(0, config.vocab, (batch, seq))
    ids, torch_ids = jnp.asarray(tokens, jnp.int32), torch.from_numpy(tokens).to(DEVICE)
    emitted = ji.sites(model, ids)
    captured = [name for name in emitted if not ji.SITES[name].optional] + ["scores", "pattern"]

    def forward() -> Any:
        return jax.block_until_ready(ji.run(model, ids))

    def capture() -> Any:
        return jax.block_until_ready(ji.run(model, ids, capture=captured))

    def their_forward() -> Any:
        with torch.no_grad():
            return theirs(torch_ids)

    def their_capture() -> Any:
        with torch.no_grad():
            return theirs.run_with_cache(torch_ids)

    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, torch {torch.__version__} on {DEVICE}")
    print(f"{config.layers} layers, d {config.d}, vocabulary {config.vocab}, batch {batch} x {seq}")
    first = {"forward": timed(forward), "capture": timed(capture)}
    logits, acts = capture()
    wanted, cache = their_capture()
    difference = float(np.abs(np.asarray(logits) - wanted.cpu().numpy()).max())
    for site in ("resid_post", "pattern", "mlp_post", "z"):
        last = config.layers - 1
        name = {
            "resid_post": "hook_resid_post",
            "pattern": "attn.hook_pattern",
            "mlp_post": "mlp.hook_post",
            "z": "attn.hook_z",
        }[site]
        other = cache[f"blocks.{last}.{name}"].cpu().numpy()
        difference = max(difference, float(np.abs(np.asarray(acts[site][last]) - other).max()))
    print(f"largest difference of logits and four sites: {difference:.1e} (at most {TOLERANCE})")
    assert difference <= TOLERANCE
    ours_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(acts))
    their_bytes = sum(x.element_size() * x.nelement() for x in cache.values())
    print(
        f"captured: {len(captured)} sites, {ours_bytes / 1e6:.0f} MB; "
        f"TransformerLens: {len(cache)} hooks, {their_bytes / 1e6:.0f} MB"
    )
    del logits, acts, wanted, cache

    calls = {"forward": (forward, their_forward), "capture": (capture, their_capture)}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in calls}
    products = floor_calls(config, batch * seq)
    alone: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(repeats):
        for name, call in products.items():
            alone[name].append(timed(call))
        for name, (ours, other) in calls.items():
            times[name][0].append(timed(ours))
            times[name][1].append(timed(other))
    medians = (statistics.median(times) for times in alone.values())
    best, work = floor(config, batch * seq, seq, *medians)
    print(
        f"floor: {work / 1e9:.0f} GFLOP of matrix products at {work / best / 1e9:.0f} GFLOP/s = {best:.3f} s\n"
    )
    print(f"{'median of ' + str(repeats):16} jaxinterp  TransformerLens  ratio  over floor  first call")
    for name, (ours, other) in times.items():
        a, b = statistics.median(ours), statistics.median(other)
        print(
            f"{name:16} {a:8.3f} s  {b:13.3f} s  {a / b:5.2f}  {a / best:10.2f}  "
            f"{first[name]:8.2f} s (compiling: {first[name] - a:.2f} s)"
        )
        print(f"{'':16} {min(ours):8.3f} s  {min(other):13.3f} s  {min(ours) / min(other):5.2f}  (best)")


if __name__ == "__main__":
    main()
