"""Scores of a linear probe that reads some columns of x."""

import numpy as np

from ..typing import ArrayLike


class LinearScores:
    """What each probe computes from its `support`, `weights` and `bias`."""

    support: np.ndarray
    weights: np.ndarray
    bias: float
    loss: str
    features: int

    def decision(self, x: ArrayLike) -> np.ndarray:
        """Scores `x[..., support] @ weights + bias`, `(...,)` for x `(..., d)`."""
        x = np.asarray(x)
        if not x.ndim or x.shape[-1] != self.features:
            raise ValueError(
                f"This probe reads d={self.features} features, the last axis of x; got {x.shape}."
            )
        return x[..., self.support].astype(np.float64) @ self.weights + self.bias

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Classes 0 or 1 (a score of exactly 0 is class 0); for squared loss the score itself."""
        score = self.decision(x)
        return score if self.loss == "squared" else (score > 0).astype(np.int32)
