"""Checkpoint files that are cut, broken, elsewhere or not there; what the reader holds meanwhile."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxinterp import hub
from jaxinterp._jax_versions import enable_x64
from jaxinterp.hub import BadCheckpoint, LazyTensor, UnknownModel
from jaxinterp.hub._safetensors import open_safetensors
from jaxinterp.hub._tensors import inside

from .conftest import same


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
)
def test_safetensors_dtypes(tmp_path: Path, dtype: str) -> None:
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    save_file({"x": array}, tmp_path / "x.safetensors")
    tensor = open_safetensors(tmp_path / "x.safetensors")["x"]
    assert (tensor.shape, tensor.dtype, tensor.nbytes) == ((2, 3), kind, array.nbytes)
    assert tensor.read().dtype == kind
    assert tensor.read().tobytes() == array.tobytes()


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "header": b"\xff" * 8 + data[8:],
            "json": data[:8] + b"x" * 20 + data[28:],
            "empty": b"",
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "longer": data + b"\0" * 7,
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "header", "json", "empty", "pointer", "longer"])
def test_damaged_safetensors(gpt2: Any, tmp_path: Path, how: str) -> None:
    hub.export(tmp_path, gpt2)
    damage(tmp_path / "model.safetensors", how)
    words = "Git LFS pointer" if how == "pointer" else "truncated or corrupt.*Fetch it again"
    with pytest.raises(BadCheckpoint, match=words) as error:
        hub.load(tmp_path)
    assert "model.safetensors" in str(error.value)


def sharded(model: Any, folder: Path) -> Path:
    hub.export(folder, model, max_shard_bytes=3000)
    return folder / "model.safetensors.index.json"


def redirect(index: Path, name: str, target: Any) -> None:
    content = json.loads(index.read_text())
    first = next(iter(content["weight_map"]))
    content["weight_map"] = {
        key: target if key == first else value for key, value in content["weight_map"].items()
    }
    index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "target",
    [
        "../secret.safetensors",
        "a/../../secret.safetensors",
        "..\\secret.safetensors",
        "{absolute}",
        "C:\\secret.safetensors",
        "",
        "link.safetensors",
        7,
    ],
)
def test_an_index_that_points_outside(gpt2: Any, tmp_path: Path, target: Any) -> None:
    folder = tmp_path / "model"
    index = sharded(gpt2, folder)
    secret = tmp_path / "secret.safetensors"
    save_file({"x": np.zeros(1)}, secret)
    if target == "{absolute}":
        target = str(secret)
    if target == "link.safetensors":
        os.symlink(secret, folder / target)
    redirect(index, "x", target)
    words = (
        "the name of a file, a text; got 7 at 'transformer"
        if target == 7
        else "only name files inside its own folder.*Nothing was read"
    )
    with pytest.raises((BadCheckpoint, FileNotFoundError), match=words):
        hub.load(folder)


def test_links_into_the_cache_are_allowed(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    (blobs / "1").write_text("x")
    os.symlink("../../blobs/1", snapshot / "x.safetensors")
    assert inside(snapshot, "x.safetensors", said_by="The index") == snapshot / "x.safetensors"


def test_an_index_that_promises_too_much(gpt2: Any, tmp_path: Path) -> None:
    index = sharded(gpt2, tmp_path)
    content = json.loads(index.read_text())
    content["weight_map"]["extra"] = content["weight_map"]["transformer.wte.weight"]
    index.write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match="promises 'extra' in model-"):
        hub.load(tmp_path)
    index.write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(BadCheckpoint, match="must hold a `weight_map`"):
        hub.load(tmp_path)
    index.write_text("{")
    with pytest.raises(BadCheckpoint, match="is not JSON"):
        hub.load(tmp_path)


def test_a_shard_that_is_not_there(gpt2: Any, tmp_path: Path) -> None:
    sharded(gpt2, tmp_path)
    lost = sorted(tmp_path.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=f"{lost.name}.*download is incomplete"):
        hub.load(tmp_path)


def test_no_weights_no_config(gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.export(tmp_path, gpt2)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.bin.*The folder holds config\.json"):
        hub.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BadCheckpoint, match=r"config\.json must hold a JSON object"):
        hub.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gp')
    with pytest.raises(BadCheckpoint, match=r"config\.json is not JSON.*truncated or corrupt"):
        hub.load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has a config\.json; .* has none"):
        hub.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        hub.load(tmp_path / "absent")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(FileNotFoundError, match=r"has a config\.json; .* has none"):
        hub.load(tmp_path.name)
    with pytest.raises(ValueError, match=r"is a file. Give the folder"):
        (tmp_path / "x.safetensors").write_bytes(b"")
        hub.load(tmp_path / "x.safetensors")


def test_unknown_names() -> None:
    with pytest.raises(UnknownModel) as error:
        hub.load("pythia-70m-dedup")
    words = str(error.value)
    assert "no model 'pythia-70m-dedup'; did you mean 'pythia-70m-deduped'" in words
    assert "tiny, gpt2" in words
    assert "organisation/name" in words
    with pytest.raises(UnknownModel, match="no model 'a/b/c'"):
        hub.load("a/b/c")


def test_the_embedded_model(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name "tiny" is the folder `_tiny` of the package, in GPT-NeoX's layout."""
    monkeypatch.setattr("jaxinterp.hub._find.__file__", str(tmp_path / "hub" / "_find.py"))
    with pytest.raises(FileNotFoundError, match=r"embedded model is not in .*_tiny.*install"):
        hub.load("tiny")
    hub.export(tmp_path / "_tiny", make("neox"))
    model, _ = hub.load("tiny")
    assert same(model, make("neox"))
    assert (model.config.source.name, model.config.source.revision) == ("tiny", None)
    with pytest.raises(ValueError, match="Revisions are of the hub"):
        hub.load("tiny", "step3000")


def test_dtypes_of_a_load(gpt2: Any, tmp_path: Path) -> None:
    hub.export(tmp_path, gpt2)
    half, _ = hub.load(tmp_path, dtype="bfloat16")
    assert same(half, jax.tree.map(lambda x: x.astype(jax.numpy.bfloat16), gpt2))
    with pytest.raises(ValueError, match="floating-point numbers; got dtype='int32'"):
        hub.load(tmp_path, dtype="int32")
    with pytest.raises(ValueError, match="'float33'"):
        hub.load(tmp_path, dtype="float33")
    with pytest.raises(ValueError, match="jax_enable_x64"):
        hub.load(tmp_path, dtype="float64")
    with enable_x64(True):
        assert hub.load(tmp_path, dtype="float64")[0].w_embed.dtype == "float64"


def test_each_tensor_is_read_once_and_let_go(make: Callable[..., Any]) -> None:
    """Beside the finished leaves there is never more than one tensor and one row's leaves."""
    model = make("neox", layers=6, d=64, vocab=500)
    port = hub.all_ports()["gpt_neox"]
    from jaxinterp.hub._rows import unfill

    arrays = unfill(port, model)
    reads: list[str] = []

    def lazy(name: str) -> LazyTensor:
        array = arrays[name]

        def read() -> np.ndarray:
            reads.append(name)
            return array.copy()

        return LazyTensor(array.shape, array.dtype, read)

    tensors = {name: lazy(name) for name in arrays}
    total = sum(x.nbytes for x in jax.tree.leaves(model))
    row = 6 * max(arrays[n].nbytes for n in arrays if ".0." in n)
    largest = max(x.nbytes for x in arrays.values())
    hub.build(port, model.config, tensors)  # compiled and cached once
    reads.clear()
    tracemalloc.start()
    again = hub.build(port, model.config, tensors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(again, model)
    assert sorted(reads) == sorted(arrays)
    assert row < total / 2
    assert peak < total + largest + 300_000


def test_provenance(gpt2: Any, tmp_path: Path) -> None:
    import hashlib

    hub.export(tmp_path, gpt2)
    source = hub.load(tmp_path)[0].config.source
    data = (tmp_path / "model.safetensors").read_bytes()
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert (source.name, source.path) == (str(tmp_path), str(tmp_path))
    assert (source.format, source.port, source.licence) == ("safetensors", "gpt2.toml", None)
    assert source.files == ("model.safetensors",)
    assert hub.load(tmp_path)[0].config == gpt2.config
    (tmp_path / "model.safetensors").unlink()
    sharded(gpt2, tmp_path)
    files = sorted(tmp_path.glob("model-*.safetensors"))
    each = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    expected = hashlib.sha256("\n".join(each).encode()).hexdigest()
    assert hub.load(tmp_path)[0].config.source.sha256 == expected


def test_a_bar_for_long_loads(
    gpt2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.export(tmp_path, gpt2)
    hub.load(tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("jaxinterp.hub._load.PROGRESS_BYTES", 0)
    hub.load(tmp_path)
    assert "Loading" in capsys.readouterr().err
