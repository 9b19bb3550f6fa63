# %% [markdown]
# # First steps
#
# @BADGE@
#
# A model, its named sites, captures, edits and a first patching experiment. It takes about a minute on a CPU.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import os

# On a GPU, exact float32 products come from cuBLAS: XLA then compiles much faster.
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false")

import jax
import jax.numpy as jnp

import jaxinterp as ji

print(jax.devices())  # a TPU or GPU where the runtime has one; everything below runs on a CPU too
ji.compilation_cache()  # compiled programs are kept for the next session
NAME = "tiny"  # the embedded model; with a network "gpt2", "EleutherAI/pythia-160m", ...

# %%
model, tokenizer = ji.load(NAME)
model

# %% [markdown]
# ## Sites
#
# A site is a named place in a model. `ji.sites` lists all of them, with their shapes.

# %%
tokens = tokenizer("The first thing that she saw was a")
ji.sites(model, tokens)

# %% [markdown]
# ## A run
#
# `ji.run` returns the logits and the activations that are asked for.

# %%
logits, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
print(logits.shape, acts["resid_post"].shape, acts["pattern[1]"].shape)
best = jax.lax.top_k(jax.nn.softmax(logits[-1]), 5)
{token: round(float(p), 3) for token, p in zip(tokenizer.tokens(best[1]), best[0])}

# %% [markdown]
# Attention as text: move over a token, or focus it with the keyboard, to see what it attends to.

# %%
ji.viz.attention(acts["pattern[1]"], tokenizer.tokens(tokens))

# %% [markdown]
# ## Edits
#
# An edit is a pure function of an activation. One compiled program serves all values of an edit, so a sweep over
# values is `jax.vmap`.


# %%
def scaled(factor):
    return ji.run(model, tokens, edits=[ji.scale("mlp_out", factor, layer=1)], logits=-1)[0]


swept = jax.vmap(scaled)(jnp.linspace(0.0, 2.0, 5))
tokenizer.tokens(swept.argmax(-1))

# %% [markdown]
# ## Activation patching
#
# Which activations carry the difference between two prompts? Each cell of the figure is a run of the corrupt prompt in which
# one stream comes from the clean one. The scale is the share of the difference that comes back.

# %%
clean = tokenizer("Il aimait une autre", bos=True)
corrupt = tokenizer("Il aimait un autre", bos=True)
metric = ji.metrics.logit_diff(tokenizer.token_id(" femme"), tokenizer.token_id(" homme"))
heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
before, after = (ji.metrics.measure(model, each, metric) for each in (corrupt, clean))
share = ji.metrics.recovered(heat, after, before)
ji.viz.heatmap(share, cols=tokenizer.tokens(clean), axis_names=("layer", "token"))

# %% [markdown]
# ## The tour
#
# `jaxinterp tour` writes a page with one chapter for each package. The next notebooks go deeper: patching, lenses, sparse
# probing, dictionaries, circuits, edits in a training loop, and several devices.

# %%
print(ji.cite(ji.patching.sweep))
