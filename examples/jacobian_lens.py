"""A Jacobian lens: fitted on the embedded model, or compared with one that others published.

python examples/jacobian_lens.py
python examples/jacobian_lens.py --model llama2.data --lens lens_C_100.pt --prompts tinystories_1000.json

The second form fits some rows of the matrices on the same prompts with the same settings (cut at
128 tokens, the first 16 and the last left out) and prints the agreement, layer by layer, as the
lens stands and transposed.
"""

import argparse
import inspect
import json
import pathlib
import time

import numpy as np

import jaxinterp as ji

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="tiny")
parser.add_argument("--lens", help="a published lens, a .pt file")
parser.add_argument("--prompts", help="a JSON list of texts")
parser.add_argument("--count", type=int, default=100, help="how many prompts the lens was fitted on")
parser.add_argument("--dims", type=int, default=8, help="how many rows of the matrices to compare")
args = parser.parse_args()
model, tokenizer = ji.load(args.model)

if args.lens is None:
    ids = np.asarray(tokenizer(inspect.getsource(argparse), bos=False))
    rows = ids[: len(ids) // 64 * 64].reshape(-1, 64)
    lens = ji.lens.fit_jacobian_lens(model, [rows[:4], rows[4:8]])
    logit = ji.lens.summary(model, rows[8:40])
    linear = ji.lens.summary(model, rows[8:40], lens=lens)
    print("Read after block   KL logit lens   KL Jacobian lens")
    for i, row in enumerate(linear.rows[:-1]):
        print(f"{row - 1:>16}{logit.mean()[row]:>16.3f}{linear.mean()[i]:>19.3f}")
else:
    published = ji.lens.load(args.lens)
    texts = json.loads(pathlib.Path(args.prompts).read_text(encoding="utf-8"))[: args.count]
    prompts = [np.asarray(tokenizer(text, bos=True))[:128] for text in texts]
    dims = np.sort(np.random.default_rng(0).choice(model.config.d, args.dims, replace=False))
    start = time.perf_counter()
    found = np.asarray(
        ji.lens.jacobian_rows(model, [row[None] for row in prompts], dims, layers=published.layers)
    )
    print(f"{len(prompts)} prompts, {len(dims)} rows: {time.perf_counter() - start:.0f} s")
    print("layer   cosine   relative error   cosine with the transpose")
    for i, layer in enumerate(published.layers):
        theirs = np.asarray(published.matrices[i])
        straight, turned = theirs[dims], theirs.T[dims]
        cosine = [
            (found[i] * other).sum() / np.linalg.norm(found[i]) / np.linalg.norm(other)
            for other in (straight, turned)
        ]
        error = np.linalg.norm(found[i] - straight) / np.linalg.norm(straight)
        print(f"{layer:>5}{cosine[0]:>9.5f}{error:>17.1e}{cosine[1]:>28.3f}")
