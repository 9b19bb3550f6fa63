"""Corpora, activations and labels: what probes and dictionaries are made from."""

from . import features as features
from ._activations import activations as activations
from ._activations import keep as keep
from ._corpus import Corpus as Corpus
from ._corpus import Document as Document
from ._corpus import pack as pack
from ._feature import Feature as Feature
from ._feature import TooFew as TooFew
from ._feature import sample as sample
from ._feature import samples as samples
from ._feature import union as union
from ._files import BadStore as BadStore
from ._int8 import Codes as Codes
from ._int8 import decode as decode
from ._int8 import encode as encode
from ._int8 import error_bound as error_bound
from ._model_hash import model_hash as model_hash
from ._save import save_activations as save_activations
from ._split import Leak as Leak
from ._split import check_split as check_split
from ._split import split as split
from ._store import Store as Store
from ._stream import Stream as Stream
from ._stream import stream as stream
from ._texts import read_texts as read_texts
from ._texts import take as take
