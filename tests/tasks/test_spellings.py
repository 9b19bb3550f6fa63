"""The old order of arguments is refused with the corrected call."""

import jax
import pytest

import jaxinterp as ji


def test_keys_are_given_by_name():
    words = ji.tasks.Words(["a"])
    for old in ((words, 0, 3), (words, jax.random.key(0))):
        with pytest.raises(
            TypeError, match=r"ji.tasks.ioi takes its key by name: .*n, key=jax.random.key\(0\)"
        ):
            ji.tasks.ioi(*old)
