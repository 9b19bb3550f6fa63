"""Trains the embedded model from scratch on a CPU.

    python examples/train_tiny/train.py --data ../shared/data/corpora --out runs/tiny --steps 16000

Stop it at any point and run the same line again: it goes on from the last checkpoint, bit for bit as if it had never
stopped, because a batch is a function of the step and the checkpoint holds everything else. The learning rate is
constant after a short warm-up and falls linearly to zero over the last `--decay` of the steps, so `--steps` may be
changed between stops as long as the decay has not begun.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import data
import export
import jax
import jax.numpy as jnp
import model
import numpy as np
import optax
import orbax.checkpoint as ocp
import tokenizer as bpe
from optax.contrib import MuonDimensionNumbers
from tqdm import tqdm

EXPORT_AT = {0} | {125 * 2**i for i in range(20)}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with the corpora (*.txt.xz or *.txt)")
    add("--out", required=True, help="folder for checkpoints, log and exported models")
    add("--steps", type=int, default=16000)
    add(
        "--decay",
        type=float,
        default=0.5,
        help="share of the steps in which the learning rate falls to zero",
    )
    add("--warmup", type=int, default=100)
    add("--batch", type=int, default=16)
    add(
        "--learning-rate",
        type=float,
        default=0.02,
        help="of Muon, for the matrices inside the blocks",
    )
    add("--adam-learning-rate", type=float, default=0.004, help="for embeddings, biases and norms")
    add("--seed", type=int, default=0)
    add("--save-every", type=int, default=500)
    add("--export-every", type=int, default=0, help="also export a model after so many steps; 0 for never")
    for field, default in model.Config._field_defaults.items():
        add(f"--{field.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args(argv)


def schedule(peak, *, steps, decay, warmup):
    """Linear warm-up, constant, then linear to zero over the last `decay` of the steps."""
    return lambda step: (
        peak * jnp.clip(jnp.minimum((step + 1) / warmup, (steps - step) / max(1.0, decay * steps)), 0.0, 1.0)
    )


def optimizer(*, learning_rate, adam_learning_rate, steps, decay, warmup):
    """Muon for the matrices inside the blocks (heads side by side form one matrix), Adam for everything else."""
    plan = partial(schedule, steps=steps, decay=decay, warmup=warmup)
    into_heads, out_of_heads = MuonDimensionNumbers(2, (1, 3)), MuonDimensionNumbers((1, 2), 3)
    plain = MuonDimensionNumbers(1, 2)
    matrices = {
        "w_q": into_heads,
        "w_k": into_heads,
        "w_v": into_heads,
        "w_o": out_of_heads,
        "w_in": plain,
        "w_out": plain,
    }

    def dimensions(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: matrices.get(path[-1].key), params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            plan(learning_rate),
            adam_learning_rate=plan(adam_learning_rate),
            weight_decay=0.01,
            adam_b1=0.9,
            adam_b2=0.98,
            muon_weight_dimension_numbers=dimensions,
        ),
    )


def prepare(args, out: Path):
    """Token rows of both sides; they and the tokenizer are made once and kept in the run's folder."""
    if not (out / "rows.npz").exists():
        split = data.load_corpora(args.data)
        sample = (doc for docs in split["train"].values() for doc in docs[:: 6 if len(docs) > 60 else 1])
        tok = bpe.train(sample, vocab=args.vocab)
        cut = {
            side: {name: data.rows(tok, docs, length=args.context + 1) for name, docs in corpora.items()}
            for side, corpora in split.items()
        }
        tok.save(str(out / "tokenizer.json"))
        valid = {f"valid_{name}": rows for name, rows in cut["valid"].items()}
        train = {f"train_{name}": rows for name, rows in cut["train"].items()}
        np.savez(out / "rows.npz", **train, **valid)
    return data.load_rows(out / "rows.npz")


def main(argv=None):
    args = arguments(argv)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = model.Config(**{field: getattr(args, field) for field in model.Config._fields})
    rows = prepare(args, out)
    batches = data.Batches(
        np.concatenate(list(rows["train"].values())),
        batch=args.batch,
        vocab=config.vocab,
        seed=args.seed,
    )
    valid = np.concatenate(
        [r[: max(1, 256 * len(r) // sum(map(len, rows["valid"].values())))] for r in rows["valid"].values()]
    ).astype(np.int32)

    opt = optimizer(
        learning_rate=args.learning_rate,
        adam_learning_rate=args.adam_learning_rate,
        steps=args.steps,
        decay=args.decay,
        warmup=args.warmup,
    )

    @partial(jax.jit, donate_argnums=0)
    def train_step(state, tokens, weight):
        params, opt_state = state
        loss, grads = jax.value_and_grad(model.mean_loss)(params, tokens, weight, config)
        updates, opt_state = opt.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    valid_loss = jax.jit(lambda params, tokens: model.token_losses(params, tokens, config).mean())

    def validate(params):
        pieces = np.array_split(valid, max(1, len(valid) // 16))
        return float(np.average([valid_loss(params, p) for p in pieces], weights=[len(p) for p in pieces]))

    @jax.jit
    def start():
        params = model.init(jax.random.key(args.seed), config)
        return params, opt.init(params)

    state = start()
    keep = ocp.CheckpointManagerOptions(max_to_keep=2)
    with (
        ocp.CheckpointManager(out / "state", options=keep) as saved,
        open(out / "log.jsonl", "a", buffering=1) as log,
    ):
        first = saved.latest_step() or 0
        if first:
            like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            state = saved.restore(first, args=ocp.args.StandardRestore(like))

        def write(done):
            seen = {"steps": done, "batch": args.batch, "seed": args.seed}
            export.save(out / f"step{done}", state[0], config, out / "tokenizer.json", training=seen)

        if not first:
            write(0)
        began, losses = time.time(), []
        progress = tqdm(range(first, args.steps), initial=first, total=args.steps, mininterval=5)
        for step in progress:
            state, loss = train_step(state, *batches(step))
            losses.append(float(loss))
            done, last = step + 1, step + 1 == args.steps
            if done % 50 == 0 or last:
                speed = len(losses) * args.batch * config.context / (time.time() - began)
                progress.set_postfix(loss=f"{np.mean(losses):.3f}", tok_s=f"{speed:.0f}")
                entry = {
                    "step": done,
                    "tokens": done * args.batch * config.context,
                    "loss": float(np.mean(losses)),
                    "tokens_per_second": speed,
                    "time": time.time(),
                }
                if done % args.save_every == 0 or last:
                    entry["valid"] = validate(state[0])
                log.write(json.dumps(entry) + "\n")
                began, losses = time.time(), []
            if done % args.save_every == 0 or last:
                saved.save(done, args=ocp.args.StandardSave(state))
            due = args.export_every and done % args.export_every == 0
            if done in EXPORT_AT or due or last:
                write(done)
        saved.wait_until_finished()
    return state[0]


if __name__ == "__main__":
    main()
