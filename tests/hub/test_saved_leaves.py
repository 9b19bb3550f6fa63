"""Arrays of a saved model, read piece by piece into the parts that devices hold."""

import shutil
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxinterp.hub import _saved_leaves
from jaxinterp.hub._shards import Shards


class Parts(Shards):
    """The parts of devices that are not there."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, *bounds: Any) -> None:
        self.shape, self.where, self.bounds = shape, None, {}
        self.parts = {bound: np.full([high - low for low, high in bound], -1, dtype) for bound in bounds}


WHOLE = np.arange(20 * 6 * 9, dtype=np.float32).reshape(20, 6, 9)


@pytest.fixture(scope="module", params=[(True, False), (True, True), (False, False)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One array in pieces of at most 256 bytes, as every version of orbax may lay it."""
    database, three = request.param
    path = tmp_path_factory.mktemp("saved") / "leaves"
    arrays = {"a.b": jax.numpy.asarray(WHOLE)}
    options = {"save_args": {"a.b": ocp.SaveArgs(chunk_byte_size=256)}, "ocdbt_target_data_file_size": None}
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=database, use_zarr3=three)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays, **options))
    return path


@pytest.mark.parametrize(
    "bounds",
    [
        [((0, 20), (0, 6), (0, 9))],
        [((3, 7), (1, 2), (0, 9))],
        [((0, 5), (0, 6), (0, 9)), ((10, 15), (0, 6), (0, 9))],
        [((0, 20), (0, 3), (0, 5)), ((0, 20), (3, 6), (5, 9))],
    ],
)
def test_parts_are_slices_of_the_whole(folder: Path, bounds: Any) -> None:
    """Law: each part is that slice of the array, in any dtype, wherever the pieces begin and end."""
    for dtype in (np.float32, ml_dtypes.bfloat16):
        parts = Parts(WHOLE.shape, dtype, *bounds)
        _saved_leaves.SavedLeaves(folder).fill("a.b", parts)
        for bound, part in parts.parts.items():
            want = WHOLE[tuple(slice(low, high) for low, high in bound)].astype(dtype)
            np.testing.assert_array_equal(part, want)


def test_only_pieces_that_a_part_needs_are_read() -> None:
    parts = Parts((8, 6), np.float32, ((0, 2), (0, 6)), ((6, 8), (0, 6)))
    boxes = list(_saved_leaves._pieces(parts, (2, 4)))
    assert boxes == [[(row, row + 2), column] for row in (0, 6) for column in ((0, 4), (4, 6))]
    assert list(_saved_leaves._pieces(Parts((), np.float32, ()), ())) == [[]]
    assert list(_saved_leaves._pieces(Parts((8, 6), np.float32), (2, 4))) == []


def test_another_shape_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"a.b has the shape \(20, 6, 9\) on disk, not \(20, 6, 8\)"):
        _saved_leaves.SavedLeaves(folder).fill(
            "a.b", Parts((20, 6, 8), np.float32, ((0, 20), (0, 6), (0, 8)))
        )


def test_a_piece_that_is_missing_is_no_zeros(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "leaves")
    pieces = [path for path in (tmp_path / "leaves" / "a.b").rglob("*") if path.name[-1].isdigit()]
    if not pieces:  # a database keeps all pieces in one file
        assert (folder / "manifest.ocdbt").is_file()
        return
    max(pieces).unlink()
    with pytest.raises(ValueError, match="is missing"):
        _saved_leaves.SavedLeaves(tmp_path / "leaves").fill(
            "a.b", Parts(WHOLE.shape, np.float32, ((0, 20), (0, 6), (0, 9)))
        )
