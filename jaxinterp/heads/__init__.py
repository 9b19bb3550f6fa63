"""Scores of attention heads, computed for all heads at once. See `docs/heads.md`."""

from ..weights import composition as composition
from ._alti import contributions as contributions
from ._alti import rollout as rollout
from ._attention import KINDS as KINDS
from ._attention import attention_scores as attention_scores
from ._attention import detector_scores as detector_scores
from ._composition import Composed as Composed
from ._composition import strongest as strongest
from ._context import icl_score as icl_score
from ._context import repeat_losses as repeat_losses
from ._copying import copied_tokens as copied_tokens
from ._copying import copying_behaviour as copying_behaviour
from ._copying import copying_scores as copying_scores
from ._prompts import Repeats as Repeats
from ._prompts import repeated_tokens as repeated_tokens
from ._repeats import duplicate_token_scores as duplicate_token_scores
from ._repeats import induction_scores as induction_scores
from ._repeats import prefix_matching_scores as prefix_matching_scores
from ._repeats import previous_token_scores as previous_token_scores
from ._scores import HeadScores as HeadScores
from ._summary import Summary as Summary
from ._summary import summary as summary
