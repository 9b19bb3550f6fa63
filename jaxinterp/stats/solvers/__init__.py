"""Solvers of regressions, each kind of problem once. Arrays in, arrays out; no models.

| problem | solver | numbers |
|---|---|---|
| one, logistic, hinge or squared loss with a ridge | `solve` of a `Problem`, with a proof | float64 |
| one, logistic loss with an L1 norm and a ridge | `ElasticNet`, with a proof | float64 |
| logistic loss with an L1 norm, thousands of columns | `lasso_weights` | float32 |
| logistic loss, each column alone | `column_solver` | float32, one program |
| logistic or squared loss, many supports | `support_solver` | float32, one program |
| several classes, many layers and labellings | `minimise` of `_softmax.py` (and `_low_rank.py`), with a gap | float32, one program |
| squared loss, every penalty and example left out | `RidgePath` | float64 |

The solvers of many problems share one Newton loop, `newton`. Those of one problem share the functions of
a margin in `_margins.py`.
"""

from ._elastic_net import ElasticNet as ElasticNet
from ._lasso import lasso_weights as lasso_weights
from ._least_squares import RidgePath as RidgePath
from ._newton import newton as newton
from ._problem import Problem as Problem
from ._problem import Solution as Solution
from ._problem import solve as solve
from ._regression import Regression as Regression
from ._regression import as_problem as as_problem
from ._regression import regression as regression
from ._regression import solve_regression as solve_regression
from ._single_columns import column_scorer as column_scorer
from ._single_columns import column_solver as column_solver
from ._supports import support_solver as support_solver
