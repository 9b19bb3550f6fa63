"""What a reader of files returns."""

from typing import Any, NamedTuple

from ..kinds._coder import Coder


class Loaded(NamedTuple):
    """A dictionary, and the `config` that came with it, as JSON."""

    dictionary: Coder
    config: dict[str, Any]
