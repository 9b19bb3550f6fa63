"""Fingerprints of optimizers: another one of the same state is told apart, the same one is not."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp.fit._identity import NEAR, check_identity, difference, optimizer_print

WEIGHTS = {"a": jnp.ones((5, 4), jnp.float32), "b": jnp.zeros((6,), jnp.float32)}
STEPS = 100


def printed(transform: Any) -> list[float]:
    return optimizer_print(transform, WEIGHTS, STEPS)


def decayed(end: float) -> Any:
    return optax.adam(optax.linear_schedule(1e-3, end, STEPS))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-3), optax.adam(2e-3)),
        (optax.adam(1e-3), optax.adam(1e-3, b2=0.99)),
        (optax.adam(1e-3), optax.adam(1e-3, b1=0.8)),
        (optax.adam(1e-3), optax.adam(1e-3, eps=1e-6)),
        (optax.adamw(1e-3, weight_decay=1e-4), optax.adamw(1e-3, weight_decay=2e-4)),
        (optax.sgd(1e-3), optax.sgd(1.01e-3)),
        (decayed(1e-4), decayed(2e-4)),
        (
            optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)),
            optax.chain(optax.clip(1e9), optax.sgd(1.0)),
        ),
    ],
)
def test_optimizers_are_told_apart_by_what_they_do(one: Any, other: Any) -> None:
    assert difference(printed(one), printed(one), near=NEAR) is None
    assert difference(printed(one), printed(other), near=NEAR) is not None


def test_one_that_is_made_for_true_shapes_is_tried_on_them() -> None:
    rates = np.linspace(0.1, 1, 6).astype(np.float32)

    def each(rates: Any) -> Any:
        scale = lambda g, s, p=None: ({"a": g["a"], "b": g["b"] * rates}, s)
        return optax.GradientTransformation(lambda p: optax.EmptyState(), scale)

    assert difference(printed(each(rates)), printed(each(rates)), near=NEAR) is None
    assert difference(printed(each(rates)), printed(each(rates * 1.1)), near=NEAR) is not None


def test_what_was_not_recorded_is_not_compared() -> None:
    names = ("data", "optimizer")
    mine = {"data": {"stream": {"seed": 1}}, "optimizer": [1.0]}
    check_identity("here", {}, mine, names, "same")
    check_identity("here", {"optimizer": [1.0 + 1e-7]}, mine, names, "same")
    other = {"data": {"stream": {"seed": 2}}}
    check_identity("here", other, mine, names, "force")
    with pytest.raises(ValueError, match=r"another data: data.stream.seed was 2, and here it is 1"):
        check_identity("here", other, mine, names, "same")
    with pytest.raises(ValueError, match="'same', 'longer' or 'force'; got 'yes'"):
        check_identity("here", other, mine, names, "yes")
