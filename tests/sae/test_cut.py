"""Cuts by counting beside `jax.lax.top_k`: the same entries, ties and all; as plain JAX, and the kernel interpreted."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxinterp._jax_versions import enable_x64
from jaxinterp.sae.kinds._cut import cuts_of_rows, is_among, ordered, unordered
from jaxinterp.sae.kinds._cut_kernel import cuts_by_kernel, fits_kernel
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
    """The entries that `jax.lax.top_k` returns."""
    _, where = jax.lax.top_k(jnp.asarray(x), k)
    chosen = np.zeros(x.shape, bool)
    np.put_along_axis(chosen, np.asarray(where), True, 1)
    return chosen


def chosen(form: Any, x: Any, k: Any, bits: int = 1) -> np.ndarray:
    k = jnp.broadcast_to(jnp.asarray(k, jnp.int32), (len(x), 1))
    keys = ordered(jnp.asarray(x))
    cuts = (
        cuts_by_kernel(x, k, interpret=True)
        if form == "kernel"
        else cuts_of_rows(keys, k, COLUMNS, bits=bits)
    )
    return is_among(keys, *cuts, COLUMNS)


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


def test_several_guesses_a_pass_and_64_bits(rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    np.testing.assert_array_equal(chosen("counts", x, 7, 4), largest(x, 7))
    with enable_x64(True):
        fine = rows + 1e-12 * np.arange(M)  # equal as float32
        assert not fits_kernel((4096, 24_576), jnp.float64) and fits_kernel((4096, 24_576), jnp.float32)
        np.testing.assert_array_equal(chosen("counts", fine, 7), largest(fine, 7))
        np.testing.assert_array_equal(unordered(ordered(jnp.asarray(fine))), fine)


def test_features_that_do_not_count_and_values(rows: np.ndarray) -> None:
    x = jnp.asarray(rows, jnp.float32)
    x, dead, seven = x.at[0, 3].set(9.0), np.arange(M) % 3 == 0, jnp.int32(7)
    hidden = np.where(dead, x, -np.inf)
    here = largest(hidden, 7) & np.isfinite(hidden)
    want = np.where(here, hidden, 0)
    k = jnp.full((16, 1), 7, jnp.int32)
    keys = ordered(jnp.asarray(hidden))
    cuts = cuts_by_kernel(x, k, jnp.asarray(dead), interpret=True)
    np.testing.assert_array_equal(is_among(keys, *cuts, COLUMNS), largest(hidden, 7))
    np.testing.assert_array_equal(kept(x, _by_counts(x, seven, jnp.asarray(dead)), jnp.asarray(dead)), want)
    keep = jax.jit(lambda x: keep_largest(x, 7, None, jnp.asarray(dead)))
    np.testing.assert_array_equal(keep(x), want)
    np.testing.assert_array_equal(keep(x.reshape(2, 8, M)), want.reshape(2, 8, M))
    # The gradient reaches what was kept.
    slope = jax.grad(lambda x: jnp.sum(jnp.sin(keep_largest(x, 7, None, jnp.asarray(dead)))))(x)
    np.testing.assert_allclose(slope, np.where(here, np.cos(want), 0), atol=1e-6)


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
    np.testing.assert_array_equal(found, largest(x, 7))
