"""Statistics: scores, intervals, permutation tests and solvers of regressions; no models."""

from ._results import Record as Record
from ._results import Result as Result
