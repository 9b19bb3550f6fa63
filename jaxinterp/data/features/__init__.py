"""Features read off text alone: functions from a text, or a token, to labels.

Spans are `(start, end)` in characters, for `corpus.spans(...)`; predicates of tokens become tables
over the vocabulary with `of_tokens`.
"""

from ._conllu import morphology as morphology
from ._conllu import read_conllu as read_conllu
from ._facts import completions as completions
from ._facts import mentions as mentions
from ._latex import LATEX_MIRRORS as LATEX_MIRRORS
from ._latex import latex as latex
from ._ngrams import COMPOUND_WORDS as COMPOUND_WORDS
from ._ngrams import compound_word as compound_word
from ._ngrams import ngram as ngram
from ._places import Places as Places
from ._places import read_places as read_places
from ._position import position as position
from ._token_text import TOKEN_TEXT as TOKEN_TEXT
from ._token_text import of_tokens as of_tokens
from ._words import SUFFIXES as SUFFIXES
from ._words import capitalised as capitalised
from ._words import sentence_ends as sentence_ends
from ._words import suffix as suffix
from ._words import words as words
