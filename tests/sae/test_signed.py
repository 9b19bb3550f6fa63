"""Signed features: what is not 0 is active, on both sides, in everything that counts or ranks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.sae.features import _browser_data
from jaxinterp.sae.kinds._sparse import active_features
from jaxinterp.sae.training._state import firing
from tests.models import small_model

pytestmark = pytest.mark.wide

SITE, K, M = "resid_post[0]", 6, 24


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def sae() -> Any:
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    kind = ji.sae.Selected(d=8, features=M, k=K, rule="abstopk")
    return kind.dictionary(
        encoder=draw(8, M),
        decoder=draw(M, 8),
        bias=draw(8),
        encoder_bias=jnp.zeros(M, jnp.float32),
        scale=jnp.ones((), jnp.float32),
    )


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 40, (9, 12), dtype=np.int32)


@pytest.fixture(scope="module")
def f(sae: Any, model: Any, tokens: np.ndarray) -> np.ndarray:
    """Features where they count, 0 at the first position."""
    _, acts = ji.run(model, tokens, capture=[SITE])
    return np.asarray(sae.encode(acts[SITE])).copy() * (np.arange(12) > 0)[None, :, None]


def test_l0_of_k_entries_is_k(sae: Any, model: Any, tokens: np.ndarray, f: np.ndarray) -> None:
    found = ji.sae.evaluate(sae, model, tokens, site=SITE, progress=False)
    assert found["l0"] == 6.0 and (f < 0).any()
    np.testing.assert_allclose(found["density"], (f != 0).sum((0, 1)) / (9 * 11), rtol=1e-6)
    assert found["dead"] == ((f != 0).sum((0, 1)) == 0).mean()
    mean = np.abs(f).sum((0, 1)) / np.maximum((f != 0).sum((0, 1)), 1)
    np.testing.assert_allclose(found["mean_active"], mean, rtol=1e-5)


@pytest.mark.slow
def test_training_counts_what_is_not_0() -> None:
    f = jnp.asarray([[1.0, -2.0, 0.0], [0.0, -1.0, 0.0]], jnp.float32)
    seen, l0 = firing(f)
    assert seen.tolist() == [True, True, False] and l0 == 1.5
    seen, l0 = active_features(jnp.asarray([[1.0, -2.0]], jnp.float32), jnp.asarray([[0, 2]], jnp.int32), 3)
    assert seen.tolist() == [True, False, True] and l0 == 2


@pytest.mark.slow
def test_examples_rank_by_magnitude_and_keep_signs(
    sae: Any, model: Any, tokens: np.ndarray, f: np.ndarray, tmp_path: Any
) -> None:
    read = ji.sae.examples(
        sae,
        model,
        tokens,
        site=SITE,
        settings=ji.sae.ExampleSettings(top=5, intervals=4, per=2, window=1),
        batch_size=4,
        progress=False,
    )
    size = np.abs(f)
    np.testing.assert_array_equal(read.fired, (f != 0).sum((0, 1)))
    np.testing.assert_allclose(read.maximum, size.max((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(read.mean * np.maximum(read.fired, 1), size.sum((0, 1)), rtol=1e-4)
    best = np.sort(size.max(1), 0)[::-1][:5].T
    np.testing.assert_allclose(np.nan_to_num(np.abs(read.values)), best, rtol=1e-5)
    for values, seq, pos in (
        (read.values, read.seq, read.pos),
        (read.interval_values, read.interval_seq, read.interval_pos),
    ):
        at = np.argwhere(seq >= 0)
        mine = f[seq[tuple(at.T)], pos[tuple(at.T)], at[:, 0]]
        np.testing.assert_allclose(values[tuple(at.T)], mine, rtol=1e-5)
        assert (mine < 0).any() and (mine > 0).any()
    which = int(np.nanargmin(read.values[:, 0]))  # furthest from 0 on its lower side
    words = [f"t{i}" for i in range(40)]

    class Words:
        def tokens(self, ids: Any) -> list[str]:
            return [words[int(i)] for i in np.asarray(ids).ravel()]

    shown = _browser_data.Extras(None, {}, {}, [], 100, len(read.features))
    place = np.cumsum(read.real, 1) - 1
    line = _browser_data._features(read, shown, slice(which, which + 1), place)[0]["top"][0]
    value, _, acts, peak, *_ = line
    assert value < 0 and dict(zip(acts[::2], acts[1::2], strict=True))[peak] == 100
    assert read.records(Words(), which)[0]["activation"] == pytest.approx(value, rel=1e-3)
    held = ji.sae.steer(sae, which, site=SITE, observed=read)
    assert eqx.tree_equal(held, ji.sae.steer(sae, which, read.values[which, 0], site=SITE))


def test_what_takes_a_feature_out_takes_both_sides(
    sae: Any, model: Any, tokens: np.ndarray, f: np.ndarray
) -> None:
    below = int(np.argmin(f.min((0, 1))))
    only = np.flatnonzero((f[..., below] < 0).any(1))[:1]
    some = tokens[only]
    effects = ji.sae.feature_effects(sae, model, some, [below], site=SITE, progress=False)[0]
    clean, _ = ji.run(model, some)
    mask = np.arange(12) > 0
    edit = ji.sae.steer(sae, below, 0, site=SITE, pos=mask)
    without, _ = ji.run(model, some, edits=[edit])
    log = [np.asarray(jax.nn.log_softmax(x))[:, :-1] for x in (without, clean)]
    said = [np.take_along_axis(x, some[:, 1:, None], -1)[..., 0] for x in log]
    np.testing.assert_allclose(effects, said[0] - said[1], atol=1e-4)
    assert np.abs(effects).max() > 1e-3
    # Held at the other end: below 0 the feature goes to +c, above 0 to -c.
    x = jnp.asarray(ji.run(model, some, capture=[SITE])[1][SITE])
    silenced = ji.run(model, some, edits=[ji.sae.silence(sae, [below], 3.0, site=SITE)], capture=[SITE])[1][
        SITE
    ]
    own = np.asarray(sae.encode(x))[..., below]
    amount = np.where(own != 0, -3 * np.sign(own) - own, 0)
    want = np.asarray(x) + amount[..., None] * np.asarray(sae.decoder)[below]
    np.testing.assert_allclose(silenced, want, rtol=1e-4, atol=1e-4)
