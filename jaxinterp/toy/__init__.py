"""Toy models: small transformers whose weights are written by hand, so that the truth is known."""

from ._induction import Planted as Planted
from ._induction import planted_induction as planted_induction
