graph = ji.circuits.graph(model)
scores = ji.circuits.eap(model, clean, corrupt, metric)
circuit = graph.mask(scores.top(20).names)
g = graph
tokens = jnp.stack([clean, corrupt])
# the shape of GPT-2 small, whose weights are ji.load("gpt2")
config = ji.models.GPT2Config(vocab=50, ctx=16, d=24, layers=12, heads=12)
gpt2 = ji.models.GPT2.init(config, key=key)
