"""Chains of reasoning: the heads that do the steps of an answer, and where they read. See `docs/reasoning_chains.md`.

| question | function |
|---|---|
| Which heads does each step need? | `task_heads` |
| How many heads are enough? | `knock_out` |
| From which layer on can the relation of two words be read from their tokens? | `entity_pairs`, `mixing_probes` |
| Which heads write the answer, and from which layer on? | `answer_writers` |
| Where do these heads read the answer? | `trace_sources` |
| At which depth does the mixing of relations end and the writing of answers begin? | `functional_rift` |
"""

from ._answer_writers import AnswerWriters as AnswerWriters
from ._answer_writers import answer_writers as answer_writers
from ._entity_pairs import EntityPairs as EntityPairs
from ._entity_pairs import entity_pairs as entity_pairs
from ._knock_out import KnockOut as KnockOut
from ._knock_out import knock_out as knock_out
from ._mixing_probes import MixingProbes as MixingProbes
from ._mixing_probes import mixing_probes as mixing_probes
from ._rift import Rift as Rift
from ._rift import functional_rift as functional_rift
from ._sources import Sources as Sources
from ._sources import trace_sources as trace_sources
from ._task_heads import TaskHeads as TaskHeads
from ._task_heads import task_heads as task_heads
