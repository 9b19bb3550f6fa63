"""Corpora: what rows of texts are, and `fold`, the one way to read many of them. See `docs/data.md`."""

from ._batches import Batch as Batch
from ._bigrams import Bigrams as Bigrams
from ._bigrams import bigrams as bigrams
from ._checkpoint import Checkpoint as Checkpoint
from ._corpus import Corpus as Corpus
from ._corpus import TokenCorpus as TokenCorpus
from ._corpus import as_corpus as as_corpus
from ._fold import fold as fold
