"""Patching: where in a model an answer is made.

See `docs/patching.md` for which one to choose.
"""

from ._ablation import ablate as ablate
from ._ablation import batch_mean as batch_mean
from ._ablation import mean_activations as mean_activations
from ._ablation import resample as resample
from ._ablation import zeros as zeros
from ._attribution import atp_star as atp_star
from ._attribution import attribution as attribution
from ._attribution import attribution_effects as attribution_effects
from ._attribution_check import Agreement as Agreement
from ._attribution_check import agreement as agreement
from ._noise import noised as noised
from ._paths import direct_paths as direct_paths
from ._paths_classic import path_patch as path_patch
from ._paths_classic import paths_into as paths_into
from ._paths_result import DirectPaths as DirectPaths
from ._paths_result import Edges as Edges
from ._statistics import Statistics as Statistics
from ._statistics import statistics as statistics
from ._sweep import sweep as sweep
