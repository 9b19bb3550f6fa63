"""A finished training that goes on for more steps is one longer run, or says in what it is not."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinterp as ji

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
KEY = jax.random.key(0)


def loss(w, batch, now):
    return jnp.mean((batch @ w - 1) ** 2), {"norm": jnp.sum(w**2)}


def fitted(optimizer, steps, folder=None, resume="same"):
    settings = ji.fit.Settings(
        checkpoint=folder,
        resume=resume,
        every=2,
        evaluate=lambda w, step: {"size": float(jnp.abs(w).max())},
        average=0.5,
        steps_per_dispatch=4,
        progress=False,
    )
    batches = ji.fit.Rows(X, 8, key=KEY)
    return ji.fit.train(jnp.zeros(3), batches, loss, optimizer, steps=steps, settings=settings)


def alike(one, other):
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), one, other)
    return all(jax.tree.leaves(same))


def falling(steps):
    return optax.adam(optax.linear_schedule(0.1, 0.0, steps))


def test_more_steps_are_one_longer_run(tmp_path):
    fitted(optax.adam(0.1), 5, tmp_path)
    found, once = fitted(optax.adam(0.1), 11, tmp_path), fitted(optax.adam(0.1), 11)
    assert alike(found.params, once.params) and alike(found.state, once.state)
    assert alike(found.history, once.history) and len(found.history["loss"]) == 11
    assert found.history["evaluated"].tolist() == [2, 4, 6, 8, 10]
    with pytest.raises(ValueError, match="steps=11; this one has steps=5"):
        fitted(optax.adam(0.1), 5, tmp_path)


def test_a_schedule_over_the_steps_is_refused_or_said(tmp_path):
    fitted(falling(6), 6, tmp_path)
    words = r"updates at step 5 would have been [\d.]+ times as large.*resume=\"longer\""
    with pytest.raises(ValueError, match=words):
        fitted(falling(12), 12, tmp_path)
    with pytest.warns(
        UserWarning, match=r"updates at step 3 would.*goes on, with the schedule of 12 steps from step 6 on"
    ):
        found = fitted(falling(12), 12, tmp_path, resume="longer")
    rates = lambda step: jnp.where(step < 6, 0.1 * (1 - step / 6), 0.1 * (1 - step / 12))
    by_hand = fitted(optax.adam(rates), 12)
    np.testing.assert_allclose(found.params, by_hand.params, rtol=1e-5)
    with pytest.raises(ValueError, match="another data"):
        settings = ji.fit.Settings(checkpoint=tmp_path, resume="longer", average=0.5, progress=False)
        batches = ji.fit.Rows(X + 1, 8, key=KEY)
        ji.fit.train(jnp.zeros(3), batches, loss, falling(14), steps=14, settings=settings)


def test_a_schedule_that_differs_later_on_alone_is_no_matter(tmp_path):
    """Of a run that stopped at step 4 of 40, only what was done counts."""
    late = lambda steps: optax.sgd(optax.join_schedules([lambda s: 0.1, lambda s: 0.0], [steps - 4]))

    def stop(step, numbers):
        raise KeyboardInterrupt

    settings = ji.fit.Settings(
        checkpoint=tmp_path, checkpoint_every=4, steps_per_dispatch=4, every=8, callback=stop, progress=False
    )
    batches = ji.fit.Rows(X, 8, key=KEY)
    with pytest.raises(KeyboardInterrupt):
        ji.fit.train(jnp.zeros(3), batches, loss, late(40), steps=40, settings=settings)
    quiet = ji.fit.Settings(checkpoint=tmp_path, steps_per_dispatch=4, progress=False)
    found = ji.fit.train(jnp.zeros(3), batches, loss, late(44), steps=44, settings=quiet)
    alone = ji.fit.Settings(steps_per_dispatch=4, progress=False)
    once = ji.fit.train(jnp.zeros(3), batches, loss, late(44), steps=44, settings=alone)
    assert alike(found.params, once.params)


def trained(kind, steps, folder=None, resume="same"):
    settings = ji.fit.Settings(checkpoint=folder, resume=resume, steps_per_dispatch=4, progress=False)
    return ji.sae.train(kind, X, key=KEY, steps=steps, batch_size=8, settings=settings)


@pytest.mark.slow
def test_dictionaries_go_on(tmp_path):
    kind = ji.sae.TopK(d=3, features=8, k=2, dead_tokens=16, aux=2)
    trained(kind, 5, tmp_path / "a")
    (found, history), (once, all_at_once) = trained(kind, 10, tmp_path / "a"), trained(kind, 10)
    assert alike(found, once) and alike(history, all_at_once)
    kind = ji.sae.Standard(d=3, features=8)
    trained(kind, 8, tmp_path / "b")
    with pytest.raises(ValueError, match="sparsity coefficient at step 0 would have been"):
        trained(kind, 80, tmp_path / "b")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(trained(kind, 80, tmp_path / "b", "longer")[1]["loss"]) == 80
    assert any("A run of 80 steps with these settings" in str(each.message) for each in caught)
