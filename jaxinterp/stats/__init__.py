"""Statistics: scores, intervals, permutation tests and solvers of regressions; no models.

Everything here is a function of arrays. Methods that read a model take their numbers from this page.

| question | functions |
|---|---|
| how good are predictions? | `metrics`, `regression_metrics` |
| how sure is a number? | `mean_interval`, `share_interval`, `table_intervals` |
| is it more than chance? | `sign_flip_test`, `permutation_p`, `discoveries` |
| which linear function fits best? | `regression`; `ji.stats.solvers` lists all solvers |
| what is a result? | `Result`, a class whose fields are also read as a dict |
"""

from ._intervals import MeanInterval as MeanInterval
from ._intervals import mean_interval as mean_interval
from ._permutation import discoveries as discoveries
from ._permutation import permutation_p as permutation_p
from ._permutation import sign_flip_test as sign_flip_test
from ._regression_scores import RegressionMetrics as RegressionMetrics
from ._regression_scores import regression_metrics as regression_metrics
from ._results import Record as Record
from ._results import Result as Result
from ._scores import BinaryMetrics as BinaryMetrics
from ._scores import metrics as metrics
from ._share_interval import share_interval as share_interval
from ._table_intervals import TableIntervals as TableIntervals
from ._table_intervals import table_intervals as table_intervals
from .solvers import Regression as Regression
from .solvers import regression as regression
