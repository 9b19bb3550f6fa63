"""Probes: which features tell two classes apart, and how few suffice. See `docs/probes.md`."""

from ._adaptive import Pruned as Pruned
from ._adaptive import adaptive as adaptive
from ._adaptive import prune as prune
from ._adaptive import sparsities as sparsities
from ._controls import control_labels as control_labels
from ._controls import mass_mean as mass_mean
from ._controls import shuffled_labels as shuffled_labels
from ._fit import Probe as Probe
from ._fit import fit as fit
from ._mdl import Codelength as Codelength
from ._mdl import online_code as online_code
from ._metrics import metrics as metrics
from ._metrics import regression_metrics as regression_metrics
from ._rank import rank as rank
from ._single import Singles as Singles
from ._single import single_neuron as single_neuron
from ._subset import Subset as Subset
from ._subset import best_subset as best_subset
from ._subset import best_subsets as best_subsets
