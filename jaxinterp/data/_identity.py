"""Which tokens a stream reads, as a fingerprint."""

from typing import Any

import numpy as np

from ._files import fingerprint

SAMPLED = 256  # rows of stored tokens that are read for a fingerprint


def tokens_print(tokens: Any) -> str:
    """The print of all ids in memory; of stored ones, of their shape and rows from end to end."""
    if hasattr(tokens, "source"):
        rows = np.unique(np.linspace(0, tokens.shape[0] - 1, SAMPLED).astype(int))
        return fingerprint(list(tokens.shape), tokens[rows])
    return fingerprint(np.asarray(tokens))
