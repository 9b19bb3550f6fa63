"""Statistics: scores, intervals, permutation tests and solvers of regressions; no models."""
