"""Training: constraints hold, and a run that stopped goes on to the bit."""

import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import fit, sae
from jaxinterp.fit._step import run_steps
from jaxinterp.sae.training._state import begin
from tests.options import how

from .planted import planted

KEY = jax.random.key(0)


def same(a: Any, b: Any) -> bool:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in leaves)


def small(**more: Any) -> Any:
    return sae.TopK(d=32, features=64, k=2, dead_tokens=5000, **more)


ADAM = optax.adam(2e-3)


def test_the_optimiser_sees_gradients_at_right_angles_to_the_decoder() -> None:
    seen = []

    def look(updates: Any, state: Any, params: Any = None) -> Any:
        seen.append(jnp.sum(updates.decoder * params.decoder, -1))
        return jax.tree.map(lambda g: -0.1 * g, updates), state

    kind = small().init(KEY)
    optimizer = sae.unit_rows(optax.GradientTransformation(lambda params: (), look))
    params = eqx.filter(kind, kind.trainable())
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(grads, (), params)
    np.testing.assert_allclose(seen[0], 0, atol=1e-5)
    moved = eqx.apply_updates(params, updates)
    np.testing.assert_allclose(np.linalg.norm(moved.decoder, axis=1), 1, atol=1e-6)


def test_dead_features_are_resampled() -> None:
    x, _ = planted()
    kind = sae.Vanilla(d=32, features=64).init(KEY)
    optimizer = optax.adam(1e-3)
    state = begin(kind, optimizer, x[:8], x[:8], False)
    moments = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), state.optimizer_state)
    dead = jnp.arange(64) < 5
    new, reset = sae.resample(kind, moments, dead, jnp.asarray(x[:2000]), key=KEY)
    alive = np.linalg.norm(kind.encoder[:, 5:], axis=0).mean()
    np.testing.assert_allclose(np.linalg.norm(new.encoder[:, :5], axis=0), 0.2 * alive, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(new.decoder[:5], axis=1), 1, atol=1e-6)
    assert same(new.encoder[:, 5:], kind.encoder[:, 5:]) and same(new.decoder[5:], kind.decoder[5:])
    mu = reset[0].mu
    assert float(jnp.abs(mu.decoder[:5]).max()) == 0 < float(jnp.abs(mu.decoder[5:]).min())
    assert float(jnp.abs(mu.encoder[:, :5]).max()) == 0 == float(jnp.abs(mu.encoder_bias[:5]).max())
    none, _ = sae.resample(kind, moments, jnp.zeros(64, bool), jnp.asarray(x[:2000]), key=KEY)
    assert same(none, kind)


def test_inputs_are_drawn_by_the_square_of_their_whole_loss() -> None:
    features = 4001  # the first reads and writes the first axis, all others are dead
    first = np.zeros((features, 2), np.float32)
    first[0, 0] = 1
    kind = sae.from_arrays(
        sae.Vanilla(d=2, features=features, sparsity=0.1),
        encoder=first.T,
        encoder_bias=0,
        decoder=first,
        bias=0,
    )
    # Of the losses 0.1 * 10 (all sparsity) and 1 / 2 (all error) the squares are 4 to 1.
    x = jnp.asarray([[10.0, 0.0], [0.0, 1.0]], jnp.float32)
    new, _ = sae.resample(kind, (), jnp.arange(features) > 0, x, key=KEY)
    np.testing.assert_allclose(np.asarray(new.decoder[1:]).mean(0), [0.8, 0.2], atol=0.02)


def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    x, _ = planted()
    options: Any = {
        "steps": 30,
        "batch_size": 64,
        "steps_per_dispatch": 5,
        "every": 5,
        "average": 0.9,
        "progress": False,
    }
    whole, history = sae.train(small(), x, ADAM, key=KEY, **how(options))

    class Stop(Exception):
        pass

    def stop(step: int, _: Any) -> None:
        if step == 20:
            raise Stop

    saved: Any = {**options, "checkpoint": tmp_path / "run", "checkpoint_every": 10}
    with pytest.raises(Stop):
        sae.train(small(), x, ADAM, key=KEY, **how(saved, callback=stop))
    again, later = sae.train(small(), x, ADAM, key=KEY, **how(saved))
    assert same(again, whole)
    for name in history:
        np.testing.assert_array_equal(history[name], later[name])
    with pytest.raises(ValueError, match="checkpoint of a run with"):
        sae.train(small(alpha=0.5), x, ADAM, key=KEY, **how(saved))
    # Neither other data nor another optimiser of the same shapes go on from it without a word.
    other = x.copy()
    other[-1, -1] += 1
    for data, rate, name in ((other, ADAM, "data.arrays"), (x, optax.adam(1e-3), "optimizer")):
        with pytest.raises(ValueError, match=f"another {name[:4]}.*{name}.*resume=.force"):
            sae.train(small(), data, rate, key=KEY, **how(saved))
    forced, _ = sae.train(small(), other, optax.adam(1e-3), key=KEY, **how(saved, resume="force"))
    assert same(forced, whole)  # no step was left


@pytest.mark.slow
def test_streams_say_what_they_are_of(tmp_path: Path) -> None:
    """A stream is told apart by its own account, what has none by its first batch."""
    x, _ = planted()

    class Plain:
        def __init__(self, by: float) -> None:
            self.by = by

        def batch(self, i: int) -> np.ndarray:
            return x[64 * i : 64 * (i + 1)] * np.float32(self.by)

    class Told(Plain):
        def described(self) -> dict[str, Any]:
            return {"by": self.by}

    options: Any = {"steps": 1, "checkpoint_every": 1, "progress": False}
    for kind, said in (
        (Plain, "data.first.0"),
        (Told, "data.stream.by was 1.0, and here it is 2.0"),
    ):
        options["checkpoint"] = tmp_path / kind.__name__
        found, _ = sae.train(small(), kind(1.0), ADAM, key=KEY, **how(options))
        again, _ = sae.train(small(), kind(1.0), ADAM, key=KEY, **how(options))
        assert same(found, again)
        with pytest.raises(ValueError, match=said):
            sae.train(small(), kind(2.0), ADAM, key=KEY, **how(options))


@pytest.mark.slow
def test_steps_together_are_steps_one_by_one_and_compile_once() -> None:
    x, _ = planted()
    count = run_steps._cached._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    runs: dict[int, Any] = {}
    for together in (1, 4):
        runs[together] = [
            sae.train(
                small(),
                x,
                key=KEY,
                steps=8,
                batch_size=32,
                settings=fit.Settings(steps_per_dispatch=together, progress=False),
            )[0]
            for _ in range(2)
        ]
        if together == 1:
            before = count()
    assert same(runs[1][0], runs[1][1]) and count() == before + 1
    for a, b in zip(jax.tree.leaves(runs[1]), jax.tree.leaves(runs[4]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_streams_of_every_form() -> None:
    x, _ = planted()
    batches = [x[i * 32 : (i + 1) * 32] for i in range(8)]

    class Addressed:
        def batch(self, number: int) -> np.ndarray:
            return batches[number]

    options: Any = {"steps": 8, "steps_per_dispatch": 4, "progress": False, "sample": 32}
    one, _ = sae.train(small(), iter(batches), key=KEY, **how(options))
    two, _ = sae.train(small(), Addressed(), key=KEY, **how(options))
    assert np.isfinite(np.asarray(one.decoder)).all()
    # The same batches; the sample for the first weights is the first one or several.
    assert one.decoder.shape == two.decoder.shape
    with pytest.raises(ValueError, match="ended after 8 batches"):
        sae.train(small(), iter(batches), key=KEY, **how(options, steps=12))


def test_what_cannot_be_learned_from() -> None:
    x, _ = planted()
    bad = x[:100].copy()
    bad[7, 3] = np.nan
    for stream, words in (
        (bad, "NaN"),
        (x[:, :8], "width 8"),
        (x[:10], "cannot be drawn"),
        (x[0], "rows, d"),
        (7, "A stream is"),
        ((x, x[:50]), "pair"),
    ):
        with pytest.raises(ValueError, match=words):
            sae.train(small(), stream, key=KEY, steps=2, batch_size=64, settings=fit.Settings(progress=False))
    with pytest.raises(ValueError, match="with its settings"):
        sae.train(sae.TopK, x, key=KEY, steps=2)
    late = [x[:64], x[64:128], np.full((64, 32), np.inf, np.float32)]
    with pytest.raises(ValueError, match="not finite at step 2"):
        sae.train(
            small(), late, key=KEY, steps=3, settings=fit.Settings(steps_per_dispatch=1, progress=False)
        )


def test_pairs_train_a_transcoder() -> None:
    x, _ = planted()
    y = x @ np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    kind = sae.Transcoder(d=32, d_out=8, features=64, sparsity=0.01, skip=True)
    found, history = sae.train(
        kind,
        (x, y),
        optax.adam(1e-2),
        key=KEY,
        steps=200,
        batch_size=256,
        settings=fit.Settings(steps_per_dispatch=50, progress=False),
    )
    assert history["reconstruction"][-1] < 0.1 * history["reconstruction"][0]
    assert found(jnp.asarray(x[:4])).shape == (4, 8)


@pytest.mark.slow
def test_low_precision_schedules_and_clipping_train() -> None:
    x, directions = planted()
    optimizer = sae.adam(2e-3, 400, warmup_steps=30, decay_share=0.2, clip_norm=1.0)
    found, history = sae.train(
        small(matmul="bfloat16"),
        x,
        optimizer,
        key=KEY,
        steps=400,
        batch_size=256,
        settings=fit.Settings(steps_per_dispatch=50, average=0.9, progress=False),
    )
    assert found.decoder.dtype == jnp.float32
    assert history["reconstruction"][-1] < 0.5 * history["reconstruction"][0]
    assert sae.mmcs(found, directions) > sae.mmcs(small().init(KEY), directions) + 0.1


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "sae_training.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    exec(compile(code, "sae_training.md", "exec"), {})


class Numbered:
    """Batches by number, of rows that differ after the first."""

    def __init__(self, shift: float = 0) -> None:
        self.rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
        self.rows[1:] += shift

    def batch(self, number: int) -> Any:
        return np.roll(self.rows, number, 0) if number else self.rows


@pytest.mark.parametrize("many", [False, True])
def test_steps_until_a_feature_is_dead_count_batches_of_the_stream(many: bool) -> None:
    kind = sae.TopK(d=32, features=64, k=1, dead_tokens=4 * 64)
    options: dict[str, Any] = {"steps": 4, "progress": False}
    frozen = optax.sgd(0.0)
    if many:
        ((_, history),) = sae.sweep([kind], Numbered(), frozen, key=KEY, **how(options))
    else:
        _, history = sae.train(kind, Numbered(), frozen, key=KEY, **how(options))
    assert (history["dead"][:3] == 0).all()  # 256 tokens are four batches of 64


@pytest.mark.slow
def test_a_checkpoint_knows_whole_batches_and_the_weights_it_began_with(tmp_path: Path) -> None:
    def go(folder: str, kind: Any, stream: Any) -> Any:
        options: dict[str, Any] = {"checkpoint": tmp_path / folder, "progress": False}
        return sae.train(kind, stream, ADAM, key=KEY, steps=1, **how(options, checkpoint_every=1))[0]

    go("batches", small(), Numbered())
    with pytest.raises(ValueError, match="another data"):
        go("batches", small(), Numbered(1))
    one, other = small().init(KEY), small().init(jax.random.key(1))
    assert same(go("weights", one, Numbered()), go("weights", one, Numbered()))
    with pytest.raises(ValueError, match="leaves"):
        go("weights", other, Numbered())
    go("metric", sae.with_metric(small(), jnp.eye(32, dtype=jnp.float32)), Numbered())
    with pytest.raises(ValueError, match="metric"):
        go("metric", sae.with_metric(small(), 2 * jnp.eye(32, dtype=jnp.float32)), Numbered())


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_a_checkpoint_knows_a_small_decay_of_weights(tmp_path: Path, many: bool) -> None:
    x = Numbered().rows
    options: dict[str, Any] = {"steps": 1, "batch_size": 32, "checkpoint": tmp_path, "progress": False}
    kind = [small()] if many else small()
    go = lambda optimizer: (sae.sweep if many else sae.train)(kind, x, optimizer, key=KEY, **how(options))
    go(optax.adam(1e-3))
    with pytest.raises(ValueError, match="another optimizer"):
        go(optax.adamw(1e-3))  # beside the norm of the decoder's rows it hardly shows
