"""Directions of the residual stream: how to find, choose, remove, add and learn them. See `docs/steering.md`.

| you want | functions |
|---|---|
| a direction between two classes of activations | `difference_in_means`, `mass_mean`, `logistic`, `principal_difference` |
| the subspace that carries a variable, by interchange | `das`, `boundless_das`, `interchange`, `Interchanges` |
| to remove it, hold it, move it; only where a probe says yes | `ablate`, `clamp`, `affine`, `when` |
"""

from ._candidates import Candidates as Candidates
from ._candidates import NoCandidate as NoCandidate
from ._candidates import Selection as Selection
from ._candidates import SelectionSettings as SelectionSettings
from ._conditional import when as when
from ._das import SubspaceSettings as SubspaceSettings
from ._das import boundless_das as boundless_das
from ._das import das as das
from ._das_result import Subspaces as Subspaces
from ._directions import difference_in_means as difference_in_means
from ._directions import logistic as logistic
from ._directions import mass_mean as mass_mean
from ._directions import principal_difference as principal_difference
from ._effects import SideEffects as SideEffects
from ._effects import StrengthSweep as StrengthSweep
from ._effects import side_effects as side_effects
from ._effects import strengths as strengths
from ._interchange import Interchanges as Interchanges
from ._interchange import interchange as interchange
from ._interventions import ablate as ablate
from ._interventions import affine as affine
from ._interventions import clamp as clamp
from ._judges import REFUSALS as REFUSALS
from ._judges import Judged as Judged
from ._judges import by_substring as by_substring
from ._judges import evaluate as evaluate
from ._judges import refused as refused
from ._learned import Learned as Learned
from ._learned import learn as learn
from ._scan import Scan as Scan
from ._scan import cosines as cosines
from ._scan import scan as scan
from ._selection import candidates as candidates
from ._selection import select_direction as select_direction
from ._suffix import SuffixEffect as SuffixEffect
from ._suffix import suffix_effect as suffix_effect
