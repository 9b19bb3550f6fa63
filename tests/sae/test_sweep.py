"""Sweeps: every member is what `train` gives for it alone."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp import fit, sae
from jaxinterp.fit._step import run_steps
from tests.options import how

pytestmark = [pytest.mark.wide, pytest.mark.finite]

KEY = jax.random.key(0)
DATA = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
OPTIONS: dict[str, Any] = {"steps": 6, "batch_size": 24, "steps_per_dispatch": 3, "progress": False}


def topk(**more: Any) -> Any:
    return sae.TopK(**{"d": 8, "features": 64, "k": 3, "aux": 4, "dead_tokens": 48, **more})


def agree(found: Any, alone: Any) -> None:
    (one, told), (other, numbers) = found, alone
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert set(told) == set(numbers)
    for name in told:
        np.testing.assert_allclose(told[name], numbers[name], atol=1e-5, rtol=1e-5, err_msg=name)


def test_each_member_of_a_sweep_is_trained_as_if_alone() -> None:
    kinds = [topk(), topk(features=48, k=2, alpha=0.1), topk(dead_tokens=10**6)]
    rates = [1.0, 3.0, 1.0]
    adam = optax.adam(1e-2)
    many = sae.sweep(kinds, DATA, adam, key=KEY, rates=rates, **how(OPTIONS, average=0.9))
    assert [one.k for one, _ in many] == [3, 2, 3]
    assert many[0][1]["dead"][-1] > 0 == many[2][1]["dead"][-1]
    assert many[1][0].decoder.shape == (48, 8)
    for kind, rate, found in list(zip(kinds, rates, many, strict=True))[:2]:
        each = optax.chain(adam, optax.scale(rate)) if rate != 1 else adam
        agree(found, sae.train(kind, DATA, each, key=KEY, **how(OPTIONS, average=0.9)))


@pytest.mark.slow
def test_a_sweep_that_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    standard = lambda features, c: sae.Standard(d=8, features=features, sparsity=c)
    kinds = [standard(16, 1.0), standard(12, 2.0)]
    options: Any = {**OPTIONS, "every": 2, "steps_per_dispatch": 2, "average": 0.9}
    options["evaluate"] = lambda found, step: {"norm": float(jnp.sum(found.encoder**2))}
    whole = sae.sweep(kinds, DATA, key=KEY, **how(options))
    said: list[Any] = []

    class Stop(Exception):
        pass

    def stop(step: int, numbers: Any) -> None:
        said.append((step, numbers))
        if step == 4:
            raise Stop

    saved: Any = {**options, "checkpoint": tmp_path / "run", "checkpoint_every": 2}
    with pytest.raises(Stop):
        sae.sweep(kinds, DATA, key=KEY, **how(saved, callback=stop))
    again = sae.sweep(kinds, DATA, key=KEY, **how(saved))
    assert [len(numbers) for _, numbers in said] == [2, 2]
    for (one, told), (other, numbers) in zip(whole, again, strict=True):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
        assert set(told) == set(numbers) >= {"norm", "loss"}
        assert told["evaluated"].tolist() == [2, 4, 6]
        for name in told:
            np.testing.assert_array_equal(told[name], numbers[name])
    assert said[1][1][0]["norm"] == whole[0][1]["norm"][1]
    with pytest.raises(ValueError, match=r"another data: data.None.arrays.0.*resume=.force"):
        sae.sweep(kinds, DATA + np.float32(1), key=KEY, **how(saved))
    with pytest.raises(ValueError, match=r"another optimi[sz]er"):
        sae.sweep(kinds, DATA, optax.adam(0.5), key=KEY, **how(saved))
    kinds[1] = standard(12, 3.0)
    with pytest.raises(ValueError, match=r"sweep.1.leaves..sparsity=2.0; this one has .*=3.0"):
        sae.sweep(kinds, DATA, key=KEY, **how(saved))


@pytest.mark.slow
def test_other_kinds_sizes_and_their_own_recipes() -> None:
    kinds = [sae.BatchTopK(d=8, features=64, k=k, aux=4, dead_tokens=72) for k in (2, 4)] + [
        sae.Standard(d=8, features=m, sparsity=c) for m, c in ((32, 0.5), (24, 2.0))
    ]
    many = sae.sweep(kinds, DATA, key=KEY, **how(OPTIONS))
    for kind, found in zip(kinds, many, strict=True):
        agree(found, sae.train(kind, DATA, key=KEY, **how(OPTIONS)))


@pytest.mark.slow
def test_seeds_and_one_program() -> None:
    kind, adam = topk(), optax.adam(1e-2)
    count = run_steps._cached._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    before = count()
    many = sae.sweep(
        kind, DATA, adam, key=KEY, keys=[jax.random.fold_in(KEY, i) for i in [3, 4]], **how(OPTIONS)
    )
    assert count() == before + 1
    again = sae.sweep(
        kind, DATA, adam, key=KEY, keys=[jax.random.fold_in(KEY, i) for i in [3, 5]], **how(OPTIONS)
    )
    assert count() == before + 1
    np.testing.assert_array_equal(many[0][0].decoder, again[0][0].decoder)
    assert float(jnp.abs(many[1][0].decoder - again[1][0].decoder).max()) > 0.1
    begun = kind.init(jax.random.fold_in(KEY, 4), jnp.asarray(DATA))
    agree(many[1], sae.train(begun, DATA, adam, key=KEY, **how(OPTIONS)))


@pytest.mark.slow
def test_many_sites_of_one_pass() -> None:
    data = {"a": DATA, "b": 2 * DATA[:, :4]}
    kinds = {"a": topk(), "b": [topk(d=4), topk(d=4, k=2)]}
    found = sae.sweep(kinds, data, key=KEY, **how(OPTIONS))
    assert list(found) == ["a", "b"] and len(found["b"]) == 2
    agree(found["b"][0], sae.train(kinds["b"][0], data["b"], key=KEY, **how(OPTIONS)))
    asked = []

    class Sites:
        site = ("a", "b")

        def batch(self, i: int) -> Any:
            asked.append(i)
            return DATA[i * 12 : (i + 1) * 12], data["b"][i * 12 : (i + 1) * 12]

    streamed = sae.sweep(
        kinds, Sites(), key=KEY, steps=4, settings=fit.Settings(steps_per_dispatch=2, progress=False)
    )

    class Site:
        batch = staticmethod(lambda i: data["b"][i * 12 : (i + 1) * 12])

    alone = sae.train(
        kinds["b"][0], Site(), key=KEY, steps=4, settings=fit.Settings(steps_per_dispatch=2, progress=False)
    )
    agree(streamed["b"][0], alone)
    with pytest.raises(ValueError, match="no site 'c'"):
        sae.sweep({"c": topk()}, data, key=KEY, **how(OPTIONS))


def test_numbers_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="as many of each"):
        sae.sweep(
            [topk(), topk()], DATA, key=KEY, keys=[jax.random.fold_in(KEY, i) for i in [1]], **how(OPTIONS)
        )
    with pytest.raises(ValueError, match="as many of each"):
        sae.sweep([], DATA, key=KEY, **how(OPTIONS))


@pytest.mark.slow
def test_a_member_that_diverges_harms_no_other() -> None:
    many = sae.sweep(topk(), DATA, optax.sgd(1.0), key=KEY, rates=[1e-2, 1e38], **how(OPTIONS))
    assert np.isfinite(many[0][1]["loss"]).all() and not np.isfinite(many[1][1]["loss"][-1])
    bad = np.full_like(DATA, 1e30)
    with pytest.raises(ValueError, match="No member"):
        sae.sweep(topk(), bad, optax.sgd(1.0), key=KEY, rates=[1.0, 2.0], **how(OPTIONS))


@pytest.mark.slow
def test_resampling_in_a_sweep_is_that_of_training() -> None:
    kinds = [sae.Vanilla(d=8, features=32, sparsity=c, resample=(3,), window=2) for c in (0.01, 0.5)]
    many = sae.sweep(kinds, DATA, key=KEY, **how(OPTIONS))
    for kind, found in zip(kinds, many, strict=True):
        agree(found, sae.train(kind, DATA, key=KEY, **how(OPTIONS)))
