"""Controls for the score of a probe."""
