"""One pass over a corpus: every row once, one program, and a state that survives an interruption."""

import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64
from jaxinterp.corpus import Checkpoint, as_corpus, fold

SITE = "resid_post[1]"


def add(state: Any, batch: Any, acts: Any) -> Any:
    x = jnp.where(batch.positions[..., None], acts[SITE], 0)
    return state[0] + x.sum((0, 1)), state[1] + batch.positions.sum(dtype=jnp.int32)


def nothing() -> Any:
    return np.zeros(8, np.float32), np.int32(0)


def rows_and_sums(batch: Any, acts: Any) -> Any:
    x = jnp.where(batch.positions[..., None], acts[SITE], 0)
    return batch.rows, batch.positions.any(-1), x.sum(1)


def collect(state: Any, batch: Any, values: Any) -> Any:
    rows, there, sums = map(np.asarray, values)
    state[rows[there]] = sums[there]
    return state


def collected(corpus: Any, model: Any, **options: Any) -> np.ndarray:
    state = np.full((len(corpus), 8), np.nan)
    return fold(corpus, model, SITE, state, collect, per_batch=rows_and_sums, **options)


@pytest.mark.quick
def test_batches_of_any_size_equal_one_big_batch(model: Any, padded: Any) -> None:
    tokens, mask = padded
    corpus = as_corpus(tokens, mask=mask, positions=slice(1, None))
    _, acts = ji.run(model, tokens, capture=SITE, logits=False)
    x, counted = np.asarray(acts[SITE]), np.asarray(corpus.positions)
    for size in (1, 3, "auto"):
        total, count = fold(corpus, model, SITE, nothing(), add, batch_size=size)
        np.testing.assert_allclose(total, x[counted].sum(0), rtol=1e-6, atol=1e-5)
        assert count == counted.sum()
    # Rows in which nothing counts are not read, and those that fill a batch are nobody's.
    each = collected(corpus, model, batch_size=4)
    np.testing.assert_allclose(each[:6], np.where(counted[..., None], x, 0).sum(1)[:6], atol=1e-5)
    assert np.isnan(each[6]).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_equals_the_row_alone(model: Any, padded: Any, side: str) -> None:
    tokens, mask = padded
    if side == "left":
        moved = np.zeros_like(tokens)
        moved[mask[:, ::-1]] = tokens[mask]
        tokens, mask = moved, mask[:, ::-1]
    each = collected(as_corpus(tokens, mask=mask), model, batch_size=4)
    for i in (0, 1, 6):
        _, acts = ji.run(model, tokens[i][mask[i]], capture=SITE, logits=False)
        np.testing.assert_allclose(each[i], np.asarray(acts[SITE]).sum(0), atol=1e-5)


def test_one_program_serves_all_batches_and_stops_at_the_last_layer(
    model: Any, padded: Any, monkeypatch: Any
) -> None:
    tokens, mask = padded
    corpus = as_corpus(tokens, mask=mask)
    runs: list[Any] = []
    from jaxinterp.core import _engine

    blocks = _engine.Engine.run_blocks
    monkeypatch.setattr(
        _engine.Engine, "run_blocks", lambda self, *args: runs.append(args[2:]) or blocks(self, *args)
    )
    fold(corpus, model, "mlp_out[0]", np.float32(0), largest, batch_size=2)
    assert runs == [(0, 1)]  # traced once, blocks 0 to 1
    fold(as_corpus(tokens[::-1], mask=mask[::-1]), model, "mlp_out[0]", np.float32(1), largest, batch_size=2)
    assert len(runs) == 1
    assert fold(corpus, model, [], np.int32(0), count_rows, batch_size=3) == 7 and len(runs) == 1


def largest(state: Any, batch: Any, acts: Any) -> Any:
    return jnp.maximum(state, jnp.where(batch.positions[..., None], acts["mlp_out[0]"], -jnp.inf).max())


def count_rows(state: Any, batch: Any, acts: Any) -> Any:
    return state + batch.positions.any(-1).sum(dtype=jnp.int32)


def chosen_means(batch: Any) -> Any:
    return ji.at("mlp_post", pos=batch.positions, reduce="mean", name="x")


def by_label(state: Any, batch: Any, acts: Any) -> Any:
    there = batch.positions.any(-1)
    x = jnp.where(there[:, None], acts["x"][1], 0)
    return state.at[batch.extra].add(x)


@pytest.mark.slow
def test_captures_at_positions_of_the_batch_and_arrays_that_come_along(model: Any, padded: Any) -> None:
    tokens, mask = padded
    labels = np.asarray([0, 1, 0, 1, 1, 0, 0], np.int32)
    found = fold(
        as_corpus(tokens, mask=mask),
        model,
        chosen_means,
        np.zeros((2, 32), np.float32),
        by_label,
        extra=labels,
        batch_size=3,
    )
    rows = ji.data.activations(model, tokens, "mlp_post[1]", mask=mask, reduce="mean", progress=False)
    want = np.stack([rows[labels == label].sum(0) for label in (0, 1)])
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_integer_positions_count_real_tokens(model: Any, padded: Any) -> None:
    tokens, mask = padded
    request = ji.at("resid_post", layer=1, pos=-1)
    state = np.full((7, 8), np.nan)
    found = fold(as_corpus(tokens, mask=mask), model, request, state, keep_rows, per_batch=last_rows)
    _, acts = ji.run(model, tokens, capture=SITE, logits=False)
    np.testing.assert_allclose(found, np.asarray(acts[SITE])[np.arange(7), mask.sum(1) - 1], atol=1e-5)


def last_rows(batch: Any, acts: Any) -> Any:
    return batch.rows, acts["resid_post[1]"]


def keep_rows(state: Any, batch: Any, values: Any) -> Any:
    state[np.asarray(values[0])] = values[1]
    return state


class Stop(Exception):
    """An interruption."""


@pytest.mark.quick
def test_interrupted_and_resumed_equals_uninterrupted(
    model: Any, padded: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    tokens, mask = padded
    corpus = as_corpus(tokens, mask=mask)
    want = fold(corpus, model, SITE, nothing(), add, batch_size=2)
    from jaxinterp.corpus import _batches

    read = _batches.CorpusBatches.__getitem__
    numbers: list[int] = []

    def stop_at_two(self: Any, number: int) -> Any:
        numbers.append(number)
        if numbers == [0, 1, 2]:
            raise Stop
        return read(self, number)

    monkeypatch.setattr(_batches.CorpusBatches, "__getitem__", stop_at_two)
    kept = Checkpoint(tmp_path / "state.npz", every=1)
    with pytest.raises(Stop):
        fold(corpus, model, SITE, nothing(), add, batch_size=2, checkpoint=kept)
    again = fold(corpus, model, SITE, nothing(), add, batch_size=2, checkpoint=kept)
    assert numbers == [0, 1, 2, 2, 3]
    for a, b in zip(want, again, strict=True):
        np.testing.assert_array_equal(a, b)
    # By hand: a state and the number of the next batch.
    half = fold(corpus, model, SITE, nothing(), add, batch_size=2, batches=range(2))
    whole = fold(corpus, model, SITE, half, add, batch_size=2, batches=range(2, 4))
    np.testing.assert_array_equal(whole[0], want[0])
    # Of another corpus, and damaged.
    with pytest.raises(ValueError, match="with corpus="):
        fold(as_corpus(tokens), model, SITE, nothing(), add, batch_size=2, checkpoint=kept)
    (tmp_path / "state.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="damaged"):
        fold(corpus, model, SITE, nothing(), add, batch_size=2, checkpoint=kept)


def add_in_place(state: np.ndarray, batch: Any, found: Any) -> np.ndarray:
    """A step of plain Python; it stops once where the number of batches that are left says so."""
    if state[1] == 0:
        raise Stop
    state += np.array([np.asarray(found).sum(), -1], np.float64)
    return state


def sums(batch: Any, acts: Any) -> Any:
    return acts[SITE].sum((0, 1))


def test_a_state_of_numpy_that_was_read_back_is_added_to_in_place(
    model: Any, padded: Any, tmp_path: Any
) -> None:
    options: Any = {"per_batch": sums, "batch_size": 2, "progress": False}
    start = lambda left: np.array([0.0, left])
    want = fold(padded[0], model, SITE, start(9), add_in_place, **options)
    kept = Checkpoint(tmp_path / "state.npz", every=1)
    with pytest.raises(Stop):
        fold(padded[0], model, SITE, start(2), add_in_place, checkpoint=kept, **options)
    with np.load(kept.path) as file:
        saved = dict(file)
    np.savez(kept.path, **{**saved, "leaf_0": saved["leaf_0"] + [0, 9]})
    again = fold(padded[0], model, SITE, start(2), add_in_place, checkpoint=kept, **options)
    assert again[0] == want[0] and again[1] == 7


def wide(state: Any, batch: Any, acts: Any) -> Any:
    return state + acts[SITE].sum((0, 1))


def test_bad_input_is_told_before_anything_runs(model: Any, padded: Any) -> None:
    tokens, _ = padded
    for options, words in (
        ({"batch_size": 0}, "at least 1"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"batches": range(3)}, "batches of this corpus"),
        ({"extra": np.zeros(3)}, "one entry for each of the 7 rows"),
        ({"mesh": 8}, "mesh with the axis 'data'"),
    ):
        with pytest.raises(ValueError, match=words):
            fold(tokens, model, SITE, nothing(), add, **options)
    with pytest.raises(IndexError, match="Token ids lie in"):
        fold(tokens + 40, model, SITE, nothing(), add)
    with pytest.raises(ValueError, match="same shapes and dtypes as init"):
        fold(tokens, model, SITE, np.float32(0), wide)
    assert (
        fold(tokens, model, [], np.int32(0), count_rows, max_bytes=4 * 6 * 2) == 7
    )  # a bound on memory only cuts


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
import jaxinterp as ji
from tests.corpus.test_fold import SITE, add, collected, nothing

assert len(jax.devices()) == 4
config = ji.models.GPT2Config(vocab=40, ctx=8, layers=3, d=8, heads=2)
model = ji.models.GPT2.init(config, key=jax.random.key(0))
tokens = np.random.default_rng(1).integers(1, 40, (7, 6), dtype=np.int32)
mask = np.arange(6) < np.asarray([6, 3, 4, 6, 2, 5, 1])[:, None]
corpus = ji.corpus.as_corpus(tokens, mask=mask)
mesh = jax.make_mesh((2, 2), ("data", "model"))
for a, b in zip(
    ji.corpus.fold(corpus, model, SITE, nothing(), add, batch_size=3),
    ji.corpus.fold(corpus, model, SITE, nothing(), add, batch_size=3, mesh=mesh),
    strict=True,
):
    np.testing.assert_allclose(a, b, atol=1e-5)
np.testing.assert_allclose(collected(corpus, model), collected(corpus, model, mesh=mesh), atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_sharded_over_a_mesh_equals_unsharded() -> None:
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "equal" in done.stdout, done.stderr[-3000:]


def traced(state: Any, batch: Any, acts: Any) -> Any:
    TRACES.append(1)
    return state + jnp.where(batch.positions[..., None], acts[SITE], 0).sum()


TRACES: list[int] = []


@pytest.mark.parametrize("x64", [False, True])
def test_a_number_of_python_is_a_state_and_one_program_serves_all(model: Any, padded: Any, x64: bool) -> None:
    tokens, mask = padded
    TRACES.clear()
    with enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        total = fold(as_corpus(tokens, mask=mask), model, SITE, 0.0, traced, batch_size=2)
    assert len(TRACES) == 1 and total.dtype == (jnp.float64 if x64 else jnp.float32)


@pytest.mark.parametrize("batches", [[0, 1], 1, slice(0, 1), range(1, -1, -1), range(9)])
def test_batches_are_a_range(model: Any, padded: Any, batches: Any) -> None:
    with pytest.raises(ValueError, match=r"batches= is range\(start, stop\) within range\(4\)"):
        fold(padded[0], model, SITE, nothing(), add, batch_size=2, batches=batches)


def test_a_checkpoint_is_a_file_and_a_number_of_batches(model: Any, padded: Any) -> None:
    with pytest.raises(ValueError, match=r'checkpoint= is a file, such as "state\.npz"; got 3'):
        fold(padded[0], model, SITE, nothing(), add, checkpoint=3)
    with pytest.raises(ValueError, match="every, the number of batches between two writes, is an int of 1"):
        Checkpoint("state.npz", every=0)


def test_a_row_of_padding_alone_is_named(padded: Any) -> None:
    tokens, mask = padded
    with pytest.raises(ValueError, match=r"prompt 3 has none\. Drop such prompts"):
        as_corpus(tokens, mask=mask & (np.arange(7) != 3)[:, None])
