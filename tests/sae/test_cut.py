"""Cuts by counting beside `jax.lax.top_k`: the same entries, ties and all; as plain JAX, and the kernel interpreted."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.sae.kinds._cut import cuts_of_rows, is_among, ordered, unordered
from jaxinterp.sae.kinds._cut_kernel import cuts_by_kernel, depth, fits_kernel, sifted_by_kernel
from jaxinterp.sae.kinds._cut_of_batch import _cut_by_cells, bisect
from jaxinterp.sae.kinds._kept import _by_counts, keep_largest, kept

M = 512
COLUMNS = jnp.arange(M, dtype=jnp.int32)[None]
pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, M))
    x[4:8] = rng.integers(0, 3, size=(4, M))  # ties everywhere
    x[8:12] = np.where(rng.random((4, M)) < 0.01, 1.0, -np.inf)  # fewer than k are finite
    x[0, 3], x[1, 5], x[2, :20], x[3], x[12] = np.nan, np.inf, -0.0, -1.0, 0.0
    x[12, ::2] = -0.0
    return x


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """The entries that `jax.lax.top_k` returns, but for minus infinity."""
    _, where = jax.lax.top_k(jnp.asarray(x), k)
    chosen = np.zeros(x.shape, bool)
    np.put_along_axis(chosen, np.asarray(where), True, 1)
    return chosen & ~np.isneginf(x)


def chosen(form: Any, x: Any, k: Any, bits: int = 1) -> np.ndarray:
    k = jnp.broadcast_to(jnp.asarray(k, jnp.int32), (len(x), 1))
    keys = ordered(jnp.asarray(x))
    cuts = (
        cuts_by_kernel(x, k, interpret=True)
        if form == "kernel"
        else cuts_of_rows(keys, k, COLUMNS, bits=bits)
    )
    return is_among(keys, *cuts, COLUMNS) & ~jnp.isneginf(x)


@pytest.mark.parametrize("form", ["counts", "kernel"])
def test_entries_are_those_of_top_k(form: str, rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    find = jax.jit(functools.partial(chosen, form))
    for k in (1, 7, 300, M):
        np.testing.assert_array_equal(find(x, k), largest(x, k))
    # Every row has its own k.
    each = np.arange(1, 17)[:, None]
    want = np.stack([largest(x[i : i + 1], int(k))[0] for i, k in enumerate(each[:, 0])])
    np.testing.assert_array_equal(find(x, each), want)


def test_sifted_rows_hide_no_entry() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(32, 4096)).astype(np.float32)
    deep = depth(7, x.shape[1])
    assert 0 < deep < 7 and not depth(300, x.shape[1])
    find = jax.jit(functools.partial(cuts_by_kernel, most=7, interpret=True))
    columns = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
    crowded, level, few = x.copy(), x.copy(), np.full_like(x, -np.inf)
    crowded[9, 3::512] += 10  # more of one cell are above the cut than are kept
    level[11, 5 : 5 + 512 * deep : 512] = 20  # as many as are kept, so that one more could be hidden
    level[12] = np.round(level[12])
    few[:, ::700] = x[:, ::700]
    few[30] = x[30]
    for rows in (x, crowded, level, few):
        for k in (1, 7):
            each = jnp.full((32, 1), k, jnp.int32)
            got = is_among(ordered(jnp.asarray(rows)), *find(jnp.asarray(rows), each), columns)
            np.testing.assert_array_equal(got & ~np.isneginf(rows), largest(rows, k))
    dead = np.arange(x.shape[1]) % 3 == 0
    got = find(jnp.asarray(x), jnp.full((32, 1), 7, jnp.int32), jnp.asarray(dead))
    hidden = np.where(dead, x, -np.inf).astype(np.float32)
    np.testing.assert_array_equal(is_among(ordered(jnp.asarray(hidden)), *got, columns), largest(hidden, 7))


def test_the_cut_of_a_batch_by_cells() -> None:
    rng = np.random.default_rng(2)
    even = rng.normal(size=(16, 4096)).astype(np.float32)
    greedy = even.copy()
    greedy[3] += 5
    sift = lambda f, deep: sifted_by_kernel(f, deep, interpret=True)
    find = jax.jit(lambda f: _cut_by_cells(f, jnp.int32(48), 2, sift))
    for f in (even, greedy, -np.abs(even), np.ones_like(even)):
        assert float(find(f)) == float(bisect(jnp.asarray(f), 48))
    best = -np.sort(-np.maximum(even, 0).reshape(16, 8, 512), 1)[:, :2].reshape(16, -1)
    np.testing.assert_array_equal(unordered(sift(jnp.asarray(even), 2)), best)


@pytest.mark.parametrize("kind", ["TopK", "BatchTopK"])
@pytest.mark.slow
def test_one_export_serves_gpus_and_tpus(kind: str) -> None:
    made = getattr(ji.sae, kind)(d=8, features=4096, k=2)
    choose = jax.jit(lambda pre: made.choose(pre))
    pre = jnp.asarray(np.random.default_rng(3).normal(size=(16, 4096)), jnp.float32)
    both = jax.export.export(choose, platforms=("cuda", "tpu"))(pre)
    assert ("tpu_custom_call" in both.mlir_module()) != jax.config.jax_enable_x64
    assert "tpu_custom_call" not in jax.export.export(choose, platforms=("cuda",))(pre).mlir_module()
    here = jax.export.export(choose, platforms=("cpu", "tpu"))(pre)
    np.testing.assert_array_equal(here.call(pre), choose(pre))


@pytest.mark.slow
def test_several_guesses_a_pass_and_64_bits(rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    np.testing.assert_array_equal(chosen("counts", x, 7, 4), largest(x, 7))
    with enable_x64(True):
        fine = rows + 1e-12 * np.arange(M)  # equal as float32
        assert not fits_kernel((4096, 24_576), jnp.float32)
        np.testing.assert_array_equal(chosen("counts", fine, 7), largest(fine, 7))
        np.testing.assert_array_equal(unordered(ordered(jnp.asarray(fine))), fine)


@pytest.mark.slow
def test_features_that_do_not_count_and_values(rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    x, dead, seven = x.at[0, 3].set(9.0), np.arange(M) % 3 == 0, jnp.int32(7)
    hidden = np.where(dead, x, -np.inf)
    here = largest(hidden, 7) & np.isfinite(hidden)
    want = np.where(here, hidden, 0)
    k = jnp.full((16, 1), 7, jnp.int32)
    keys = ordered(jnp.asarray(hidden))
    cuts = cuts_by_kernel(x, k, jnp.asarray(dead), interpret=True)
    found = is_among(keys, *cuts, COLUMNS) & ~np.isneginf(hidden)
    np.testing.assert_array_equal(found, largest(hidden, 7))
    np.testing.assert_array_equal(kept(x, _by_counts(x, seven, jnp.asarray(dead)), jnp.asarray(dead)), want)
    keep = jax.jit(lambda x: keep_largest(x, 7, None, jnp.asarray(dead)))
    np.testing.assert_array_equal(keep(x), want)
    np.testing.assert_array_equal(keep(x.reshape(2, 8, M)), want.reshape(2, 8, M))
    # The gradient reaches what was kept.
    slope = jax.grad(lambda x: jnp.sum(jnp.sin(keep_largest(x, 7, None, jnp.asarray(dead)))))(x)
    np.testing.assert_allclose(slope, np.where(here, np.cos(want), 0), atol=1e-6)


@pytest.mark.slow
def test_members_have_a_k_of_their_own(rows: np.ndarray) -> None:
    x, k = jnp.asarray(rows, jnp.float32), jnp.asarray([2, 9])
    found = jax.vmap(lambda k: kept(x, _by_counts(x, k, None)))(k)
    kernel = jax.vmap(lambda k: chosen("kernel", x, k))(k)
    for i, few in enumerate((2, 9)):
        np.testing.assert_array_equal(found[i], keep_largest(x, 9, jnp.int32(few)))
        np.testing.assert_array_equal(kernel[i], largest(x, few))


def test_counts_may_be_sums_over_devices(rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    mesh = Mesh(np.array(jax.devices()[:1]), ("feature",))

    def local(x: jax.Array) -> jax.Array:
        columns = jax.lax.axis_index("feature") * x.shape[1] + jnp.arange(x.shape[1], dtype=jnp.int32)[None]
        total = functools.partial(jax.lax.psum, axis_name="feature")
        return is_among(ordered(x), *cuts_of_rows(ordered(x), 7, columns, total), columns)

    spec = P(None, "feature")
    found = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec))(x)
    np.testing.assert_array_equal(found & ~np.isneginf(x), largest(x, 7))
