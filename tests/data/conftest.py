"""A small random model with large weights, and a tokenizer of bytes, words and offsets."""

import re
from typing import Any

import numpy as np
import pytest

from tests.models import SMALL, small_model

CONFIG = SMALL


class Words:
    """Every run of letters with the space before it is a token, as is any other character."""

    bos_id = 0

    def __init__(self) -> None:
        self.known: list[str] = ["<bos>"]

    def with_offsets(self, text: str) -> tuple[Any, Any]:
        found = list(re.finditer(r" ?\w+|\s|.", text))
        for match in found:
            if match[0] not in self.known:
                self.known.append(match[0])
        return [self.known.index(m[0]) for m in found], [m.span() for m in found]

    def tokens(self, ids: Any) -> list[str]:
        return [self.known[i] for i in np.asarray(ids)]


@pytest.fixture
def tokenizer() -> Words:
    return Words()


def random_model(seed: int = 0) -> Any:
    return small_model(seed)


@pytest.fixture(scope="session")
def model() -> Any:
    return random_model()


@pytest.fixture(scope="session")
def tokens() -> np.ndarray:
    return np.random.default_rng(1).integers(1, 40, (7, 6), dtype=np.int32)


@pytest.fixture(scope="session")
def mask(tokens: np.ndarray) -> np.ndarray:
    mask = np.random.default_rng(2).random(tokens.shape) > 0.4
    mask[:, 0], mask[:, 2] = False, True
    return mask
