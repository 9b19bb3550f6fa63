"""Tasks: pairs of prompts that differ in what decides the answer, checked in your tokenizer.

Every builder is called `(tokenizer, n, key=key)` and returns a `Pairs` of NumPy arrays. See `docs/tasks.md`.
"""

from ._agreement import agreement as agreement
from ._calendar import calendar as calendar
from ._docstring import docstring as docstring
from ._facts import facts as facts
from ._generator import generator as generator
from ._greater_than import greater_than as greater_than
from ._induction import induction as induction
from ._ioi import ioi as ioi
from ._ontology import SUBTASKS as SUBTASKS
from ._ontology import ontology as ontology
from ._pairs import Pairs as Pairs
from ._pairs import TooFewExamples as TooFewExamples
from ._words import UnknownWord as UnknownWord
from ._words import Words as Words
