"""Trains five seeds of a small GPT-2 in one vmapped training, for the study of universal neurons.

    python examples/train_seeds/train_seeds.py --data ../shared/data/corpora --out runs/seeds

The seeds differ in their first weights alone: each batch is read once for all of them. So a neuron
that two seeds share was not copied, and a neuron that they do not share saw the same text.

Stop it at any point and run the same line again: it goes on from the last checkpoint, bit for bit.
The learning rate rises over the first 50 steps and falls to zero over the second half. After each
evaluation the weights of each seed are written as float16 in the Hugging Face layout to `OUT/seed0`
... `OUT/seed4`, which `ji.load` reads. Texts are those of `examples/train_tiny`, with the embedded
tokenizer; documents that `train_tiny/data.py` holds out stay held out.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tokenizers import Tokenizer

import jaxinterp as ji

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "train_tiny"))

import data
import model as tiny

MEGABYTES = {
    "novels_eng": 9,
    "novels_deu": 5,
    "novels_fra": 5,
    "code_python": 4,
    "code_c": 2,
    "legal_eng": 3,
    "latex": 2,
}
"Millions of characters that are read of each corpus."
VALID_ROWS = 128
TOKENIZER = Path(ji.__file__).parent / "_tiny" / "tokenizer.json"


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with the corpora (*.txt.xz or *.txt)")
    add("--out", required=True, help="folder for rows, checkpoints, log and models")
    add("--seeds", type=int, default=5)
    add("--steps", type=int, default=1200)
    add("--batch", type=int, default=4)
    add("--every", type=int, default=200, help="after so many steps seeds are evaluated and written")
    add("--learning-rate", type=float, default=0.02, help="of Muon, for the matrices of the blocks")
    add("--adam-learning-rate", type=float, default=0.004, help="for embeddings, biases and norms")
    for name, default in {"layers": 2, "d": 48, "heads": 4, "ff": 192, "ctx": 128}.items():
        add(f"--{name}", type=int, default=default)
    return parser.parse_args(argv)


def token_rows(args, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows (row, ctx + 1) of training and of held-out text, each behind `<|endoftext|>`; made once."""
    path = out / "rows.npz"
    if not path.exists():
        tokenizer = Tokenizer.from_file(str(TOKENIZER))
        found = {"train": [], "valid": []}
        for file in sorted(Path(args.data).glob("*.txt*")):
            name = file.name.split(".")[0]
            left = MEGABYTES.get(name, 0) * 10**6
            docs = []
            for doc in data.documents(file):
                if left <= 0:
                    break
                docs.append(doc)
                left -= len(doc)
            for side, held in (("train", False), ("valid", True)):
                kept = [doc for doc in docs if data.held_out(doc) == held]
                found[side].append(data.rows(tokenizer, kept, length=args.ctx))
        whole = {side: np.concatenate(rows) for side, rows in found.items()}
        np.savez(
            path,
            **{s: np.insert(rows, 0, data.END, axis=1).astype(np.uint16) for s, rows in whole.items()},
        )
    with np.load(path) as file:
        train, valid = file["train"], file["valid"]
    chosen = np.random.default_rng(0).permutation(len(valid))[:VALID_ROWS]
    return train, valid[chosen]


def start(config, key):
    """A model whose matrices inside the blocks keep the size of what they read."""
    model = ji.models.GPT2.init(config, key=key)
    read = lambda m: (m.blocks.attn.w_q, m.blocks.attn.w_k, m.blocks.attn.w_v, m.blocks.mlp.w_in)
    return eqx.tree_at(read, model, tuple(w * (config.d**-0.5 / 0.02) for w in read(model)))


def hidden(model, tokens):
    """(batch pos) tokens -> (batch pos d), the input of the unembedding.

    The library's own forward computes the same; this one is faster because it has no sites (see
    `train_tiny/model.py`), and a test holds the two together.
    """
    eps, pos = model.config.norm_eps, tokens.shape[-1]
    no_rotation = np.zeros((pos, 0), np.float32)
    norm = lambda x, ln: tiny.layer_norm(x, ln.weight, ln.bias, eps)
    x = model.w_embed[tokens] + model.w_pos[:pos]
    for layer in range(model.config.layers):
        block = jax.tree.map(lambda leaf, at=layer: leaf[at], model.blocks)
        weights = {f"{w}_{n}": getattr(block.attn, f"{w}_{n}") for w in "wb" for n in "qkvo"}
        x = x + tiny.attention(weights, norm(x, block.ln1), (no_rotation, no_rotation))[0]
        neurons = tiny.gelu(norm(x, block.ln2) @ block.mlp.w_in + block.mlp.b_in)
        x = x + neurons @ block.mlp.w_out + block.mlp.b_out
    return norm(x, model.ln_final)


def loss(params, batch, now):
    """The mean next-token loss in nats of one seed."""
    model, tokens = params["model"], batch.astype(jnp.int32)
    flat = hidden(model, tokens[:, :-1]).reshape(-1, model.config.d)
    target = tokens[:, 1:].reshape(-1)
    weight = jnp.full(target.shape, 1 / target.size, jnp.float32)
    return tiny.unembed_loss(flat, model.w_embed.T, target, weight), {}


def optimizer(args, params):
    """Muon for the matrices inside the blocks, Adam for everything else."""
    dims = optax.contrib.MuonDimensionNumbers
    matrices = {
        **dict.fromkeys(("w_q", "w_k", "w_v"), dims(2, (1, 3))),
        "w_o": dims((1, 2), 3),
        **dict.fromkeys(("w_in", "w_out"), dims(1, 2)),
    }

    def dimensions(params):
        name = lambda path: getattr(path[-1], "name", None)
        return jax.tree_util.tree_map_with_path(lambda path, _: matrices.get(name(path)), params)

    half = args.steps // 2
    plan = lambda peak: optax.join_schedules(
        [
            optax.linear_schedule(peak / 50, peak, 50),
            optax.linear_schedule(peak, 0.0, args.steps - half),
        ],
        [half],
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            plan(args.learning_rate),
            adam_learning_rate=plan(args.adam_learning_rate),
            weight_decay=0.01,
            adam_b1=0.9,
            adam_b2=0.98,
            muon_weight_dimension_numbers=dimensions,
        ),
    )


def main(argv=None):
    args = arguments(argv)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    train, valid = token_rows(args, out)
    tokenizer = ji.load("tiny")[1]
    config = ji.models.GPT2Config(
        vocab=tokenizer.vocab,
        act="gelu",
        **{n: getattr(args, n) for n in ("layers", "d", "heads", "ff", "ctx")},
    )
    starts = [
        {"model": start(config, jax.random.key(seed)), "seed": jnp.asarray(seed)}
        for seed in range(args.seeds)
    ]
    valid_loss = jax.jit(lambda params, rows: loss(params, rows, None)[0])

    def evaluate(params, step):
        half = jax.tree.map(
            lambda x: x.astype(jnp.float16) if eqx.is_inexact_array(x) else x, params["model"]
        )
        ji.hub.export(out / f"seed{int(params['seed'])}", half, tokenizer=tokenizer)
        return {"valid": np.mean([valid_loss(params, rows) for rows in np.split(valid, 4)])}

    last = [time.time(), 0]

    def log(step, numbers):
        now, speed = time.time(), 0.0
        if last[1]:
            speed = (step - last[1]) * args.batch * args.ctx / (now - last[0])
        last[:] = now, step
        losses = {name: [one[name] for one in numbers] for name in numbers[0]}
        entry = {"step": step, **losses, "tokens_per_second": speed, "time": now}
        with open(out / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    return ji.fit.sweep(
        starts,
        ji.fit.Rows(train, args.batch, key=jax.random.key(0)),
        loss,
        optimizer(args, starts[0]),
        steps=args.steps,
        settings=ji.fit.Settings(
            every=args.every,
            evaluate=evaluate,
            callback=log,
            checkpoint=out / "state",
            checkpoint_every=args.every,
            steps_per_dispatch=10,
        ),
    )


if __name__ == "__main__":
    main()
