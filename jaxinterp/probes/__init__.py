"""Probes: which features tell two classes apart, and how few suffice. See `docs/probes.md`."""

from ._subset import Subset as Subset
from ._subset import best_subset as best_subset
from ._subset import best_subsets as best_subsets
