"""Weight surgery and weight reading: pure functions of a model. See `docs/weights.md`."""

from ._accumulated import accumulated as accumulated
from ._center import center_unembed as center_unembed
from ._center import center_writing as center_writing
from ._circuits import full_ov as full_ov
from ._circuits import full_qk as full_qk
from ._circuits import ov as ov
from ._circuits import qk as qk
from ._components import Components as Components
from ._components import apply_norm as apply_norm
from ._composition import composition as composition
from ._decompose import by_head as by_head
from ._decompose import by_layer as by_layer
from ._decompose import by_neuron as by_neuron
from ._factored import Factored as Factored
from ._fold_norms import fold_norms as fold_norms
from ._layers import drop_layers as drop_layers
from ._layers import permute_layers as permute_layers
from ._layers import take_layers as take_layers
from ._orthogonalise import orthogonalise as orthogonalise
from ._process import process as process
from ._reinitialised import reinitialised as reinitialised
from ._value_bias import fold_value_bias as fold_value_bias
