# %% [markdown]
# # Circuits
#
# @BADGE@
#
# Edges between heads, MLPs and the logits: scored by gradients, chosen, and judged by what they keep of the behaviour.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jaxinterp as ji

model, tokenizer = ji.load("tiny")
clean, corrupt = (tokenizer(text, bos=True) for text in ("Il aimait une autre", "Il aimait un autre"))
metric = ji.metrics.logit_diff(tokenizer.token_id(" femme"), tokenizer.token_id(" homme"))
g = ji.circuits.graph(model)
g

# %% [markdown]
# ## Scores of all edges

# %%
scores = ji.circuits.eap(model, clean, corrupt, metric, steps=8)
print(scores.top(5))
scores.figure(top=40)

# %% [markdown]
# ## Circuits of three sizes, and how much of the behaviour each one keeps

# %%
circuits = ji.circuits.select(scores, n=[10, 30, 100], how="greedy")
ji.circuits.evaluate(model, circuits, clean, corrupt, metric)

# %% [markdown]
# ## The exact effects of paths
#
# `direct_paths` patches one edge at a time.

# %%
paths = ji.circuits.direct_paths(model, clean, corrupt, metric, mode="noise")
print(paths.top(5))
print(scores.agreement(paths))
