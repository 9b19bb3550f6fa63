# %% [markdown]
# # Many devices: a TPU slice
#
# @BADGE@
#
# A mesh, a model over its devices, sharded activations, and a dictionary that is trained where they are. With one device the
# same code runs with a mesh of one.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax
import jax.numpy as jnp

import jaxinterp as ji

print(jax.device_count(), "devices")

# %% [markdown]
# ## What a plan needs, before anything is loaded
#
# No device is asked for: this is a slice of 16 chips on paper.

# %%
config = ji.models.GPTNeoXConfig(vocab=50432, ctx=2048, d=4096, layers=32, heads=32)
slice_of_16 = jax.sharding.AbstractMesh((4, 4), ("data", "model"))
ji.mesh.plan(config, slice_of_16, plan="fsdp+tensor", dtype=jnp.bfloat16)

# %% [markdown]
# ## A model over the devices that are here

# %%
mesh = jax.make_mesh((1, jax.device_count()), ("data", "model"))
model, tokenizer = ji.load("tiny", mesh=mesh, plan="fsdp+tensor")
print(model.blocks.mlp.w_in.sharding)

# %%
texts = ["The old man walked slowly along the river.", "Das Haus am Wasser war alt."] * 8
corpus = ji.data.pack(tokenizer, texts, ctx=16, join=True)
tokens = ji.mesh.rows_on(mesh, corpus.tokens[:2])
logits, acts = ji.run(model, tokens, capture=["resid_post[2]"])
print(acts["resid_post[2]"].sharding)

# %% [markdown]
# ## A dictionary over the same devices

# %%
wide = jax.make_mesh((1, jax.device_count()), ("data", "feature"))
x = ji.data.activations(model, corpus, "resid_post[2]", progress=False)
kind = ji.sae.TopK(d=model.config.d, features=320, k=8)
settings = ji.fit.Settings(progress=False)
sae, history = ji.sae.train(
    kind, x, key=jax.random.key(0), steps=20, batch_size=32, mesh=wide, settings=settings
)
print(sae.decoder.sharding, history["reconstruction"][[0, -1]])
