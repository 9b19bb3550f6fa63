"""Exact selection: the best k features of a regression, with a certificate."""
