"""In every room: ints that do not fit are refused before they could wrap, and ints are no keys."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji
from tests.models import SMALL, small_model

pytestmark = pytest.mark.wide


TOKENS = np.asarray([[1, 2, 3], [4, 5, 6]])
WRAPS = np.asarray([[1, 2**32 + 5, 3]])
KEY = jax.random.key(0)

INTS: dict[str, Any] = {
    "lens": lambda m: ji.lens.logit_lens(m, WRAPS),
    "targets": lambda m: ji.lens.summary(m, TOKENS, targets=WRAPS[0]),
    "words": lambda m: ji.lens.localise(m, TOKENS[0], [[2**32 + 1]], pos=0),
    "dims": lambda m: ji.lens.jacobian_rows(m, TOKENS, dims=[2**32 + 1]),
    "heads": lambda m: ji.heads.icl_score(m, WRAPS, early=1, late=2),
    "activations": lambda m: ji.data.activations(m, WRAPS, "resid_post[0]"),
    "positions": lambda m: ji.data.activations(m, TOKENS, "resid_post[0]", pos=2**32 + 1),
    "neurons": lambda m: ji.neurons.distribution(m, WRAPS, [(0, 1)]),
    "noise": lambda m: ji.patching.noised(m, WRAPS[0], [1], key=KEY),
    "sweep": lambda m: ji.patching.sweep(m, WRAPS, WRAPS, ji.metrics.prob(1), site="z", over="head"),
    "tasks": lambda m: ji.tasks.induction(40, 2, key=KEY, ids=np.arange(2**32, 2**32 + 30)),
}

KEYS: dict[str, Any] = {
    "heads": lambda m: ji.heads.repeated_tokens(SMALL, key=7),
    "noise": lambda m: ji.patching.noised(m, TOKENS[0], [1], key=7),
    "statistics": lambda m: ji.patching.statistics(np.zeros((2, 4), np.float32), 0.0, key=7),
    "weights": lambda m: ji.weights.reinitialised(m, key=7),
    "probes": lambda m: ji.probes.rotate(np.ones((4, 3)), 7),
    "controls": lambda m: ji.probes.shuffled_labels(np.arange(4), 2, key=7),
    "sae": lambda m: ji.sae.train(ji.sae.TopK(d=8, features=16, k=2), np.ones((9, 8)), key=7, steps=1),
}


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.mark.parametrize("case", INTS)
def test_ints_are_checked_before_they_are_narrowed(model: Any, case: str) -> None:
    with pytest.raises(IndexError, match=r"at most 32 bits|ids lie in 0\.\.39"):
        INTS[case](model)


@pytest.mark.parametrize("case", KEYS)
def test_an_int_is_no_key(model: Any, case: str) -> None:
    with pytest.raises(ValueError, match=r"7 is none: .*jax\.random\.key\(7\)"):
        KEYS[case](model)
