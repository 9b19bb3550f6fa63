"""Files of a store: arrays as .npy, and JSON, never outside of its folder."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import _read
from .._disk import Partial, write_whole
from ..corpus._fingerprint import as_bits as as_bits
from ..corpus._fingerprint import fingerprint as fingerprint


class BadStore(ValueError):
    """The error for a store that is damaged, unfinished, or made by another model or request.

    ```python
    try:
        ji.data.save_activations(path, model, corpus, "z")  # the folder holds activations of another site
    except ji.data.BadStore as error:
        print(error)
    ```
    """


def read_json(path: Path) -> Any:
    """What a JSON file of a store or a study holds; `BadStore` for what is damaged."""
    return _read.read_json(path, error=BadStore, constants=True, hint="it is damaged: write it anew.")


def write_array(path: Path, x: np.ndarray) -> None:
    write_whole(path, lambda file: np.save(file, as_bits(x), allow_pickle=False))


class PartialArray:
    """A .npy file that is filled through a memory map and takes its name when it is whole."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._file = Partial(folder)
        bits = as_bits(np.zeros(1, dtype)).dtype
        try:
            name = str(self._file.path)
            self.array = np.lib.format.open_memmap(name, mode="w+", dtype=bits, shape=shape)
            self._file.reserve()
        except BaseException:
            self._file.discard()
            raise

    def finish(self, path: Path) -> None:
        """Makes it durable, then moves it to its place."""
        self.array.flush()  # type: ignore[attr-defined]
        self._file.finish(path)

    def __enter__(self) -> "PartialArray":
        return self

    def __exit__(self, *_: Any) -> None:
        self.__dict__.pop("array", None)
        self._file.discard()


def open_array(path: Path, folder: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A shard as a read-only memory map, checked against what the manifest says of it."""
    if folder.resolve() not in path.resolve().parents:
        raise BadStore(f"{path} is a link that leads out of the store; it is not followed.")
    try:
        with _read.open_regular(path, BadStore) as file:
            _read.npy_header(file, os.fstat(file.fileno()).st_size)
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except BadStore:
        raise
    except FileNotFoundError:
        raise BadStore(
            f"{path} is missing. Call save_activations again with the same arguments; it "
            "writes what is lost anew."
        ) from None
    except Exception as error:  # a header is text that NumPy evaluates: what it raises depends on it
        raise BadStore(
            f"{path} is cut short or no .npy file ({error}). Call save_activations again with the "
            "same arguments; it writes what is damaged anew."
        ) from error
    stored = dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")
    if x.dtype != stored or x.shape != shape or not x.flags.c_contiguous:
        raise BadStore(
            f"{path} holds {x.dtype}{list(x.shape)}; the manifest says {stored}{list(shape)}. "
            "Delete the folder, and write again."
        )
    return x if dtype.isbuiltin == 1 else x.view(dtype)
