"""What a training refuses before it runs, in words that give the corrected call."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji

KEY = jax.random.key(0)
X = np.ones((8, 2), np.float32)
ROWS: Any = ji.fit.Rows((X,), 4, key=KEY)
ADAM = optax.adam(0.1)
QUIET = ji.fit.Settings(progress=False)


def square(w: Any, batch: Any, now: Any) -> Any:
    return jnp.mean((batch[0] @ w) ** 2), {}


def train(loss: Any = square, optimizer: Any = ADAM, start: Any = None, settings: Any = QUIET) -> Any:
    start = jnp.ones(2) if start is None else start
    return ji.fit.train(start, ROWS, loss, optimizer, steps=2, settings=settings)


def sweep(params: Any = None, optimizer: Any = ADAM, **options: Any) -> Any:
    params = [jnp.ones(2)] * 2 if params is None else params
    return ji.fit.sweep(params, ROWS, square, optimizer, steps=2, settings=QUIET, **options)


def descend(batches: Any, **options: Any) -> Any:
    return ji.fit.descend(jnp.ones(2), batches, square, ADAM, **options)


def reporting(evaluate: Any) -> Any:
    return train(settings=ji.fit.Settings(every=1, evaluate=evaluate, progress=False))


class Named(eqx.Module):
    w: Any
    name: str


CASES = [
    (lambda: train(optimizer="adam"), r"one of optax, such as optax\.adam\(1e-3\); got a string"),
    (lambda: train(optimizer=optax.adam), r"made by a call: optax\.adam\(1e-3\)"),
    (lambda: train(lambda w, b, n: jnp.sum(w)), r"loss returns a number and a dict.*return value, \{\}"),
    (lambda: train(lambda w, b, n: (jnp.sum(w), None)), "None in the place of the dict"),
    (lambda: train(lambda w, b, n: (w, {})), r"not \(2,\): return value\.mean\(\), \{\}"),
    (lambda: train(lambda w, b, n: (jnp.sum(w), {"loss": w[0]})), "loss names a number 'loss'"),
    (lambda: train(start=jnp.ones(2, jnp.int32)), "no array that is trained"),
    (lambda: train(start=1.0), r"jnp\.asarray\(0\.0\)"),
    (lambda: reporting(lambda w, step: 3.0), r"evaluate returns numbers by name.*got a float"),
    (lambda: ji.fit.Settings(evaluate=3), r"evaluate is a function of \(params, step\); got an int"),  # type: ignore[arg-type]
    (lambda: ji.fit.Settings(callback="print"), "callback is a function"),  # type: ignore[arg-type]
    (lambda: ji.fit.Settings(average="0.9"), "average is the decay"),  # type: ignore[arg-type]
    (lambda: ji.fit.Rows((X[:0],), 1, key=KEY), "at least one"),
    (lambda: ji.fit.Rows(X.tolist(), 1, key=KEY), r"np\.asarray\(x\)"),
    (lambda: sweep(jnp.ones(2)), r"\[start\] \* 3"),
    (lambda: sweep([jnp.ones(2), jnp.ones(3)]), "params is a list of trees of the same structure"),
    (lambda: sweep(members=[{"a": 1}, {"b": 1}]), "members is a list of trees"),
    (lambda: sweep([Named(jnp.ones(2), "a"), Named(jnp.ones(2), "b")]), "differ in arrays alone"),
    (lambda: sweep(keys=0), r"keys=jax\.random\.split"),
    (lambda: sweep(keys=[0, 1]), r"keys=jax\.random\.split"),
    (lambda: sweep(optimizer=optax.lbfgs()), "reads the value of the loss"),
    (lambda: sweep(optimizer=[ADAM, "sgd"]), r"one of optax"),
    (lambda: descend((X[:, None],), key=0), r"key=jax\.random\.key\(0\)"),
    (lambda: descend((X[:, None], X[:3])), r"\(T, \.\.\.\) with the same T"),
    (lambda: descend(ROWS), r"ji\.fit\.train"),
]


@pytest.mark.parametrize(("call", "words"), CASES)
def test_bad_input_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_sweep_takes_keys_by_name_and_as_a_list() -> None:
    with pytest.raises(TypeError, match=r"key=.*keys=jax\.random\.split"):
        sweep(key=KEY)
    keys = jax.random.split(KEY, 2)
    one, other = (sweep(keys=given)[1].params for given in (keys, list(keys)))
    np.testing.assert_array_equal(one, other)


def test_a_number_of_evaluate_never_replaces_one_of_the_training() -> None:
    found = reporting(lambda w, step: {"loss": 3.0, "distance": 1.0})
    np.testing.assert_array_equal(found.history["evaluated_loss"], [3.0, 3.0])
    assert found.history["loss"].shape == (2,) and not (found.history["loss"] == 3.0).any()
    np.testing.assert_array_equal(found.history["distance"], [1.0, 1.0])
