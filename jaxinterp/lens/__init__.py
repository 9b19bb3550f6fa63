"""Lenses: what each layer would say, and who says it. See `docs/lenses.md`."""

from ._logit import logit_lens as logit_lens
from ._read import Lens as Lens
from ._read import LogitLens as LogitLens
from ._recipe import adam_optimizer as adam_optimizer
from ._recipe import published_optimizer as published_optimizer
from ._summary import Summary as Summary
from ._summary import summary as summary
from ._train import train_tuned_lens as train_tuned_lens
from ._tuned import TunedLens as TunedLens
