"""Steering: a direction from English to French, added to the residual stream while the model writes.

python examples/steering.py "The young man looked out of the window and"
"""

import sys

import jax

import jaxinterp as ji

opening = sys.argv[1] if len(sys.argv) > 1 else "The young man looked out of the window and"
model, tokenizer = ji.load("tiny")
layer = model.config.layers // 2

ENGLISH = [
    "The old man walked slowly along the river.",
    "It was already late when we came home.",
    "She began to read.",
]
FRENCH = [
    "Le vieil homme marchait le long de la rivière.",
    "Il était déjà tard quand nous revînmes.",
    "Elle se mit à lire.",
]


def mean(texts):
    """The mean residual stream after `layer`, reduced as the model runs: padding does not count."""
    tokens, mask = tokenizer(texts)
    read = ji.at("resid_post", layer=layer, reduce="mean")
    _, acts = ji.run(model, tokens, mask=mask, capture=[read], logits=False)
    return acts[read].mean(0)


direction = mean(FRENCH) - mean(ENGLISH)
tokens = tokenizer(opening, bos=True)
for strength in (0.0, 1.0, 2.0, 4.0):
    steered = ji.intervene(model, [ji.add("resid_post", strength * direction, layer=layer)])
    out = ji.generate(steered, tokens, 24, key=jax.random.key(0), temperature=0.7)
    print(f"strength {strength}: {tokenizer.decode(out[len(tokens) :])!r}")
