"""The logit lens in a few lines: what each layer would say next.

python examples/logit_lens.py "The old man looked at his"
"""

import sys

import jax
import jax.numpy as jnp

import jaxinterp as ji

text = sys.argv[1] if len(sys.argv) > 1 else "The old man looked at his"
model, tokenizer = ji.load("tiny")
tokens = tokenizer(text, bos=True)

# The residual stream before the first block and after each one, (layer + 1, pos, d) ...
logits, acts = ji.run(model, tokens, capture=["resid_pre[0]", "resid_post"])
streams = jnp.concatenate([acts["resid_pre[0]"][None], acts["resid_post"]])

# ... sent straight to the output: the run is resumed after the last block.
lens, _ = ji.resume(model, streams, model.config.layers)
assert jnp.allclose(lens[-1], logits, atol=1e-4)  # the last one is the model's own output

probs, ids = jax.lax.top_k(jax.nn.softmax(lens[:, -1]), 5)
for layer, (p, i) in enumerate(zip(probs, ids, strict=True)):
    guesses = "  ".join(f"{token!r} {q:.0%}" for token, q in zip(tokenizer.tokens(i), p, strict=True))
    print(f"after {layer} of {model.config.layers} blocks:  {guesses}")
