"""A small random model, contexts of two classes with padding, and all their activations at once."""

from typing import Any

import numpy as np
import pytest

import jaxinterp as ji
from tests.models import small_model


@pytest.fixture(scope="package")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="package")
def classes() -> dict[str, Any]:
    """Contexts `(tokens, mask)` of the classes a and b; those of b are shorter and padded."""
    rng = np.random.default_rng(1)
    mask = np.arange(9) < rng.integers(5, 10, (6, 1))
    return {
        "a": (rng.integers(1, 40, (5, 12)), np.ones((5, 12), bool)),
        "b": (rng.integers(1, 40, (6, 9)), mask),
    }


@pytest.fixture(scope="package")
def whole(model: Any, classes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of each class all activations `(layer, seq, pos, ff)`, run context by context."""
    found = {}
    for name, (tokens, mask) in classes.items():
        x = np.full((2, *tokens.shape, 32), np.nan, np.float32)
        for i, (row, real) in enumerate(zip(tokens, mask, strict=True)):
            padded = np.where(real, row, 0)
            padded = np.pad(padded, (0, 12 - len(padded)))
            _, acts = ji.run(model, padded, capture=["mlp_post"], logits=False)
            x[:, i, real] = np.asarray(acts["mlp_post"])[:, : len(row)][:, real]
        found[name] = x
    return found
