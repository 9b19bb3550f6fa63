# %% [markdown]
# # Edits in your own training loop
#
# @BADGE@
#
# Edits and captures are pure functions, so gradients pass through them. Here optax learns a vector that steers the model.

# %% tags=["skip-execution"]
# On Colab: installs the library and leaves the JAX that is there.
# %pip install -q "jaxinterp[viz] @ git+@REPOSITORY@"

# %%
import jax
import jax.numpy as jnp
import optax

import jaxinterp as ji

model, tokenizer = ji.load("tiny")
prompts = ["She said that the", "The old man had a", "They came to the"]
tokens, mask = tokenizer(prompts, bos=True)
wanted = tokenizer.token_id(" man")


def loss(vector):
    edits = [ji.add("resid_post", vector, layer=1, pos=-1)]
    logits, _ = ji.run(model, tokens, edits=edits, mask=mask, logits=-1)
    return -jax.nn.log_softmax(logits)[:, wanted].mean() + 1e-3 * jnp.sum(vector**2)


optimizer = optax.adam(0.1)


@jax.jit
def step(vector, state):
    value, grad = jax.value_and_grad(loss)(vector)
    updates, state = optimizer.update(grad, state)
    return optax.apply_updates(vector, updates), state, value


vector = jnp.zeros(model.config.d)
state = optimizer.init(vector)
for i in range(40):
    vector, state, value = step(vector, state)
    if i % 10 == 0:
        print(i, float(value))

# %% [markdown]
# ## What it changed

# %%
for edits in ([], [ji.add("resid_post", vector, layer=1, pos=-1)]):
    logits, _ = ji.run(model, tokens, edits=edits, mask=mask, logits=-1)
    print(tokenizer.tokens(logits.argmax(-1)), float(jax.nn.softmax(logits)[:, wanted].mean()))

# %% [markdown]
# ## A loss on activations
#
# A capture can stand in a loss as well. Equinox separates what is trained: here the weights of one MLP.

# %%
import equinox as eqx

trained = jax.tree.map(lambda leaf: False, model)
trained = eqx.tree_at(lambda m: m.blocks.mlp.w_out, trained, True)
part, rest = eqx.partition(model, trained)


def norm(part):
    _, acts = ji.run(eqx.combine(part, rest), tokens, mask=mask, capture=["mlp_out[2]"])
    return jnp.mean(acts["mlp_out[2]"] ** 2)


before, grads = eqx.filter_value_and_grad(norm)(part)
part = jax.tree.map(lambda p, g: p - 0.1 * g, part, grads)
print(float(before), float(norm(part)))
