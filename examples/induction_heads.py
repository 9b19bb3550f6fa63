"""Induction heads: attention on random tokens that come twice.

python examples/induction_heads.py          # writes induction.html
"""

import jax
import jax.numpy as jnp

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
span = 25
block = jax.random.randint(jax.random.key(0), (8, span), 300, tokenizer.vocab)
start = jnp.full((8, 1), tokenizer.bos_id)
tokens = jnp.concatenate([start, block, block], axis=1)

_, acts = ji.run(model, tokens, capture=["pattern"], logits=False)
pattern = acts["pattern"].mean(1)  # (layer, head, query, key), over the prompts

# In the second round, an induction head looks at what followed the token the first time.
queries = jnp.arange(1 + span, 1 + 2 * span)
scores = pattern[:, :, queries, queries - span + 1].mean(-1)
layer, head = jnp.unravel_index(scores.argmax(), scores.shape)
print(scores.round(2))
print(f"the best is head {layer}.{head} with {scores[layer, head]:.2f}")

figure = ji.viz.heatmap(
    scores, axis_names=("layer", "head"), value="score", settings=ji.viz.HeatmapSettings(limits=(0, 1))
)
print("wrote", figure.save("induction.html"))
