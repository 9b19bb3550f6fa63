"""Architectures, one file each: `GPT2`, `GPTNeoX` (Pythia), `Llama`."""

from ._config import Config as Config
from ._gpt2 import GPT2 as GPT2
from ._gpt2 import GPT2Config as GPT2Config
from ._gpt_neox import GPTNeoX as GPTNeoX
from ._gpt_neox import GPTNeoXConfig as GPTNeoXConfig
from ._llama import Llama as Llama
from ._llama import LlamaConfig as LlamaConfig
