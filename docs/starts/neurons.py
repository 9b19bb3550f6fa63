other = ji.weights.reinitialised(model, key=key)
edited, random, seeds = other, other, [other]
tokens = jnp.stack([clean, corrupt])
tags = np.asarray(tokens) % 2
x, y = rng.normal(size=(2, 60, 8))
sae = ji.sae.load("tiny")

# checkpoints of a training
ji.save("runs/tiny/step1000", other)
ji.save("runs/tiny/step2000", model, tokenizer=tokenizer)
