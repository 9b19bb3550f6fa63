texts = jax.random.randint(key, (2, 256), 0, model.config.vocab)
