# %% [markdown]
# # Dictionaries of other libraries
#
# @BADGE@
#
# Folders of SAELens and files of Gemma Scope load without torch. Offline, this notebook writes such files first.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A folder of SAELens
#
# With a network, `ji.sae.load` takes the path of a published dictionary. Here a random one is written in the same format.

# %%
random = ji.sae.JumpReLU(d=model.config.d, features=64, threshold=0.5).init(jax.random.key(0))
ji.sae.save_saelens(folder / "saelens", random, site="resid_post[2]")
sae = ji.sae.load(folder / "saelens")
sae

# %% [markdown]
# ## A file of Gemma Scope
#
# It is an archive of five arrays.

# %%
np.savez(
    folder / "params.npz",
    W_enc=np.asarray(random.encoder),
    b_enc=np.asarray(random.encoder_bias),
    W_dec=np.asarray(random.decoder),
    b_dec=np.asarray(random.bias),
    threshold=np.asarray(random.threshold),
)
scope = ji.sae.load(folder / "params.npz")
x = jax.random.normal(jax.random.key(1), (4, model.config.d))
print(scope, float(abs(scope(x) - sae(x)).max()))

# %% [markdown]
# ## In place in the model
#
# A splice is an edit. Its features are sites: capture them, or edit them.

# %%
tokens = tokenizer("The first thing that she saw was a")
edits = [ji.splice("resid_post", scope, layer=2, error=True), ji.scale("resid_post.sae.feature", 0.0, unit=7)]
logits, acts = ji.run(model, tokens, edits=edits, capture=["resid_post.sae.feature"])
print(acts["resid_post.sae.feature"].shape)
