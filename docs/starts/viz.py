import matplotlib.pyplot as plt

words = tokenizer.tokens(tokens)
heat = ji.patching.sweep(model, clean, corrupt, metric, over=("layer", "pos"))
effects = ji.patching.sweep(model, jnp.stack([clean] * 4), jnp.stack([corrupt] * 4), metric, per_example=True)
baseline = ji.metrics.measure(model, jnp.stack([corrupt] * 4), metric)
fig, ax = plt.subplots()
records = [
    {
        "feature": name,
        "layer": layer,
        "k": k,
        "parameters": size,
        "method": "adaptive",
        "f1": 1 - 0.4 / (layer + k),
    }
    for name in ("French", "German")
    for layer in range(4)
    for k in (1, 2, 4)
    for size in (1e6, 4e6)
]
