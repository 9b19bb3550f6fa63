"""Torch files that we write are read back the same by the reader that was tested on torch's own."""

import zipfile
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import jaxinterp as ji


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    value = {
        "J": {0: np.arange(6, dtype=np.float16).reshape(2, 3), -1: np.ones(2, ml_dtypes.bfloat16)},
        "params": {"0.weight": jnp.arange(4.0).reshape(2, 2).T, "0.bias": np.zeros((0, 3), bool)},
        "about": ["é", 1.5, None, True, -5, 2**40, -(2**63), (1, (2,))],
        "scalar": np.asarray(3, np.int64),
    }
    ji.hub.write_torch(tmp_path / "file.pt", value)
    back = ji.hub.read_torch(tmp_path / "file.pt")
    assert back["about"] == value["about"] and int(back["scalar"]) == 3
    for part in ("J", "params"):
        assert list(back[part]) == list(value[part])
        for name, array in value[part].items():
            assert back[part][name].dtype == array.dtype
            assert back[part][name].shape == array.shape
            assert (np.asarray(back[part][name]) == np.asarray(array)).all()
    # Storages begin at multiples of 64, as torch wants them for mapping a file.
    with zipfile.ZipFile(tmp_path / "file.pt") as archive:
        for entry in archive.infolist():
            assert (entry.header_offset + 30 + len(entry.filename) + len(entry.extra)) % 64 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


def test_what_torch_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got a set"):
        ji.hub.write_torch(tmp_path / "file.pt", {"a": {1}})
    with pytest.raises(ValueError, match="no tensor of dtype"):
        ji.hub.write_torch(tmp_path / "file.pt", {"a": np.asarray(["text"])})
    assert not list(tmp_path.iterdir())
