import optax

x = jax.random.normal(key, (200, 3))
y = x @ jnp.array([1.0, -2.0, 0.5])
xs, ys = x, y
batches = ji.fit.Rows((x, y), 32, key=key)


def loss(w, batch, now):
    x, y = batch
    return ((x @ w - y) ** 2).mean(), {}
