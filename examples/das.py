"""DAS: which direction of the stream carries the number of a subject, layer by layer, beside every control.

The embedded model says "was" after "The lady that the king" and "were" after "The lady that the kings". One direction of
each layer and position is trained to move the number from one prompt to another: on some verbs, tested on pairs and on
verbs that it was not trained on. Then boundless DAS learns how many directions it takes.

python examples/das.py                              # a minute of a processor
python examples/das.py --layers 0 1 2 3 --positions OTHER END --steps 60 --batch 16
python examples/das.py --model smollm2-135m --pairs 120 --steps 60 --layers 0 4 8 12 16 20 24 29 --most 0
"""

import argparse

import jax
import numpy as np

import jaxinterp as ji

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="tiny")
parser.add_argument("--pairs", type=int, default=100)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--positions", nargs="*", default=["END"])
parser.add_argument("--layers", type=int, nargs="*", default=[0, 3])
parser.add_argument("--most", type=int, default=4, help="the largest dimension of boundless DAS; 0: none")
asked = parser.parse_args()

model, tokenizer = ji.load(asked.model)
key = jax.random.key(0)
pairs = ji.tasks.agreement(tokenizer, asked.pairs, key=key, template="within_rc", bos=True, pad="left")
some = np.flatnonzero([kind.endswith(("is/are", "was/were")) for kind in pairs.kinds])
others = np.setdiff1d(np.arange(len(pairs)), some)
cut = len(some) * 2 // 3
train, test = pairs[some[:cut]], {"held-out pairs": pairs[some[cut:]], "other verbs": pairs[others]}
settings = ji.steering.SubspaceSettings(steps=asked.steps, batch_size=asked.batch)
where = dict(site="resid_post", layer=asked.layers, positions=asked.positions, test=test, settings=settings)


def show(found):
    print(
        "layer position dim test            n  accuracy (interval)  whole  none  random: subspace labels model"
    )
    for row in found.records():
        print(
            f"{row['layer']:5} {row['position']:8} {row['dim']:3} {row['test']:14} {row['n']:3}"
            f"  {row['accuracy']:8.2f} ({row['low']:.2f}..{row['high']:.2f}) {row['whole']:6.2f} {row['none']:5.2f}"
            f"  {row['random_subspace']:16.2f} {row['random_labels']:6.2f} {row['random_model']:5.2f}"
        )


print(f"DAS, one direction, {cut} pairs both ways")
show(ji.steering.das(key, model, train, dim=1, **where))
if asked.most:
    print(f"boundless DAS, at most {asked.most} directions")
    show(ji.steering.boundless_das(key, model, train, most=asked.most, **where))
