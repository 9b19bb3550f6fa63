right, wrong = tokenizer.token_id(" Mary"), tokenizer.token_id(" John")
answer = right
estimate = ji.patching.attribution(model, clean, corrupt, metric, site="z", over=("layer", "head"))
exact = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"))

tokens = jnp.stack([clean, corrupt])
