"""The training loop: its laws on linear regression and on a mask of hard-concrete gates."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.fit._step import run_steps
from tests.processes import run

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
TRUTH = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
Y = X @ TRUTH
ADAM = optax.adam(0.1)
QUIET = ji.fit.Settings(progress=False)


def line(w: Any, batch: Any, now: Any) -> Any:
    x, y = batch
    return jnp.mean((x @ w - y) ** 2), {"norm": jnp.sum(w * w)}


def rows() -> ji.fit.Rows:
    return ji.fit.Rows((X, Y), 20, key=KEY)


def start() -> Any:
    return jnp.zeros(4, jnp.float32)


@pytest.mark.quick
def test_linear_regression_is_solved_and_compiles_once() -> None:
    found = ji.fit.train(start(), rows(), line, ADAM, steps=150, settings=QUIET)
    np.testing.assert_allclose(found.params, TRUTH, atol=1e-2)
    assert found.history["loss"].shape == (150,) and found.history["norm"][0] == 0
    count = run_steps._cached._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    before = count()
    ji.fit.train(start() + 1, rows(), line, ADAM, steps=150, settings=QUIET)
    assert count() == before
    # The same steps as a pure function, and one by one with NumPy.
    batches = [rows().batch(i) for i in range(8)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    descend = jax.jit(lambda stacked: ji.fit.descend(start(), stacked, line, optax.sgd(0.1)))
    state, numbers = descend(stacked)
    alone = ji.fit.train(start(), rows(), line, optax.sgd(0.1), steps=8, settings=QUIET)
    np.testing.assert_allclose(state.params, alone.params, atol=1e-6)
    np.testing.assert_allclose(numbers["loss"], alone.history["loss"], atol=1e-6)
    w = np.zeros(4)
    for x, y in batches:
        w -= 0.1 * 2 * np.asarray(x).T @ (np.asarray(x) @ w - np.asarray(y)) / len(y)
    np.testing.assert_allclose(alone.params, w, atol=1e-5)


def gates(scores: Any, batch: Any, now: Any) -> Any:
    """Hard-concrete gates on the inputs of a line, with a penalty for each open gate."""
    x, y = batch
    noise = jax.random.uniform(now.key, scores.shape, jnp.float32, 1e-4, 1 - 1e-4)
    soft = jax.nn.sigmoid((jnp.log(noise) - jnp.log1p(-noise) + scores) / 0.5)
    gate = jnp.clip(soft * 1.2 - 0.1, 0, 1)
    open_ = jnp.sum(jax.nn.sigmoid(scores - 0.5 * jnp.log(0.1 / 1.1)))
    error = jnp.mean((x @ (gate * TRUTH) - y) ** 2)
    return error + now.member["price"] * open_, {"open": open_}


@pytest.mark.slow
def test_a_mask_is_learned_for_several_prices_at_once() -> None:
    prices = [{"price": np.float32(p)} for p in (0.01, 2.0)]
    found = ji.fit.sweep(
        [start()] * 2,
        rows(),
        gates,
        ADAM,
        members=prices,
        keys=jax.random.split(KEY, 2),
        steps=200,
        settings=QUIET,
    )
    # The last input does not matter; at the high price only the largest coefficient is worth its gate.
    assert (np.asarray(found[0].params) > 0).tolist() == [True, True, True, False]
    assert (np.asarray(found[1].params) > 0).tolist() == [False, True, False, False]


def test_members_are_trained_as_if_alone() -> None:
    rates, adam, sgd = [1.0, 0.1, 1.0], optax.adam(0.1), optax.sgd(0.05)
    starts = [start(), start(), start() + 1]
    found = ji.fit.sweep(starts, rows(), line, [adam, adam, sgd], rates=rates, steps=6, settings=QUIET)
    for one, begin, rate, optimizer in zip(found, starts, rates, [adam, adam, sgd], strict=True):
        each = optax.chain(optimizer, optax.scale(rate))
        alone = ji.fit.train(begin, rows(), line, each, steps=6, settings=QUIET)
        np.testing.assert_allclose(one.params, alone.params, atol=1e-5)
        np.testing.assert_allclose(one.history["loss"], alone.history["loss"], atol=1e-5)
    with pytest.raises(ValueError, match="as many of each"):
        ji.fit.sweep([start()], rows(), line, adam, rates=[1.0, 2.0], steps=1)


def noisy(w: Any, batch: Any, now: Any) -> Any:
    x, y = batch
    kept = jax.random.bernoulli(now.key, 0.5, w.shape)
    return jnp.mean((x @ jnp.where(kept, w, 0) - y) ** 2) + 0 * now.extra, {}


def counted(w: Any, extra: Any, now: Any) -> Any:
    return jnp.clip(w, -1, 1), extra + 1


class Killed(Exception):
    pass


@pytest.mark.quick
def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    how: dict[str, Any] = dict(steps=12, key=KEY, extra=jnp.zeros((), jnp.float32), after=counted)
    seen: list[int] = []

    def stop(step: int, numbers: Any) -> None:
        seen.append(step)
        if seen == [2, 4, 6]:
            raise Killed

    def settings(**more: Any) -> ji.fit.Settings:
        norm = lambda w, step: {"size": float(jnp.abs(w).max())}
        return ji.fit.Settings(
            steps_per_dispatch=4, every=2, evaluate=norm, average=0.9, progress=False, **more
        )

    saved = dict(checkpoint=tmp_path / "run", checkpoint_every=4, callback=stop)
    whole = ji.fit.train(start(), rows(), noisy, ADAM, settings=settings(), **how)
    with pytest.raises(Killed):
        ji.fit.train(start(), rows(), noisy, ADAM, settings=settings(**saved), **how)
    again = ji.fit.train(start(), rows(), noisy, ADAM, settings=settings(**saved), **how)
    assert seen == [2, 4, 6, 6, 8, 10, 12] and again.state.extra == 12
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in whole.history:
        np.testing.assert_array_equal(whole.history[name], again.history[name])
    assert whole.history["evaluated"].tolist() == [2, 4, 6, 8, 10, 12]
    records = whole.records()
    assert len(records) == 12 and records[1]["size"] == whole.history["size"][0] and "size" not in records[0]
    for change, words in (
        (dict(key=jax.random.key(1)), "with key"),
        (dict(extra=jnp.zeros(2, jnp.float32)), "other arrays"),
        (dict(steps=11), "steps=12; this one has steps=11"),
    ):
        with pytest.raises(ValueError, match=words):
            ji.fit.train(start(), rows(), noisy, ADAM, settings=settings(**saved), **{**how, **change})
    with pytest.raises(ValueError, match="another optimizer"):
        ji.fit.train(start(), rows(), noisy, optax.adam(0.2), settings=settings(**saved), **how)
    with pytest.raises(ValueError, match="another data"):
        other = ji.fit.Rows((X + 1, Y), 20, key=KEY)
        ji.fit.train(start(), other, noisy, ADAM, settings=settings(**saved), **how)


def test_a_callback_ends_a_training(tmp_path: Path) -> None:
    def enough(step: int, numbers: Any) -> None:
        if step == 4:
            raise ji.fit.Stop

    settings = ji.fit.Settings(every=2, callback=enough, checkpoint=tmp_path, progress=False)
    for _ in range(2):  # the checkpoint knows that the training ended
        found = ji.fit.train(start(), rows(), line, ADAM, steps=8, settings=settings)
        assert found.history["loss"].shape == (4,)


@pytest.mark.slow
def test_checkpoints_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    (tmp_path / "run" / "5" / "record").mkdir(parents=True)
    (tmp_path / "run" / "5" / "record" / "metadata").write_text('{"about": {}, "told": [], "judged": []}')
    for name in ("file", "run"):
        settings = ji.fit.Settings(checkpoint=tmp_path / name, progress=False)
        with pytest.raises(ValueError, match="earlier version"):
            ji.fit.train(start(), rows(), line, ADAM, steps=8, settings=settings)


def test_leaves_that_are_not_trained_stay_and_a_line_search_works() -> None:
    params = {"w": start(), "shift": jnp.ones((), jnp.float32), "name": "line", "count": jnp.int32(3)}
    loss = lambda p, batch, now: (jnp.mean((batch[0] @ p["w"] + p["shift"] - batch[1] - 1) ** 2), {})
    fixed = {"w": True, "shift": False, "name": False, "count": False}
    found = ji.fit.train(
        params, lambda i: (X, Y), loss, optax.lbfgs(), steps=6, is_trained=fixed, settings=QUIET
    ).params
    assert found["name"] == "line" and found["count"] == 3 and found["shift"] == 1
    np.testing.assert_allclose(found["w"], TRUTH, atol=1e-3)


class Held(eqx.Module):
    """A loss with arrays of its own."""

    target: Any

    def __call__(self, w: Any, batch: Any, now: Any) -> Any:
        return jnp.sum((w - self.target) ** 2), {}


def test_batches_of_other_shapes_and_losses_with_arrays() -> None:
    sizes = [5, 5, 7, 7, 7]
    found = ji.fit.train(
        start(), lambda i: (X[: sizes[i]], Y[: sizes[i]]), line, ADAM, steps=5, settings=QUIET
    )
    alone = ji.fit.Settings(steps_per_dispatch=1, progress=False)
    again = ji.fit.train(
        start(), lambda i: (X[: sizes[i]], Y[: sizes[i]]), line, ADAM, steps=5, settings=alone
    )
    np.testing.assert_allclose(found.params, again.params, atol=1e-6)
    one = ji.fit.train(start(), lambda i: i, Held(jnp.asarray(TRUTH)), ADAM, steps=200, settings=QUIET)
    np.testing.assert_allclose(one.params, TRUTH, atol=1e-2)


def test_double_precision_stays_so() -> None:
    with enable_x64(True):
        x, y = jnp.asarray(X, jnp.float64), jnp.asarray(Y, jnp.float64)
        settings = ji.fit.Settings(average=0.5, progress=False)
        step = dict(steps=4, settings=settings)
        one = ji.fit.train(jnp.zeros(4), lambda i: (x, y), line, ADAM, **step)  # type: ignore[arg-type]
        two = ji.fit.sweep([jnp.zeros(4)], lambda i: (x, y), line, ADAM, rates=[1.0], **step)  # type: ignore[arg-type]
        assert one.params.dtype == two[0].params.dtype == jnp.float64
        np.testing.assert_allclose(one.params, two[0].params, atol=1e-12)


MESH = """
import jax, jax.numpy as jnp, numpy as np, optax
import jaxinterp as ji
from tests.fit.test_fit import QUIET, line, rows, start

mesh = jax.make_mesh((4,), ("data",))
one = ji.fit.train(start(), rows(), line, optax.adam(0.1), steps=8, settings=QUIET)
other = ji.fit.train(start(), rows(), line, optax.adam(0.1), steps=8, settings=QUIET, mesh=mesh)
assert len(other.params.sharding.device_set) == 4
np.testing.assert_allclose(one.params, other.params, atol=1e-6)
np.testing.assert_allclose(one.history["loss"], other.history["loss"], atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_rows_over_four_devices_change_nothing() -> None:
    assert "equal" in run(MESH, devices=4)


@pytest.mark.slow
def test_patience_ends_epochs_and_the_best_are_kept() -> None:
    losses = jnp.asarray([3.0, 1.0, 2.0, 0.99, 5.0, 0.1], jnp.float32)
    state = ji.fit.State(jnp.float32(0), ((), jnp.float32(1)), jnp.int32(0))

    def epoch(state: Any, at: Any) -> Any:
        return ji.fit.State(state.params + 1, state.optimizer_state, state.step + 2), losses[at]

    def problem(min_gain: Any) -> Any:
        rule = ji.fit.Plateau(epochs=6, patience=2, min_gain=min_gain)
        return ji.fit.early_stopping(state, epoch, lambda w: losses[w.astype(jnp.int32) - 1], rule)

    found = jax.jit(jax.vmap(problem))(jnp.asarray([0.1, 0.0], jnp.float32))
    # The third epoch gains nothing and the fourth less than 0.1, though it has the lowest loss.
    assert found.epochs.tolist() == [4, 6] and found.stopped.tolist() == [True, False]
    assert found.best_epoch.tolist() == [4, 6] and found.params.tolist() == [4.0, 6.0]
    assert found.steps.tolist() == [8, 12] and np.isnan(found.dev_loss[0, 4:]).all()


def test_what_cannot_be_trained() -> None:
    with pytest.raises(ValueError, match="again and again: lambda i"):
        ji.fit.train(start(), (X, Y), line, ADAM, steps=1)
    with pytest.raises(ValueError, match="steps is an int of 1 or more"):
        ji.fit.train(start(), rows(), line, ADAM, steps=0)
    with pytest.raises(ValueError, match="not finite at step 0"):
        ji.fit.train(start() + jnp.nan, rows(), line, ADAM, steps=1, settings=QUIET)
    with pytest.raises(ValueError, match="cannot be drawn from 60"):
        ji.fit.Rows((X, Y), 61, key=KEY)
    with pytest.raises(ValueError, match="same number of rows"):
        ji.fit.Rows((X, Y[:5]), 5, key=KEY)
    for bad in (dict(resume="yes"), dict(average=1.0), dict(every=-1), dict(steps_per_dispatch=0)):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ji.fit.Settings(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"together=\. Write settings=ji\.fit\.Settings\(steps_per"):
        ji.fit.train(start(), rows(), line, ADAM, steps=1, together=4)  # pyright: ignore[reportCallIssue]
