# %% [markdown]
# # Lenses
#
# @BADGE@
#
# What the stream already says at each layer: the logit lens, a tuned lens, direct attribution and attention as tokens.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
tokens = tokenizer("She opened the door and saw that the man was")

# %% [markdown]
# ## The logit lens
#
# Row 0 is the embedding, row l + 1 the output of block l.

# %%
read = ji.lens.summary(model, tokens)
ji.viz.lens_table(tokens, read, tokenizer=tokenizer)

# %% [markdown]
# ## A tuned lens
#
# A translator for each row, trained to predict the model's own output. Here it sees only a few texts.

# %%
texts = [
    "The old man walked along the river.",
    "It was a cold morning in May.",
    "She opened the letter and read it twice.",
] * 4
corpus = ji.data.pack(tokenizer, texts, ctx=16)
rows = jax.numpy.asarray(corpus.tokens)


def stream(key):
    return rows[jax.random.randint(key, (4,), 0, len(rows))]


lens, history = ji.lens.train_tuned_lens(
    model, stream, key=jax.random.key(0), steps=10, settings=ji.fit.Settings(progress=False)
)
for name, each in (("logit lens", None), ("tuned lens", lens)):
    print(
        name, ji.lens.summary(model, tokens, **({} if each is None else {"lens": each})).mean("kl").round(2)
    )

# %% [markdown]
# ## What each head adds to a logit

# %%
woman, man = tokenizer.token_id(" his"), tokenizer.token_id(" her")
parts = ji.lens.direct_attribution(model, tokens, (woman, man), by="head")
print(parts.top(5))
ji.viz.heatmap(parts.heads, axis_names=("layer", "head"))

# %% [markdown]
# ## Attention as tokens
#
# The tokens that the output of a head raises most, at the last position.

# %%
heads = ji.lens.attention_lens(model, tokens)
for head in range(model.config.heads):
    print(f"head 3.{head}", tokenizer.tokens(heads.ids[3, head]))
