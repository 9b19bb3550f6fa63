"""Patching: where in a model an answer is made.

See `docs/patching.md` for which one to choose.
"""

from .._deprecations import Moved, moved_getattr
from ._ablation import ablate as ablate
from ._ablation import batch_mean as batch_mean
from ._ablation import resample as resample
from ._ablation import zeros as zeros
from ._attribution import atp_star as atp_star
from ._attribution import attribution as attribution
from ._attribution import attribution_effects as attribution_effects
from ._attribution_check import Agreement as Agreement
from ._attribution_check import agreement as agreement
from ._attribution_settings import AttributionSettings as AttributionSettings
from ._mean_activations import mean_activations as mean_activations
from ._noise import noised as noised
from ._statistics import Statistics as Statistics
from ._statistics import statistics as statistics
from ._subset_bounds import SubsetBounds as SubsetBounds
from ._subset_bounds import subset_bounds as subset_bounds
from ._sweep import sweep as sweep

_MOVED = ("DirectPaths", "Edges", "direct_paths", "path_patch", "paths_into")

__getattr__ = moved_getattr(
    __name__, {name: Moved(f"circuits.{name}", "2026-11-26", "2027-05-26") for name in _MOVED}
)
