# %% [markdown]
# # Patching and attribution
#
# @BADGE@
#
# Patches of every layer, position and head; ablations; attribution beside the exact effects; intervals over a data set.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
clean = tokenizer("Il aimait une autre", bos=True)
corrupt = tokenizer("Il aimait un autre", bos=True)
metric = ji.metrics.logit_diff(tokenizer.token_id(" femme"), tokenizer.token_id(" homme"))
before, after = (ji.metrics.measure(model, each, metric) for each in (corrupt, clean))
print(float(before), float(after))

# %% [markdown]
# ## Streams, heads and MLPs
#
# `sweep` makes one run for each cell, in one compiled program.

# %%
heads = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"))
ji.viz.heatmap(ji.metrics.recovered(heads, after, before), axis_names=("layer", "head"))

# %%
mlps = ji.patching.sweep(model, clean, corrupt, metric, site="mlp_out", over=("layer", "pos"))
ji.viz.heatmap(
    ji.metrics.recovered(mlps, after, before), cols=tokenizer.tokens(clean), axis_names=("layer", "token")
)

# %% [markdown]
# ## Attribution
#
# A gradient estimates all cells from two forward passes and one backward pass. `agreement` compares it with the exact sweep.

# %%
estimate = ji.patching.attribution(model, clean, corrupt, metric, site="z", over=("layer", "head"))
ji.patching.agreement(estimate, heads, baseline=before, top=5)

# %% [markdown]
# ## Ablation
#
# Values come from a function: zeros, a mean over prompts, or other prompts.

# %%
zeroed = ji.patching.ablate(model, clean, metric, values=ji.patching.zeros, site="z", over=("layer", "head"))
ji.viz.heatmap(zeroed - after, axis_names=("layer", "head"))

# %% [markdown]
# ## A data set, with intervals
#
# Indirect-object prompts have padding, and each has its own answer. Statistics correct for the number of cells.

# %%
pairs = ji.tasks.ioi(tokenizer, 8, key=jax.random.key(0), bos=True)
answer = ji.metrics.logit_diff(pairs.correct, pairs.wrong, pos=pairs.pos)
effects = ji.patching.sweep(
    model,
    pairs.clean,
    pairs.corrupt,
    answer,
    site="z",
    over=("layer", "head"),
    mask=pairs.mask,
    per_example=True,
)
base = ji.metrics.measure(model, pairs.corrupt, answer, mask=pairs.mask)
found = ji.patching.statistics(effects, base, key=jax.random.key(0))
print(found.significant().sum(), "of", found.mean.size, "heads have an effect, with 5% of false discoveries")
