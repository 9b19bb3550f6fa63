"""The similarity of representations, and their shape. See `docs/geometry.md`.

| you compare | functions |
|---|---|
| all layers of two models over a corpus | `similarity` |
| two sides in memory | `cka`, `rsa`, `cca`, `svcca`, `pwcca`, `procrustes`, `predictivity` |
| dissimilarity matrices | `rdm`, `crossnobis`, `compare_rdms`, `rsa_test`, `noise_ceiling` |
| the shape of one cloud | `participation_ratio`, `two_nn`, `anisotropy`, `circular_probe`, `irreducibility` |
| circles of names in a model | `circle_test`, `circle_edit`, `circle_patching`, `circle_explanation` |
| features of several dimensions in a dictionary | `feature_clusters`, `irreducible_clusters` |
| words | `word_vectors`, `neighbours`, `analogies`, `human_similarity` |
| behaviour | `error_consistency`, `psychometric`, `surprisal_regression` |
| single units | `tuning_curves`, `sparsity`, `mixed_selectivity` |
"""

from ._analogies import Analogies as Analogies
from ._analogies import Neighbours as Neighbours
from ._analogies import analogies as analogies
from ._analogies import neighbours as neighbours
from ._cca import cca as cca
from ._cca import pwcca as pwcca
from ._cca import svcca as svcca
from ._circle import CircularProbe as CircularProbe
from ._circle import circular_probe as circular_probe
from ._circle_edit import circle_edit as circle_edit
from ._circle_explanation import CircleExplanation as CircleExplanation
from ._circle_explanation import circle_explanation as circle_explanation
from ._circle_patching import CirclePatching as CirclePatching
from ._circle_patching import circle_patching as circle_patching
from ._circle_test import CircleTest as CircleTest
from ._circle_test import circle_test as circle_test
from ._cka import cka as cka
from ._cluster_ranking import ClusterRanking as ClusterRanking
from ._cluster_ranking import irreducible_clusters as irreducible_clusters
from ._dimension import anisotropy as anisotropy
from ._dimension import participation_ratio as participation_ratio
from ._dimension import two_nn as two_nn
from ._error_consistency import ErrorConsistency as ErrorConsistency
from ._error_consistency import error_consistency as error_consistency
from ._feature_clusters import feature_clusters as feature_clusters
from ._human_similarity import HumanSimilarity as HumanSimilarity
from ._human_similarity import WordPairs as WordPairs
from ._human_similarity import human_similarity as human_similarity
from ._human_similarity import read_word_pairs as read_word_pairs
from ._irreducibility import Irreducibility as Irreducibility
from ._irreducibility import irreducibility as irreducibility
from ._kernels import Gaussian as Gaussian
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
from ._word_vectors import WordVectors as WordVectors
from ._word_vectors import word_vectors as word_vectors
