"""A tuned lens for the embedded model, trained in a minute: how far each layer is from the output.

python examples/tuned_lens.py                       (Python's own library is the text)
python examples/tuned_lens.py --text novel.txt --steps 250 --out lens
"""

import argparse
import inspect
import pathlib
import tarfile
import typing

import jax
import numpy as np

import jaxinterp as ji

parser = argparse.ArgumentParser()
parser.add_argument("--text", help="a text to train on; its last tenth is held out")
parser.add_argument("--steps", type=int, default=60, help="steps of --rows rows of 64 tokens")
parser.add_argument("--rows", type=int, default=16)
parser.add_argument("--adam", action="store_true", help="Adam in place of the published recipe")
parser.add_argument("--out", help="a folder for the lens, in the format of tuned-lens")
args = parser.parse_args()

model, tokenizer = ji.load("tiny")
if args.text:
    text = pathlib.Path(args.text).read_text(encoding="utf-8")
else:
    text = "\n".join(inspect.getsource(module) for module in (argparse, pathlib, tarfile, typing))
ids = np.asarray(tokenizer(text, bos=False))
rows = ids[: len(ids) // 64 * 64].reshape(-1, 64)
rows, held_out = rows[: len(rows) * 9 // 10], rows[len(rows) * 9 // 10 :][:64]
print(f"{rows.size:,} tokens to train on, {held_out.size:,} held out")


def stream(key):
    return rows[np.asarray(jax.random.randint(key, (args.rows,), 0, len(rows)))]


make = ji.lens.adam_optimizer if args.adam else ji.lens.published_optimizer
lens, history = ji.lens.train_tuned_lens(
    model, stream, make(args.steps), key=jax.random.key(0), steps=args.steps
)
logit = ji.lens.summary(model, held_out)
tuned = ji.lens.summary(model, held_out, lens=lens)
print("\nNats per token of held-out text")
print("row        KL logit  KL tuned   CE logit  CE tuned")
for row in range(model.config.layers + 1):
    name = "embedding" if row == 0 else f"block {row - 1}"
    values = [read.mean(what)[row] for what in ("kl", "cross_entropy") for read in (logit, tuned)]
    print(f"{name:<9}" + "".join(f"{value:10.3f}" for value in values))
assert (np.asarray(tuned.mean("kl")) <= np.asarray(logit.mean("kl"))).all()
if args.out:
    ji.lens.save(args.out, lens, model)
