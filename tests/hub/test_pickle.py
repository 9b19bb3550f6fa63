"""Torch files without torch: every dtype and layout, and nothing is ever executed."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxinterp import hub
from jaxinterp.hub import BadCheckpoint, UnsafePickle, read_torch
from jaxinterp.hub._pickle import open_torch, open_torch_state

from .conftest import same
from .torch_files import BFLOAT16, KINDS, Raw, call, encode, name_of, tensor, write, write_state


@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype(tmp_path: Path, kind: str) -> None:
    dtype = BFLOAT16 if kind == "bfloat16" else np.dtype(kind)
    array = (np.arange(12).reshape(3, 4) % 2 if kind == "bool" else np.arange(12).reshape(3, 4)).astype(dtype)
    found = read_torch(write_state(tmp_path / "x.pt", {"a.b": array}))
    assert list(found) == ["a.b"]
    assert found["a.b"].dtype == dtype
    assert found["a.b"].tobytes() == array.tobytes()


def test_a_file_that_torch_wrote() -> None:
    """Every dtype, views, parameters and containers, against what torch said (golden/make.py)."""
    golden = Path(__file__).parent / "golden"
    found = read_torch(golden / "torch_all.pt")
    with np.load(golden / "torch_all.npz") as expected:
        for name in expected:
            assert np.array_equal(found[name].astype(expected[name].dtype), expected[name]), name
            assert found[name].shape == expected[name].shape
    assert found["bfloat16"].dtype == BFLOAT16
    assert found["float8_e5m2"].dtype.name == "float8_e5m2"
    assert (found["size"], found["device"], found["dtype"]) == ((2, 3), "cpu", BFLOAT16)
    assert found["nested"]["list"] == [1, 2.0, "x", None, (1, 2)]
    assert found["nested"][3]["weight"].shape == (2, 2)


def test_strides_offsets_and_shared_storages(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.float32)
    value = {
        "transposed": tensor("0", "float32", (4, 3), (1, 4), 24),
        "slice": tensor("0", "float32", (2, 2), (8, 2), 24, offset=5),
        "row": tensor("0", "float32", (3,), (0,), 24, offset=7),
        "scalar": tensor("0", "float32", (), (), 24, offset=9),
        "empty": tensor("0", "float32", (0, 3), (3, 1), 24),
    }
    path = write(tmp_path / "x.pt", value, {"0": data.tobytes()})
    found = read_torch(path)
    grid = data.reshape(6, 4)
    assert np.array_equal(found["transposed"], grid[:3].T)
    assert found["slice"].tolist() == [[5, 7], [13, 15]]
    assert found["row"].tolist() == [7, 7, 7]
    assert found["scalar"] == 9
    assert found["empty"].shape == (0, 3)


def test_containers_and_parameters(tmp_path: Path) -> None:
    inner = tensor("0", "float32", (2,), (1,), 2)
    value = {
        "parameter": call("torch._utils._rebuild_parameter", inner, True, call("collections.OrderedDict")),
        "list": [1, 2.5, "three", None, True, (4,)],
        "size": call("torch.Size", [2, 3]),
        "dtype": name_of("torch.bfloat16"),
        "device": call("torch.device", "cuda", 0),
        7: {"deep": inner},
    }
    found = read_torch(write(tmp_path / "x.pt", value, {"0": np.ones(2, np.float32).tobytes()}))
    assert found["parameter"].tolist() == [1, 1]
    assert found["list"] == [1, 2.5, "three", None, True, (4,)]
    assert found["size"] == (2, 3)
    assert found["dtype"] == BFLOAT16
    assert found["device"] == "cuda:0"
    assert found[7]["deep"].tolist() == [1, 1]


def test_big_endian_files(tmp_path: Path) -> None:
    data = np.arange(3, dtype=">f4")
    value = {"a": tensor("0", "float32", (3,), (1,), 3)}
    found = read_torch(write(tmp_path / "x.pt", value, {"0": data.tobytes()}, order="big"))
    assert found["a"].tolist() == [0, 1, 2]


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write_state(tmp_path / "x.pt", {"a": np.ones(5, np.float32), "b": np.ones(3, np.float32)})
    tensors = open_torch_state(path)
    assert tensors["a"].shape == (5,)
    path.unlink()
    with pytest.raises(BadCheckpoint, match="fetch it again"):
        tensors["b"].read()


EVIL = {
    "os.system": call("os.system", "touch pwned"),
    "posix.system": call("posix.system", "touch pwned"),
    "builtins.eval": call("builtins.eval", "open('pwned','w')"),
    "builtins.getattr": call("builtins.getattr", name_of("torch.Size"), "__class__"),
    "torch.storage._load_from_bytes": call("torch.storage._load_from_bytes", "x"),
    "torch._utils.os.system": Raw(b"ctorch._utils\nos.system\n" + encode(("touch pwned",)) + b"R"),
    "subprocess.Popen": Raw(b"(X\x05\x00\x00\x00touchisubprocess\nPopen\n"),
}


@pytest.mark.parametrize("wanted", EVIL)
def test_a_pickle_that_executes_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda *args: pytest.fail("executed"))
    path = write(tmp_path / "pytorch_model.bin", {"weight": EVIL[wanted]})
    with pytest.raises(UnsafePickle) as error:
        read_torch(path)
    assert f"asks for {wanted}" in str(error.value)
    assert "Nothing was executed" in str(error.value)
    assert str(path) in str(error.value)
    assert not (tmp_path / "pwned").exists()


def test_the_reader_itself_cannot_be_changed(tmp_path: Path) -> None:
    """BUILD on what the pickle may hold: functions keep their defaults, storages their entries."""
    for target in (
        "torch._utils._rebuild_tensor_v2",
        "torch.FloatStorage",
        "collections.OrderedDict",
    ):
        attack = Raw(name_of(target).code + encode((None, {"function": 1, "dtype": "x"})) + b"b")
        with pytest.raises(UnsafePickle, match="tries to change the reader"):
            read_torch(write(tmp_path / "x.pt", [attack]))


def test_persistent_ids_other_than_storages(tmp_path: Path) -> None:
    with pytest.raises(UnsafePickle, match="not a storage"):
        read_torch(write(tmp_path / "x.pt", Raw(encode(("module", "os", "x")) + b"Q")))


BROKEN: dict[str, tuple[Any, dict[str, bytes], str]] = {
    "beyond": (
        tensor("0", "float32", (3,), (1,), 2),
        {"0": bytes(8)},
        "reaches beyond its storage",
    ),
    "stride": (
        tensor("0", "float32", (2,), (9,), 2),
        {"0": bytes(8)},
        "reaches beyond its storage",
    ),
    "negative": (tensor("0", "float32", (2,), (-1,), 2), {"0": bytes(8)}, "stride \\(-1,\\)"),
    "count": (tensor("0", "float32", (2,), (1,), 99), {"0": bytes(8)}, "should hold 99 elements"),
    "absent": (tensor("5", "float32", (2,), (1,), 2), {"0": bytes(8)}, "'5' is not in the file"),
    "escape": (tensor("../../x", "float32", (2,), (1,), 2), {"0": bytes(8)}, "is not in the file"),
    "huge": (
        tensor("0", "float32", (10**6, 10**6), (0, 0), 2),
        {"0": bytes(8)},
        "repeats its storage",
    ),
    "memo": (Raw(b"Nr\xff\xff\xff\x7f"), {}, "asks for 2147483647 memo slots"),
    "opcodes": (Raw(b"\xff\xff"), {}, "the pickle inside is corrupt"),
    "deep": (Raw(b"]" * 3000 + b"a" * 2999), {}, None),
}  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", BROKEN)
def test_corrupt_contents(tmp_path: Path, kind: str) -> None:
    value, storages, words = BROKEN[kind]
    path = write(tmp_path / "x.pt", [value], storages)
    if words is None:
        open_torch(path)  # nests deeply, but is nothing but lists
        return
    with pytest.raises(BadCheckpoint, match=words) as error:
        read_torch(path)
    assert str(path) in str(error.value)


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    value = tensor("0", "float32", (2,), (1,), 2)
    path = write(tmp_path / "x.pt", value, {"0": bytes(8)}, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadCheckpoint, match="compressed"):
        read_torch(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "torch before 1.6"),
        (b"\x80\x02}q\x00.", "a bare pickle"),
        (b"PK\x03\x04" + bytes(50), "a truncated zip"),
        (b"hello", "another file"),
    ],
)
def test_files_that_are_no_zip(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=words):
        read_torch(path)


def test_other_zips(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    with pytest.raises(BadCheckpoint, match="not a checkpoint of torch"):
        read_torch(path)


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = write_state(tmp_path / "x.pt", {"a": np.full(1000, 7, np.float32)})
    data = bytearray(path.read_bytes())
    at = data.find(np.full(20, 7, np.float32).tobytes()) + 40
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"corrupt.*CRC"):
        read_torch(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write_state(tmp_path / "x.pt", {"a": np.ones(1000, np.float32)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadCheckpoint, match="truncated"):
        read_torch(path)


def test_any_damage_is_named(tmp_path: Path) -> None:
    """Bytes changed at random, most of them where the structure is: our errors or none."""
    data = (Path(__file__).parent / "golden" / "torch_all.pt").read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "x.pt", 0
    for _ in range(100):
        broken = bytearray(data[: len(data) if rng.random() < 0.9 else rng.integers(len(data))])
        for at in rng.integers(len(broken), size=rng.integers(1, 4)):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_torch(path)
        except BadCheckpoint:
            refused += 1
    assert refused > 50
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_torch(tmp_path / "absent.pt")


def test_a_model_from_a_torch_checkpoint(gpt2: Any, tmp_path: Path) -> None:
    """`pytorch_model.bin`, whole and sharded, gives the model that safetensors gives."""
    from safetensors.numpy import load_file

    hub.export(tmp_path, gpt2)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    write_state(tmp_path / "pytorch_model.bin", tensors)
    model, _ = hub.load(tmp_path)
    assert same(model, gpt2)
    assert model.config.source.format == "torch"
    (tmp_path / "pytorch_model.bin").unlink()
    names = list(tensors)
    halves = {
        "pytorch_model-00001-of-00002.bin": names[:9],
        "pytorch_model-00002-of-00002.bin": names[9:],
    }
    weight_map = {}
    for file, part in halves.items():
        write_state(tmp_path / file, {name: tensors[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    import json

    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert same(hub.load(tmp_path)[0], gpt2)


def test_a_state_dict_is_needed(tmp_path: Path) -> None:
    nested = {"model": {"w": tensor("0", "float32", (2,), (1,), 2)}, "step": 3}
    path = write(tmp_path / "x.pt", nested, {"0": bytes(8)})
    with pytest.raises(BadCheckpoint, match=r"'model' is a dict.*ji\.hub\.read_torch"):
        open_torch_state(path)
    assert read_torch(path)["model"]["w"].tolist() == [0, 0]
