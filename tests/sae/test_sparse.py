"""Sparse forms beside dense ones: the same loss, the same gradients, the same choice."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import fit, sae
from jaxinterp.sae.kinds import _sparse
from jaxinterp.sae.kinds._cut_of_batch import bisect, largest_above
from jaxinterp.sae.kinds._losses import Progress, firing

D, M, B, K = 24, 512, 40, 5
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def x() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(B, D)), jnp.float32)


def test_the_largest_are_those_of_top_k_ties_included() -> None:
    rng = np.random.default_rng(1)
    ours, plain = jax.jit(lambda p: _sparse.largest_of_rows(p, 7)), jax.jit(lambda p: jax.lax.top_k(p, 7))
    for rows in (
        rng.normal(size=(B, M)),
        rng.integers(0, 3, size=(B, M)),  # ties everywhere
        np.where(rng.random((B, M)) < 0.005, 1.0, -np.inf),  # rows with fewer than k
    ):
        rows = jnp.asarray(rows, jnp.float32)
        for got, want in zip(ours(rows), plain(rows), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("centred", [True, False])
def test_sparse_is_dense(centred: bool, x: jax.Array) -> None:
    kind = sae.TopK(d=D, features=M, k=K, aux=16, centred=centred).init(KEY)
    rng = np.random.default_rng(2)
    move = lambda leaf: leaf + jnp.asarray(0.1 * rng.normal(size=leaf.shape), jnp.float32)
    where = lambda k: (k.bias, k.encoder_bias, k.encoder)
    kind = eqx.tree_at(where, kind, tuple(move(leaf) for leaf in where(kind)))
    kind = eqx.tree_at(lambda k: k.scale, kind, jnp.float32(1.3))

    def slopes(form: str, kind: Any, x: Any, now: Any) -> Any:
        def total(both: Any) -> Any:
            kind, x = both
            found = getattr(kind.kind, form)(kind, x, x, now)
            active = found.active or firing(found.features)
            return found.total, (found.terms, found.features, active)

        return eqx.filter_value_and_grad(total, has_aux=True)((kind, x))

    run = eqx.filter_jit(slopes)
    assert _sparse.is_sparse_faster(kind, x, K) and not _sparse.is_sparse_faster(kind, x, 100)
    for dead in (jnp.zeros(M, bool), jnp.arange(M) % 3 == 0, jnp.arange(M) < 4):
        now = Progress(jnp.int32(0), jnp.float32(1), dead)
        sparse, dense = (run(form, kind, x, now) for form in ("sparse_loss", "dense_loss"))
        assert (float(dense[0][1][0]["aux"]) > 0) == bool(dead.any())
        flat = zip(jax.tree.leaves(sparse), jax.tree.leaves(dense), strict=True)
        for got, want in flat:
            np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-5)
    assert float(jnp.abs(sparse[1][0].encoder).max()) > 0


@pytest.mark.slow
def test_training_either_way_is_the_same(x: jax.Array, monkeypatch: Any) -> None:
    kind = sae.TopK(d=D, features=M, k=K, aux=16, dead_tokens=3 * B)
    data = np.random.default_rng(3).normal(size=(200, D)).astype(np.float32)

    def train() -> Any:
        return sae.train(
            kind,
            data,
            key=KEY,
            steps=8,
            batch_size=B,
            settings=fit.Settings(steps_per_dispatch=8, progress=False),
        )

    sparse = train()
    monkeypatch.setattr("jaxinterp.sae.kinds._topk.is_sparse_faster", lambda *_: False)
    jax.clear_caches()
    dense = train()
    assert dense[1]["aux"][-1] > 0
    for got, want in zip(jax.tree.leaves(sparse), jax.tree.leaves(dense), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_the_cut_of_a_batch_is_exact_with_rows_that_take_all() -> None:
    rng = np.random.default_rng(4)
    cut, plain = jax.jit(lambda f: largest_above(f, 2 * B, 2)), jax.jit(lambda f: bisect(f, 2 * B))
    both = jax.jit(jax.vmap(lambda f: largest_above(f, 2 * B, 2)))
    even = np.maximum(0, rng.normal(size=(B, M))).astype(np.float32)
    greedy = even.copy()
    greedy[3] += 5  # more of one row above the cut than there are candidates
    for f in (even, greedy, np.zeros_like(even), np.ones_like(even)):
        assert float(cut(f)) == float(plain(f))
        assert (f > float(cut(f))).sum() == (0 if f.min() == f.max() else 2 * B)
    np.testing.assert_array_equal(both(jnp.stack([even, greedy])), [plain(even), plain(greedy)])
    # Rows that can be added in sixteens, and those that cannot.
    assert float(bisect(even[:32], 64)) == np.sort(even[:32], axis=None)[-65]
    assert float(bisect(even[:33], 64)) == np.sort(even[:33], axis=None)[-65]
