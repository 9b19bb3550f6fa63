"""Old spellings of options are refused with the new ones."""

import jax
import pytest

from jaxinterp import hub, toy, weights


def test_old_spellings_are_refused():
    key = jax.random.key(0)
    with pytest.raises(
        TypeError, match=r"weights.composition has no argument baseline=. Write key=jax.random.key"
    ):
        weights.composition(None, baseline=key)
    with pytest.raises(
        TypeError, match=r"ji.toy.fake_gelu takes its key by name: .*key=jax.random.key\(0\)\)"
    ):
        toy.fake_gelu(key)
    with pytest.raises(
        TypeError, match=r"hub.check_port has no argument seed=. Write key=jax.random.key\(0\)"
    ):
        hub.check_port("gpt2.toml", {}, seed=3)
