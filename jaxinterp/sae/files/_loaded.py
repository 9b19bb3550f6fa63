"""What a reader of files returns."""

from typing import Any, NamedTuple

from ..kinds._coder import Coder


class Loaded(NamedTuple):
    """A dictionary with its `config` as JSON; made by `load(..., about=True)`.

    ```python
    sae, config = ji.sae.load("tiny", about=True)
    ```
    """

    dictionary: Coder
    config: dict[str, Any]
