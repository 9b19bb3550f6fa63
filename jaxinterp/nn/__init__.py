"""Parts that emit sites: models are put together from these."""

from ._attention import Attention as Attention
from ._attention import in_one_pass as in_one_pass
from ._block import Block as Block
from ._embedding import embed as embed
from ._embedding import unembed as unembed
from ._linear import einsum as einsum
from ._mlp import ACTIVATIONS as ACTIVATIONS
from ._mlp import MLP as MLP
from ._norm import LayerNorm as LayerNorm
from ._norm import RMSNorm as RMSNorm
from ._rotary import RopeScaling as RopeScaling
from ._rotary import rotary_tables as rotary_tables
from ._rotary import rotate as rotate
