"""A store gives back what was put in, whatever happened while it was written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import _disk, data
from jaxinterp.corpus import _batches

from .conftest import random_model

SITES = ["mlp_post", "z[1]"]


@pytest.fixture(scope="module")
def options(mask: np.ndarray) -> dict[str, Any]:
    return {"positions": mask, "batch_size": 2, "shard": 2, "progress": False}


@pytest.fixture(scope="module")
def want(model: Any, tokens: Any, options: Any) -> Any:
    return data.activations(model, tokens, SITES, positions=options["positions"], batch_size=2)


@pytest.fixture(scope="module")
def store(model: Any, tokens: Any, options: Any, tmp_path_factory: Any) -> data.Store:
    path = tmp_path_factory.mktemp("stores") / "acts"
    return data.save_activations(path, model, tokens, SITES, **options)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_all_rows_by_index_and_by_layer(store: data.Store, want: Any, mask: Any) -> None:
    assert store.finished and len(store) == mask.sum() and len(store.shards) == 4
    assert store.max_error == {"mlp_post": 0.0, "z[1]": 0.0}
    np.testing.assert_array_equal(store.index, np.flatnonzero(mask))
    np.testing.assert_array_equal(store.read("mlp_post"), want["mlp_post"])
    rows = np.asarray([9, 0, 9, len(store) - 1, 3, 4])
    np.testing.assert_array_equal(store.read("z[1]", rows), want["z[1]"][rows])
    np.testing.assert_array_equal(store.read("z[1]", [-1]), want["z[1]"][[-1]])
    np.testing.assert_array_equal(store.read("mlp_post", slice(2, 9), layer=1), want["mlp_post"][1, 2:9])
    both = store.read(rows=rows)
    assert list(both) == SITES
    np.testing.assert_array_equal(both["mlp_post"], want["mlp_post"][:, rows])
    index = store.index[[5, 2]]
    np.testing.assert_array_equal(store.find(index), [5, 2])
    with pytest.raises(IndexError, match="positions left them out"):
        store.find([0])
    assert "4 of 4 shards" in repr(store) and store.shape("z[1]") == want["z[1]"].shape


def test_batches_are_addressed_by_number(store: data.Store, want: Any) -> None:
    n, size = len(store), 5
    seen = [rows for rows, _ in store.batches(size, site="z[1]", key=jax.random.key(3), epochs=2)]
    assert len(seen) == 2 * (n // size)
    first, second = np.concatenate(seen[: n // size]), np.concatenate(seen[n // size :])
    assert len(set(first)) == len(first) and (first != second).any()
    rows, x = store.batch(n // size + 1, size, site="z[1]", key=jax.random.key(3))
    np.testing.assert_array_equal(rows, seen[n // size + 1])
    np.testing.assert_array_equal(x, want["z[1]"][rows])
    again = [rows for rows, _ in store.batches(size, site="z[1]", key=jax.random.key(3), start=4, epochs=2)]
    np.testing.assert_array_equal(again, seen[4:])
    np.testing.assert_array_equal(store.batch(1, size, site="z[1]")[0], np.arange(5, 10))
    with pytest.raises(ValueError, match="Randomness comes from a key"):
        store.batch(0, size, site="z[1]", key=np.random.default_rng(0))
    with pytest.raises(ValueError, match="A batch has 1"):
        store.batch(0, n + 1, site="z[1]")


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float16"])
def test_smaller_numbers_and_their_stated_error(
    dtype: str, model: Any, tokens: Any, options: Any, want: Any, tmp_path: Path
) -> None:
    store = data.save_activations(tmp_path / "a", model, tokens, SITES, dtype=dtype, **options)
    for site in SITES:
        error = np.abs(store.read(site).astype(np.float32) - want[site]).max()
        assert 0 < error <= store.max_error[site] <= (0.03 if dtype == "int8" else 0.02)
    assert (
        np.abs(store.read("mlp_post", [7, 1], layer=1).astype(np.float32) - want["mlp_post"][1, [7, 1]]).max()
        <= store.max_error["mlp_post"]
    )
    shard = next((tmp_path / "a").glob("*-00-x.npy"))
    assert np.load(shard, allow_pickle=False).dtype.itemsize == (1 if dtype == "int8" else 2)


def test_one_row_per_sequence(model: Any, tokens: Any, mask: Any, tmp_path: Path) -> None:
    store = data.save_activations(
        tmp_path / "a", model, tokens, "mlp_post", positions=mask, reduce="mean", batch_size=7, shard=3
    )
    want = data.activations(model, tokens, "mlp_post", positions=mask, reduce="mean", batch_size=7)
    np.testing.assert_array_equal(store.read(), want)
    np.testing.assert_array_equal(store.index, np.arange(7))


class Killed(BaseException):
    """As sudden as a signal: nothing but `finally` sees it."""


@pytest.mark.slow
def test_killed_at_any_write_and_resumed(
    model: Any, tokens: Any, options: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    whole = data.save_activations(tmp_path / "whole", model, tokens, SITES, dtype="int8", **options)
    wanted = contents(whole.path)
    real = os.replace
    moves = len(wanted)
    for stage in range(moves):
        path = tmp_path / f"{stage}"
        left = [stage]

        def replace(a: Any, b: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(a, b)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            data.save_activations(path, model, tokens, SITES, dtype="int8", **options)
        monkeypatch.undo()
        left_behind = path / f"{_disk.temporary()[:-8]}00000000"  # what a power cut leaves
        left_behind.write_bytes(b"half a shard")
        if stage >= 2:
            part = data.Store(path)
            assert not part.finished
            with pytest.raises(data.BadStore, match="not finished"):
                part.read("z[1]")
        resumed = data.save_activations(path, model, tokens, SITES, dtype="int8", **options)
        assert resumed.finished and contents(path) == wanted


def test_a_resumed_store_does_not_run_what_it_has(
    model: Any, tokens: Any, options: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "a"
    store = data.save_activations(path, model, tokens, SITES, **options)
    ran = []
    real = _batches.CorpusBatches.__getitem__
    monkeypatch.setattr(_batches.CorpusBatches, "__getitem__", lambda *a: ran.append(1) or real(*a))
    (path / "000002.json").unlink()
    data.save_activations(path, model, tokens, SITES, **options)
    assert len(ran) == 1 and store.finished
    data.save_activations(path, model, tokens, SITES, **options)
    assert len(ran) == 1


@pytest.mark.slow
def test_a_process_killed_for_good(tmp_path: Path, model: Any, tokens: Any, options: Any) -> None:
    whole = data.save_activations(tmp_path / "whole", model, tokens, "z[1]", **options)
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import numpy as np
from tests.data.conftest import random_model
from jaxinterp import data
from jaxinterp.data import _save
write = _save.write_json
def fatal(path, value):
    if path.name == "000001.json":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
_save.write_json = fatal
tokens = np.random.default_rng(1).integers(1, 40, (7, 6), dtype=np.int32)
mask = np.random.default_rng(2).random(tokens.shape) > 0.4
mask[:, 0], mask[:, 2] = False, True
data.save_activations({str(tmp_path / "a")!r}, random_model(), tokens, "z[1]",
                      positions=mask, batch_size=2, shard=2, progress=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=False
    )
    assert done.returncode == -9
    assert not data.Store(tmp_path / "a").finished
    data.save_activations(tmp_path / "a", model, tokens, "z[1]", **options)
    assert contents(tmp_path / "a") == contents(whole.path)


def test_a_full_disk_leaves_nothing_half_written(
    model: Any, tokens: Any, options: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    path, left = tmp_path / "a", [4]

    def full(*args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        data.save_activations(path, model, tokens, SITES, dtype="int8", **options)
    monkeypatch.undo()
    assert not list(path.glob(".partial*"))
    data.save_activations(path, model, tokens, SITES, dtype="int8", **options)


@pytest.mark.slow
def test_another_model_or_request_is_not_gone_on_with(
    store: data.Store, model: Any, tokens: Any, options: Any, tmp_path: Path
) -> None:
    other = random_model(1)
    path = store.path

    def wrong(match: str, model: Any, tokens: Any, sites: Any, **more: Any) -> None:
        with pytest.raises(data.BadStore, match=match):
            data.save_activations(path, model, tokens, sites, **{**options, **more})

    wrong("another model", other, tokens, SITES)
    wrong("another sites", model, tokens, "mlp_post")
    wrong("another int8", model, tokens, SITES, dtype="int8")
    wrong("another shards", model, tokens, SITES, shard=4)
    wrong("another data", model, (tokens + 1) % 40, SITES)
    store.check(model)
    with pytest.raises(data.BadStore, match="another model"):
        store.check(other)
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(data.BadStore, match="not empty"):
        data.save_activations(tmp_path, model, tokens, SITES, **options)
    with pytest.raises(ValueError, match="dtype is a float dtype"):
        data.save_activations(tmp_path / "b", model, tokens, SITES, dtype="int32", **options)
    with pytest.raises(ValueError, match="JSON"):
        data.save_activations(tmp_path / "b", model, tokens, SITES, about={1j}, **options)
    with pytest.raises(ValueError, match="shard is the number"):
        data.save_activations(tmp_path / "b", model, tokens, SITES, **{**options, "shard": 0})
    assert not (tmp_path / "b").exists()


def test_damage_is_found(model: Any, tokens: Any, options: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    data.save_activations(path, model, tokens, "z[1]", **options)
    shard, manifest = path / "000001-00-x.npy", path / "manifest.json"
    good, about = shard.read_bytes(), json.loads(manifest.read_text())

    shard.write_bytes(good[:-8])
    with pytest.raises(data.BadStore, match="cut short"):
        data.Store(path).read()
    np.save(shard, np.asarray([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(data.BadStore, match="cut short or no"):
        data.Store(path).read()
    shard.unlink()
    with pytest.raises(data.BadStore, match="missing"):
        data.Store(path).read()
    outside = tmp_path / "outside.npy"
    outside.write_bytes(good)
    shard.symlink_to(outside)
    with pytest.raises(data.BadStore, match="leads out"):
        data.Store(path).read()
    data.save_activations(path, model, tokens, "z[1]", **options)  # writes the shard anew
    assert outside.read_bytes() == shard.read_bytes() == good and not shard.is_symlink()

    for change, match in [
        ({"format": "other"}, "no store"),
        ({"version": 9}, "version 9"),
        ({"shards": [0, 5, 3]}, "do not follow"),
        ({"sites": [{**about["sites"][0], "dtype": "object"}]}, "no dtype"),
        ({"sites": [{**about["sites"][0], "row": [3, 3]}]}, "the manifest says"),
        ({"sites": [{**about["sites"][0], "row": [0]}]}, "'row' must be a list of"),
        ({"sites": [{}]}, "sites lacks 'name', a text"),
        ({"sites": 3}, "'sites' must be a list of at least 1"),
    ]:
        manifest.write_text(json.dumps({**about, **change}))
        with pytest.raises(data.BadStore, match=match):
            data.Store(path).read()
    manifest.write_text("{")
    with pytest.raises(data.BadStore, match="not JSON"):
        data.Store(path)
    with pytest.raises(FileNotFoundError, match="save_activations"):
        data.Store(tmp_path / "nowhere")


def test_rows_and_sites_that_are_not_there(store: data.Store) -> None:
    with pytest.raises(IndexError, match="rows 0"):
        store.read("z[1]", [len(store)])
    with pytest.raises(ValueError, match="holds"):
        store.read("z")
    with pytest.raises(ValueError, match="without a layer axis"):
        store.read("z[1]", layer=0)
    with pytest.raises(IndexError, match="2 layers"):
        store.read("mlp_post", layer=2)


def test_codes_of_eight_bits_keep_their_bound() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 500, 9)) * 10.0 ** rng.integers(-6, 7, (3, 1, 9))).astype(np.float32)
    x[:, :, 0] = 7.25  # never changes
    x[0, :, 1] = 1e6 + rng.random(500)
    codes = data.encode(x, axis=1)
    assert codes.codes.dtype == np.uint8 and (codes.scale[:, 0] == 1).all()
    error = np.abs(data.decode(codes, axis=1).astype(np.float64) - x).max(1)
    assert (error <= data.error_bound(codes)).all() and (error[:, 0] == 0).all()
    with pytest.raises(ValueError, match="NaN"):
        data.encode(np.asarray([[np.inf], [0]], np.float32))
    with pytest.raises(ValueError, match="no rows"):
        data.encode(np.zeros((0, 3), np.float32))
