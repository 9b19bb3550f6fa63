"""How alike representations are, and what shape they have. See `docs/geometry.md`."""

from ._cka import cka as cka
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
