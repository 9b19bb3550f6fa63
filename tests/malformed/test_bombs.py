"""Small files that mean a lot: each is refused within a second, in little memory, with a sentence."""

import gzip
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization  # noqa: F401  (so that no import is counted)
import numpy as np
import pytest

import jaxinterp as ji
import jaxinterp.lens
import jaxinterp.sae
from jaxinterp import hub

from . import valid
from .test_malformed import MEMORY, SECONDS, forget_peak, peak

NEST = b"]q\x00" + b"".join(b"(h%ch%cl" % (i, i) + b"q%c" % (i + 1) for i in range(24)) + b"."
PAIRS = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n("
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
WIDE = TENSOR + STORAGE + b"K\x00J\x00\x00\x00\x04\x85K\x00\x85\x89}tR"  # 2**26 numbers of one


def torch_file(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + program)
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/data/0", bytes(16))
    return path


PICKLES = {
    "lists of lists of lists": NEST,
    "a list that holds itself": b"]q\x00h\x00a.",
    "keys whose hash takes an age": PAIRS + b"}q\xffh(K\x01s.",
    "strides of zero": b"](" + WIDE * 40 + b"e.",
    "more steps than any checkpoint": b"](" + b"]" * 2**21 + b"e.",
    "an int of many digits": b"\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20 + b".",
    "a line without end": b"I" + b"1" * 2**20 + b".",
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles(tmp_path: Path, what: str) -> None:
    path = torch_file(tmp_path / "x.pt", PICKLES[what])
    refused(lambda: hub.read_torch(path), "x.pt", seconds=3 * SECONDS if "steps" in what else SECONDS)


def refused(read: Callable[[], Any], *words: str, seconds: float = SECONDS) -> None:
    forget_peak()
    before, start = peak(), time.process_time()
    with pytest.raises((ValueError, OSError)) as error:
        read()
    assert time.process_time() - start < seconds
    assert peak() - before < MEMORY
    assert all(word in str(error.value) for word in words), error.value


def test_zip_archives(tmp_path: Path) -> None:
    """A directory of 2**32 bytes, and arrays that unpack to a thousand times their bytes."""
    path = torch_file(tmp_path / "x.pt", b"N.")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    refused(lambda: hub.read_torch(path), "x.pt", "list of entries")
    params = tmp_path / "params.npz"
    np.savez_compressed(params, **{name: np.zeros((2**13, 2**13), np.uint8) for name in ("W_enc", "W_dec")})
    refused(lambda: ji.sae.load(tmp_path), "params.npz", "unpacks to")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text in (
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b"[" + b"[]," * 10**6 + b"0]",
        b"9" * 10**6,
        b'{"a": 1, "a": 2}',
        b'"' + b"x" * 2**25 + b'"',
        b"\xff\xfe{",
    ):
        path.write_bytes(text)
        refused(lambda: hub.read_json(path), "config.json")
    path.write_text('{"a": NaN}')
    assert np.isnan(hub.read_json(path)["a"])
    refused(lambda: hub.read_json(path, constants=False), "NaN is no number of JSON")
    path.write_text(json.dumps({"a": "x" * 2**25}))
    assert len(hub.read_json(path, max_bytes=2**26)["a"]) == 2**25


def test_an_index_of_many_files(tmp_path: Path) -> None:
    names = {f"w.{i}": f"model-{i}.safetensors" for i in range(200_000)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    refused(lambda: hub.open_weights(tmp_path), "200,000 files", "at most 4,096")


def test_sizes_beyond_the_file(tmp_path: Path) -> None:
    """Headers of safetensors, GGUF, msgpack, llama2.c and lenses that promise more than there is."""
    path = tmp_path / "model.safetensors"
    for size in (2**63, 2**40, 100):
        path.write_bytes(struct.pack("<Q", size) + b"{}")
        refused(lambda: hub.open_safetensors(path), "model.safetensors")
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refused(lambda: hub.open_safetensors(path), "model.safetensors")
    gguf = tmp_path / "x.gguf"
    text = struct.pack("<Q", 1) + b"a"
    for rest in (
        struct.pack("<QQ", 2**60, 0),
        struct.pack("<QQ", 0, 2**60),
        struct.pack("<QQ", 0, 1) + text + struct.pack("<IIQ", 9, 0, 2**60),
        struct.pack("<QQ", 0, 1) + text + struct.pack("<IIQ", 9, 9, 2**60) + bytes(40),
        struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**63),
    ):
        gguf.write_bytes(struct.pack("<4sI", b"GGUF", 3) + rest + bytes(64))
        refused(lambda: hub.load(gguf), "x.gguf", "cannot be read as GGUF")
    flax = tmp_path / "flax"
    flax.mkdir()
    for data in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\x91" * 10**5,
        b"\x9f" + b"\x80" * 10,
        b"\xdd" + struct.pack(">I", 2**20) + b"\x80" * 2**20,
    ):
        (flax / "flax_model.msgpack").write_bytes(data)
        refused(lambda: hub.open_weights(flax), "flax_model.msgpack")
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 10**9, "d_model": 4}))
    hub.write_torch(tmp_path / "params.pt", {"0.weight": np.eye(4, dtype=np.float32)})
    refused(lambda: ji.lens.load(tmp_path), "promises 1000000000 translators", "lack '1.weight'")


def test_a_config_of_many_layers(tmp_path: Path) -> None:
    gpt2 = valid.model(ji.models.GPT2, ji.models.GPT2Config(**valid.SIZES))
    hub.export(tmp_path, gpt2)
    (tmp_path / "jaxinterp-model.json").unlink()  # as folders of others are
    config = json.loads((tmp_path / "config.json").read_text())
    for layers, words in ((60_000, "60,000 layers"), (10**9, "from 1 to 65536")):
        (tmp_path / "config.json").write_text(json.dumps({**config, "n_layer": layers}))
        refused(lambda: hub.load(tmp_path), words)


def test_texts_without_end(tmp_path: Path) -> None:
    for name in ("x.txt.gz", "x.jsonl.gz", "x.csv.gz"):
        with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
            for _ in range(160):
                file.write(b"a" * 2**20)
        refused(lambda name=name: list(ji.data.read_texts(tmp_path / name)), name, "max_bytes=")
    (tmp_path / "y.txt").write_text("one document\n\n" + "b" * 1000)
    refused(lambda: list(ji.data.read_texts(tmp_path / "y.txt", max_bytes=100)), "y.txt")
    assert len(list(ji.data.read_texts(tmp_path / "y.txt", max_bytes=1000))) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are of Unix")
def test_pipes_and_devices(tmp_path: Path) -> None:
    """What may never end is not opened, wherever a file is expected."""
    pipe = tmp_path / "index.npy"
    os.mkfifo(pipe)
    for read in (
        hub.read_torch,
        hub.read_json,
        hub.open_safetensors,
        hub.read_port,
        ji.sae.load,
        ji.lens.load,
        ji.data.features.read_conllu,
        ji.data.features.read_places,
    ):
        refused(lambda read=read: read(pipe), "index.npy")
    refused(lambda: hub.read_json(Path("/dev/zero")), "is a device")
    refused(lambda: hub.read_json(tmp_path), "is a folder")
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": "index.npy"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(lambda: hub.open_weights(tmp_path), "index.npy")
    manifest = {
        "format": "jaxinterp.activations",
        "version": 1,
        "int8": False,
        "shards": [0, 3],
        "sites": [{"name": "z", "layers": None, "row": [4], "dtype": "float32"}],
        "model": {"sha256": ""},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    refused(lambda: ji.data.Store(tmp_path).index, "index.npy", "a pipe")
