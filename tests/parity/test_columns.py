"""The pages for those who come from penzai and scikit-learn; the others need `tests/parity/coming_from.py`."""

import jax
import pytest

from .columns import compared, penzai, scikit_learn


@pytest.mark.slow
def test_penzai() -> None:
    with jax.numpy_dtype_promotion("standard"):  # penzai 0.2.5 mixes dtypes
        assert max(found.difference for found in compared("coming_from/penzai.md", penzai())) < 2e-5


@pytest.mark.slow
def test_scikit_learn() -> None:
    assert max(found.difference for found in compared("coming_from/scikit_learn.md", scikit_learn())) < 1e-5
