"""Old spellings of dictionaries are refused with the corrected call."""

import jax
import pytest

import jaxinterp as ji


def test_a_kind_takes_no_key() -> None:
    key = jax.random.key(0)
    with pytest.raises(
        TypeError, match=r"ji\.sae\.TopK has no argument key=\. Write sae = kind\.init\(key\)"
    ):
        ji.sae.TopK(d=8, features=16, k=2, key=key)  # pyright: ignore[reportCallIssue]
    assert ji.sae.TopK(d=8, features=16, k=2).init(key).k == 2
