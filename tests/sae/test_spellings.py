"""Old spellings of dictionaries are refused with the corrected call."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

import jaxinterp as ji


def test_a_kind_takes_no_key() -> None:
    key = jax.random.key(0)
    with pytest.raises(
        TypeError, match=r"ji\.sae\.TopK has no argument key=\. Write sae = kind\.init\(key\)"
    ):
        ji.sae.TopK(d=8, features=16, k=2, key=key)  # pyright: ignore[reportCallIssue]
    assert ji.sae.TopK(d=8, features=16, k=2).init(key).k == 2


def test_old_names_of_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ji\.sae\.detection_score has no argument said=\. Write named="):
        ji.sae.detection_score(said=[1], fires=[1])  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"ji\.sae\.geometric_median has no argument most=\. Write turns="):
        ji.sae.geometric_median([[1.0]], most=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match=r"ji\.sae\.ratings has no argument key=\. Write key_file="):
        ji.sae.ratings("folder", key="key.json")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("optimizer", ["adam", optax.adam])
def test_what_is_no_optimizer_is_refused(optimizer: Any) -> None:
    kind, x, key = ji.sae.TopK(d=4, features=8, k=2), np.ones((8, 4), np.float32), jax.random.key(0)
    with pytest.raises(ValueError, match=r"An optimizer is .*optax\.adam\(1e-3\)"):
        ji.sae.train(kind, x, optimizer, key=key, steps=1, batch_size=4)
    with pytest.raises(ValueError, match=r"An optimizer is .*optax\.adam\(1e-3\)"):
        ji.sae.sweep([kind], x, optimizer, key=key, steps=1, batch_size=4)
