"""The weight files of a folder, in whichever format they are."""

import dataclasses
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ._flax import open_flax
from ._pickle import open_torch_state
from ._safetensors import open_safetensors
from ._tensors import Tensors, open_sharded

SAFETENSORS = "model.safetensors"
TORCH = "pytorch_model.bin"
FLAX = "flax_model.msgpack"
INDEX = ".index.json"
FORMATS = (SAFETENSORS, SAFETENSORS + INDEX, TORCH, TORCH + INDEX, FLAX)
"""What is looked for, in this order."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """An opened checkpoint: its tensors, its format and the files that it is made of."""

    tensors: Tensors
    format: str
    files: tuple[Path, ...]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def open_weights(folder: Path) -> Weights:
    """Opens the checkpoint in a folder: its tensors by name, its format and its files. Only headers are read.

    **Raises:** `FileNotFoundError` when the folder holds none of the known formats.

    ```python
    weights = ji.hub.open_weights(Path("my-model"))
    len(weights.tensors), weights.nbytes
    ```
    """
    for name in FORMATS:
        path = folder / name
        if not path.is_file():
            continue
        base = name.removesuffix(INDEX)
        open_one, kind = {
            SAFETENSORS: (open_safetensors, "safetensors"),
            TORCH: (open_torch_state, "torch"),
            FLAX: (open_flax, "flax"),
        }[base]
        if name.endswith(INDEX):
            tensors, files = open_sharded(path, open_one)
            return Weights(tensors, kind, files)
        return Weights(open_one(path), kind, (path,))
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    raise FileNotFoundError(
        f"No weights in {folder}: a checkpoint is {', '.join(FORMATS)}. The folder holds {names}."
    )


@dataclasses.dataclass
class Digest:
    """Hashes files beside their loading, in a thread; leaving the block early stops it.

    `result()` is the SHA-256 of one file; of several, that of their digests in order, one a line.
    """

    files: tuple[Path, ...]

    def __enter__(self) -> "Digest":
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._hashes = self._thread.submit(lambda: [self._hash(path) for path in self.files])
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.shutdown()

    def result(self) -> str:
        each = self._hashes.result()
        return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()

    def _hash(self, path: Path) -> str:
        sha = hashlib.sha256()
        with path.open("rb") as file:
            while not self._stopped.is_set() and (chunk := file.read(2**22)):
                sha.update(chunk)
        return sha.hexdigest()
