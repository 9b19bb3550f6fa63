"""A whole model in one file, config and tokenizer included: the result of every reader of such files."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._tensors import LazyTensor
from ._tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class SingleFile:
    """An opened file. Its header is read, its weights are not.

    - `path`: the file.
    - `layout`, `family`: the layout and the family of the port that reads it.
    - `theirs`: the config in the port's keys.
    - `tensors`: the weights by the file's names, read when they are used.
    - `format`: the format, for `model.config.source`.
    - `tokenizer`: reads the tokenizer; None where the file has none.
    - `licence`: the licence that the file names, or None.
    """

    path: Path
    layout: str
    family: str
    theirs: Mapping[str, Any]
    tensors: dict[str, LazyTensor]
    format: str
    tokenizer: Callable[[], Tokenizer | None]
    licence: str | None = None

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())
