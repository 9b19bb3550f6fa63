"""Linear probes: regressions on activations, and rankings of neurons for them."""
