# %% [markdown]
# # Train, browse and steer a sparse dictionary
#
# @BADGE@
#
# A dictionary writes an activation as a sparse sum of directions. This one is small and sees few texts: it shows the calls.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
texts = [
    "The old man walked slowly along the river.",
    "Das Haus am Wasser war alt.",
    "x = [i for i in range(10)]",
    "Elle ouvrit la porte et sortit.",
] * 8
corpus = ji.data.pack(tokenizer, texts, ctx=32)
site = "resid_post[2]"
stream = ji.data.stream(model, corpus, site=site, batch_size=64)
kind = ji.sae.TopK(d=model.config.d, features=320, k=16)
sae, history = ji.sae.train(
    kind, stream, key=jax.random.key(0), steps=60, settings=ji.fit.Settings(progress=False)
)
print(history["reconstruction"][[0, -1]], sae)

# %% [markdown]
# ## How good it is

# %%
scores = ji.sae.evaluate(sae, model, corpus, site=site, progress=False)
{
    name: round(float(scores[name]), 3)
    for name in ("l0", "explained_variance", "recovered", "recovered_mean", "dead")
}

# %% [markdown]
# ## Features as their examples

# %%
found = ji.sae.examples(
    sae, model, corpus, site=site, settings=ji.sae.ExampleSettings(top=10), progress=False
)
feature = int(found.maximum.argmax())
for record in found.records(tokenizer, feature)[:3]:
    print(round(record["activation"], 2), record["tokens"])

# %% [markdown]
# `browse` writes pages that work offline: search, examples, logits, histograms. Open the folder's `index.html`.

# %%
path = ji.sae.browse("features", sae, model, tokenizer, site=site, read=found, progress=False)
print(sorted(each.name for each in path.iterdir()))

# %% [markdown]
# ## Steering
#
# The feature is held at the largest value that was seen, in every position of a generation.

# %%
prompt = tokenizer("Once upon a time")
edit = ji.sae.steer(sae, feature, site=site, observed=found)
for edits in ([], [edit]):
    print(tokenizer.decode(ji.generate(model, prompt, 12, edits=edits)))
