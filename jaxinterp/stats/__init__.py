"""Statistics: scores, intervals, permutation tests and solvers of regressions; no models."""

# Scores.
# Intervals.
from ._intervals import MeanInterval as MeanInterval
from ._intervals import mean_interval as mean_interval

# Permutation tests.
from ._permutation import discoveries as discoveries
from ._permutation import permutation_p as permutation_p
from ._permutation import sign_flip_test as sign_flip_test

# Results.
from ._results import Record as Record
from ._results import Result as Result
from ._scores import metrics as metrics
from ._scores import regression_metrics as regression_metrics

# Solvers.
from .solvers import Regression as Regression
from .solvers import regression as regression
