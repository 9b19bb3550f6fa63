"""Directions and representations beside plain loops.

    python benchmarks/directions.py                          # every table
    python benchmarks/directions.py --only selection         # one of them
    python benchmarks/directions.py --smoke                  # seconds: tiny shapes, no claim

selection: the scores of every position and layer by `ji.steering.candidates`, whose one program takes a layer a call, beside
one compiled run for each score of each candidate, in a loop.

cka: all pairs of 30 layers with SmolLM2's heads and a quarter of its width. Both sides run the model, compare groups of 256
tokens by the unbiased estimate of HSIC, and add groups up. The loop in NumPy makes the Gram matrices of a group once
for each layer and then compares pair by pair, in float32.

das: one direction of each layer trained at once, beside the same program a layer at a time and, with `--peer`, beside
pyvene's loop over layers in torch with one thread, which runs base and source at each step as it is used.

Answers are compared before times are printed. Times are
processor seconds, so that other work on the machine counts little, beside seconds of the clock: medians of calls
after the first, taken in turn.
"""

import argparse
import subprocess
import tempfile
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from neurons import in_turn

import jaxinterp as ji
from jaxinterp import steering
from jaxinterp.steering._das_program import (
    CellPlaces,
    Params,
    Schedule,
    fit_cells,
    pair_arrays,
    source_values,
)


def llama(smoke: bool, ctx: int) -> Any:
    """30 layers with SmolLM2's heads and a quarter of its width, or a tiny model."""
    if smoke:
        shape = {"vocab": 64, "d": 16, "layers": 4, "heads": 2, "kv_heads": 1, "ff": 32}
    else:
        shape = {"vocab": 4096, "d": 144, "layers": 30, "heads": 9, "kv_heads": 3, "ff": 384}
    model = ji.models.Llama.init(ji.models.LlamaConfig(ctx=ctx, **shape), key=jax.random.key(0))
    # Larger weights, so that layers differ and a direction matters to what is predicted.
    return jax.tree.map(lambda x: 4 * x if eqx.is_inexact_array(x) and x.ndim > 2 else x, model)


def selection(args: argparse.Namespace) -> None:
    """Prints the table of a selection over all positions and layers."""
    model = llama(args.smoke, 64)
    config = model.config
    size, positions = ((5, 8), 2) if args.smoke else ((args.prompts, 32), 5)
    rng = np.random.default_rng(0)
    kinds = [jnp.asarray(rng.integers(0, config.vocab, size)) for _ in range(4)]
    score = ji.metrics.log_odds([1, 2])
    rules = steering.SelectionSettings(filter=False, depth=1.0)
    given: dict[str, Any] = {"positions": range(-positions, 0), "settings": rules, "progress": False}
    ours = lambda: steering.candidates(
        model, kinds[0], kinds[1], score, validation=(kinds[2], kinds[3]), **given
    )

    logits = eqx.filter_jit(lambda model, tokens, edits: ji.run(model, tokens, edits=edits, logits=-1)[0])
    nats = jax.jit(lambda p, q: (p * (jnp.log(p + 1e-6) - jnp.log(q + 1e-6))).sum(-1).mean())
    value = eqx.filter_jit(lambda metric, logits: metric.of(logits).mean())
    directions = ours().directions
    before = jax.nn.softmax(logits(model, kinds[3], []))

    def loop() -> list[Any]:
        found = []
        for row in directions:
            for layer, direction in enumerate(row):
                removed = steering.ablate(direction)
                added = [ji.add("resid_pre", direction, layer=jnp.int32(layer))]
                bypass = value(score, logits(model, kinds[2], removed))
                induce = value(score, logits(model, kinds[3], added))
                found.append((bypass, induce, nats(before, jax.nn.softmax(logits(model, kinds[3], removed)))))
        return found

    wanted = np.moveaxis(np.asarray(jax.device_get(loop())).reshape(positions, config.layers, 3), -1, 0)
    found = ours()
    gap = max(
        np.abs(a - b).max() for a, b in zip((found.bypass, found.induce, found.kl), wanted, strict=True)
    )
    assert gap < 1e-3, gap
    times = in_turn({"loop of single runs": loop, "steering.candidates": ours}, args.repeats)
    base = times["loop of single runs"][0]
    print(
        f"\n{directions[..., 0].size} candidates ({positions} positions of {config.layers} layers), {size[0]} prompts of "
        f"{size[1]} tokens of a kind, width {config.d}; largest difference {gap:.1e}"
    )
    print("| what | processor seconds | against the loop | seconds |\n|---|---|---|---|")
    for name, (cpu, wall) in times.items():
        print(f"| {name} | {cpu:.3f} | {base / cpu:.2f} | {wall:.3f} |")


def hsic(k: np.ndarray, other: np.ndarray) -> float:
    """The unbiased HSIC of two Gram matrices without their diagonals, as it is written (Song et al. 2012)."""
    n = len(k)
    total = np.sum(k * other) + k.sum() * other.sum() / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * (k.sum(0) @ other.sum(0))) / (n * (n - 3))


def cka_loop(x: np.ndarray, points: int) -> np.ndarray:
    """CKA of all pairs of layers `(layer, token, p)`: groups, then pairs one by one."""
    layers, n = x.shape[:2]
    groups, sums = -(-n // points), np.zeros((layers, layers))
    for group in range(groups):
        part = x[:, group::groups]
        grams = []
        for z in part:
            z = z - z.mean(0)
            gram = z @ z.T
            np.fill_diagonal(gram, 0)
            grams.append(gram)
        for i in range(layers):
            for j in range(layers):
                sums[i, j] += part.shape[1] * hsic(grams[i], grams[j])
    scale = np.sqrt(np.diag(sums))
    return sums / scale / scale[:, None]


def cka(args: argparse.Namespace) -> None:
    """Prints the table of all pairs of layers."""
    model = llama(args.smoke, 128)
    config = model.config
    size, points = ((4, 16), 16) if args.smoke else ((args.texts, 128), 256)
    tokens = np.random.default_rng(0).integers(0, config.vocab, size).astype(np.int32)
    rows = size[0]
    find = lambda: ji.geometry.similarity(
        model, model, tokens, points=points, batch_size=rows, progress=False
    )
    forward = lambda: ji.run(model, tokens, capture=["resid_post"], logits=False)[1]["resid_post"]

    def one_by_one() -> np.ndarray:
        x = np.asarray(forward())
        return cka_loop(x.reshape(len(x), -1, x.shape[-1]), points)

    gap = np.abs(find().cka - one_by_one()).max()
    assert gap < 1e-4, gap
    found = in_turn(
        {"forward alone": forward, "similarity": lambda: find().cka, "NumPy loop": one_by_one}, args.repeats
    )
    print(
        f"{config.layers} x {config.layers} layers of width {config.d}, {tokens.size} tokens in groups of "
        f"{points}; largest difference {gap:.1e}"
    )
    print("| what | processor seconds | loop's time over it | seconds |\n|---|---|---|---|")
    for name, (cpu, wall) in found.items():
        print(f"| {name} | {cpu:.3f} | {found['NumPy loop'][0] / cpu:.2f} | {wall:.3f} |")


PYVENE = """
import sys, time, numpy as np, torch, transformers, pyvene
torch.set_num_threads(1)
out, layers, d, vocab, n, steps, batch = sys.argv[1], *map(int, sys.argv[2:])
shape = dict(vocab_size=vocab, n_positions=16, n_embd=d, n_layer=layers, n_head=4)
model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)).eval()
base, source = torch.randint(vocab, (n, 8)), torch.randint(vocab, (n, 8))
answer = torch.randint(2, (n,))
times = []
for layer in range(layers):
    place = pyvene.RepresentationConfig(layer, "block_output", "pos", 1, low_rank_dimension=1)
    whole = pyvene.IntervenableModel(pyvene.IntervenableConfig([place], pyvene.LowRankRotatedSpaceIntervention), model)
    whole.disable_model_gradients()
    optimizer = torch.optim.Adam(whole.get_trainable_parameters(), lr=0.01)
    for step in range(steps + 1):
        if step == 1:
            at = time.process_time(), time.perf_counter()
        rows = torch.randint(n, (batch,))
        _, after = whole({"input_ids": base[rows]}, [{"input_ids": source[rows]}], {"sources->base": 7})
        loss = torch.nn.functional.cross_entropy(after.logits[:, -1, :2], answer[rows])
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    times.append((time.process_time() - at[0], time.perf_counter() - at[1]))
np.save(out, np.sum(times, 0))
"""


def das(args: argparse.Namespace) -> None:
    """Prints the table of DAS over all layers."""
    layers, d, vocab, n, steps, batch = (2, 16, 32, 32, 2, 8) if args.smoke else (12, 128, 1024, 128, 40, 16)
    config = ji.models.GPT2Config(vocab=vocab, ctx=16, d=d, layers=layers, heads=4)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    base, source = (rng.integers(vocab, size=(n, 8)) for _ in range(2))
    pairs = steering.Interchanges(base, source, rng.integers(2, size=n), np.arange(2))
    arrays = pair_arrays(pairs, [-1])
    values = source_values(model, arrays, "resid_post")
    start = Params(jax.random.normal(jax.random.key(1), (layers, 1, d)), None)
    rows = jnp.asarray(rng.integers(n, size=(steps, batch)), jnp.int32)
    schedule = Schedule(rows, jnp.ones(steps))

    def fit(which: Any, many: int) -> Any:
        cells = CellPlaces(jnp.asarray(which, jnp.int32), jnp.zeros(len(which), jnp.int32), None)
        some = Params(start.vectors[np.asarray(which)], None)
        rate, none = jnp.float32(0.1), jnp.float32(0)
        options = dict(site="resid_post", many=many)
        return fit_cells(model, arrays, values, cells, some, schedule, rate, none, **options)[1]

    calls = {
        "one program, all layers": lambda: fit(range(layers), layers),
        "loop over layers, one program each": lambda: [fit([i], 1) for i in range(layers)],
    }
    together, alone = (
        calls["one program, all layers"](),
        jnp.concatenate(calls["loop over layers, one program each"]()),
    )
    np.testing.assert_allclose(together[:, :5], alone[:, :5], rtol=1e-2)
    found = in_turn(calls, args.repeats)
    if args.peer:
        with tempfile.TemporaryDirectory() as folder:
            sizes = (layers, d, vocab, n, steps, batch)
            command = [args.peer, "-c", PYVENE, f"{folder}/t.npy", *map(str, sizes)]
            subprocess.run(command, check=True, capture_output=True)
            found["pyvene, loop over layers"] = tuple(np.load(f"{folder}/t.npy"))
    print(f"DAS of {layers} layers of width {d}: {steps} steps of {batch} pairs of 8 tokens")
    print("| what | processor seconds | seconds |\n|---|---|---|")
    for name, (cpu, wall) in found.items():
        print(f"| {name} | {cpu:.3f} | {wall:.3f} |")


TABLES = {"selection": selection, "cka": cka, "das": das}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, in seconds; no claim")
    parser.add_argument("--only", choices=tuple(TABLES), nargs="+", help="some of the tables")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of a kind in a selection")
    parser.add_argument("--texts", type=int, default=16, help="texts of 128 tokens for pairs of layers")
    parser.add_argument("--peer", help="a Python with torch, transformers and pyvene==0.1.8, for DAS")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    for name, table in TABLES.items():
        if not args.only or name in args.only:
            table(args)


if __name__ == "__main__":
    main()
