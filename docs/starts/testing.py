tokens = jnp.stack([clean, corrupt])
