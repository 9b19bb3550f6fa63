# %% [markdown]
# # Sparse probing, with certificates
#
# @BADGE@
#
# Which neurons know the language of a text, how few are enough, and is a better support possible?

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax
import numpy as np

import jaxinterp as ji

nouns = {
    "English": ["garden", "river", "letter", "house", "morning", "door"],
    "German": ["Garten", "Fluss", "Brief", "Tisch", "Morgen", "Weg"],
}
starts = {
    "English": ["She looked at the", "They had seen a", "He came out of the", "I know this old"],
    "German": ["Sie sah auf den", "Er hatte einen", "Wir gingen in den", "Ich kenne diesen"],
}
documents = [(f"{start} {noun}", name) for name in nouns for start in starts[name] for noun in nouns[name]]
model, tokenizer = ji.load("tiny")
corpus = ji.data.pack(tokenizer, documents, ctx=16)
x = np.asarray(ji.data.activations(model, corpus, "mlp_post", reduce="mean", progress=False))
y = (corpus.labels == "German").astype(int)
print(x.shape)  # (layer, text, neuron)

# %% [markdown]
# ## A ranking, and every neuron alone

# %%
singles = ji.probes.single_neuron(x, y)
layer, neuron = np.unravel_index(np.argmax(singles.f1), singles.f1.shape)
print(f"neuron {layer}.{neuron}: F1 {singles.f1.max():.3f} on the texts that chose it")

# %% [markdown]
# ## Held-out texts
#
# The best of thousands of neurons looks better than it is. So it is chosen on one half and scored on the other.

# %%
order = np.random.default_rng(0).permutation(len(y))
train, test = order[::2], order[1::2]
support = ji.probes.best_subset(x[layer][train], y[train], k=2, time_limit=10)
probe = ji.probes.fit(x[layer][train], y[train], support=support.support)
scores = ji.probes.metrics(y[test], probe.decision(x[layer][test]), resamples=200, key=jax.random.key(0))
print(support)
print(scores["f1"], scores["intervals"]["f1"])

# %% [markdown]
# The status is "optimal" only where the gap between value and bound is closed: then no other two neurons of this layer have a
# lower loss. Otherwise the gap says how much better another support could be at most.
#
# ## A control
#
# Shuffled labels show what chance gives with as many neurons.

# %%
shuffled = np.asarray(ji.probes.shuffled_labels(y[train], key=jax.random.key(1)))[0]
chance = ji.probes.best_subset(x[layer][train], shuffled, k=2, time_limit=5)
control = ji.probes.fit(x[layer][train], shuffled, support=chance.support)
print("shuffled labels:", ji.probes.metrics(y[test], control.decision(x[layer][test]))["f1"])
