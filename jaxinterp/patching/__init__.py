"""Patching: where in a model an answer is made. Each function is one compiled program.

See `docs/patching.md` for which one to choose.
"""

from ._attribution import atp_star as atp_star
from ._attribution import attribution as attribution
from ._attribution import attribution_effects as attribution_effects
from ._attribution_check import Agreement as Agreement
from ._attribution_check import agreement as agreement
from ._sweep import sweep as sweep
