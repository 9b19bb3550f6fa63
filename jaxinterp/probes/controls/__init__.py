"""Controls: what the score of a probe is worth."""
