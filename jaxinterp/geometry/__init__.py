"""How alike representations are, and what shape they have. See `docs/geometry.md`.

| you compare | functions |
|---|---|
| all layers of two models over a corpus | `similarity` |
| two sides in memory | `cka`, `rsa`, `cca`, `svcca`, `pwcca`, `procrustes`, `predictivity` |
| dissimilarity matrices | `rdm`, `crossnobis`, `compare_rdms`, `rsa_test`, `noise_ceiling` |
| the shape of one cloud | `participation_ratio`, `two_nn`, `anisotropy`, `circular_probe`, `irreducibility` |
| behaviour | `error_consistency`, `psychometric`, `surprisal_regression` |
| single units | `tuning_curves`, `sparsity`, `mixed_selectivity` |
"""

from ._cca import cca as cca
from ._cca import pwcca as pwcca
from ._cca import svcca as svcca
from ._circle import CircularProbe as CircularProbe
from ._circle import circular_probe as circular_probe
from ._cka import cka as cka
from ._dimension import anisotropy as anisotropy
from ._dimension import participation_ratio as participation_ratio
from ._dimension import two_nn as two_nn
from ._error_consistency import ErrorConsistency as ErrorConsistency
from ._error_consistency import error_consistency as error_consistency
from ._irreducibility import Irreducibility as Irreducibility
from ._irreducibility import irreducibility as irreducibility
from ._mixed_selectivity import MixedSelectivity as MixedSelectivity
from ._mixed_selectivity import mixed_selectivity as mixed_selectivity
from ._predictivity import Predictivity as Predictivity
from ._predictivity import predictivity as predictivity
from ._procrustes import procrustes as procrustes
from ._psychometric import Psychometric as Psychometric
from ._psychometric import psychometric as psychometric
from ._rdm import crossnobis as crossnobis
from ._rdm import rdm as rdm
from ._rdm_comparison import compare_rdms as compare_rdms
from ._rsa import NoiseCeiling as NoiseCeiling
from ._rsa import RSATest as RSATest
from ._rsa import noise_ceiling as noise_ceiling
from ._rsa import rsa as rsa
from ._rsa import rsa_test as rsa_test
from ._similarity import Similarity as Similarity
from ._similarity import similarity as similarity
from ._surprisal import SurprisalRegression as SurprisalRegression
from ._surprisal import surprisal_regression as surprisal_regression
from ._tuning import Tuning as Tuning
from ._tuning import sparsity as sparsity
from ._tuning import tuning_curves as tuning_curves
