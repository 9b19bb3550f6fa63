"""Activation patching: a sweep over layers and positions is `jax.vmap` over an edit.

python examples/activation_patching.py          # writes patching.html
"""

import jax
import jax.numpy as jnp

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
clean, corrupt = (
    tokenizer(text, bos=True) for text in ("Il aimait une autre", "Il aimait un autre")
)
right, wrong = tokenizer.token_id(" femme"), tokenizer.token_id(" homme")


def difference(logits):
    return logits[right] - logits[wrong]


logits, acts = ji.run(model, clean, capture=["resid_pre"], logits=-1)
top, bottom = difference(logits), difference(ji.run(model, corrupt, logits=-1)[0])
print(f"logit difference: {top:.2f} after the clean prompt, {bottom:.2f} after the corrupt one")


def effect(layer, pos):
    """0: the corrupt answer stays; 1: the clean answer is restored."""
    edit = ji.replace("resid_pre", acts["resid_pre"][layer], layer=layer, pos=pos)
    logits, _ = ji.run(model, corrupt, edits=[edit], logits=-1)
    return (difference(logits) - bottom) / (top - bottom)


sweep = jax.jit(jax.vmap(jax.vmap(effect, (None, 0)), (0, None)))
heat = sweep(jnp.arange(model.config.layers), jnp.arange(len(clean)))
print(heat.round(2))

names = tokenizer.tokens(clean)
figure = ji.viz.heatmap(
    heat,
    cols=names,
    row_axis="layer",
    col_axis="token",
    value="effect",
    title="Effect of patching the residual stream before a layer",
)
print("wrote", figure.save("patching.html"))
