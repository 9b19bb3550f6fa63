"""All disk and network: fetch, read, port, tokenize, save and restore. See `docs/hub.md`."""

from ._build import build as build
from ._errors import BadCheckpoint as BadCheckpoint
from ._errors import UnhandledConfig as UnhandledConfig
from ._errors import UnknownModel as UnknownModel
from ._errors import UnsafePickle as UnsafePickle
from ._export import export as export
from ._export import from_flax as from_flax
from ._export import to_flax as to_flax
from ._fetch import fetch as fetch
from ._laws import check_port as check_port
from ._load import load as load
from ._orbax import save as save
from ._penzai import from_penzai as from_penzai
from ._penzai import to_penzai as to_penzai
from ._pickle import read_torch as read_torch
from ._port import Port as Port
from ._port import Row as Row
from ._port import all_ports as all_ports
from ._port import find_ports as find_ports
from ._port import read_port as read_port
from ._port import short_names as short_names
from ._tensors import LazyTensor as LazyTensor
from ._tensors import in_memory as in_memory
from ._tokenizer import Tokenizer as Tokenizer
from ._torch_write import write_torch as write_torch
from ._weights import open_weights as open_weights
