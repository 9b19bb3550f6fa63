"""A port: one table (`ports/*.toml`) that says how a family's checkpoints become our model."""

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..typing import PathLike
from ._errors import listed
from ._port_row import Row


@dataclasses.dataclass(frozen=True)
class Port:
    """The table that says how the checkpoints of one family become our model, as `read_port` returns it.

    `ports/README.md` explains every entry of a table.

    ```python
    port = ji.hub.all_ports()["gpt_neox"]
    port.model, len(port.rows)
    lenient = port.ignoring("my_key", "training_*")
    model, tokenizer = ji.load("my-model", port=lenient)
    ```
    """

    family: str
    path: Path
    source: Mapping[str, Any]
    config: Mapping[str, Any]
    names: Mapping[str, Any]
    rows: tuple[Row, ...]
    flax: tuple[Row, ...]
    layout: str = "huggingface"

    @property
    def config_is(self) -> str:
        """Where this layout says the config, in words."""
        says = {"gguf": "the file's metadata", "llama2c": "the file's header"}
        return says.get(self.layout, "config.json")

    @property
    def model(self) -> str:
        return self.config["model"]

    def ignoring(self, *keys: str) -> "Port":
        """The port with more keys that have no effect on the forward pass (`*` matches anything).

        Raises `ValueError` for a key that the port reads: without it another model would load.
        """
        for key in keys:
            if read := [known for known in self.config["keys"] if fnmatchcase(known, key)]:
                raise ValueError(
                    f"`ignore` is for keys without an effect on the forward pass; {key!r} is or "
                    f"matches {listed(read)}, which the port of {self.family} reads. Correct "
                    f"{self.config_is} in place of ignoring it."
                )
        config = {**self.config, "ignore": [*self.config["ignore"], *keys]}
        return dataclasses.replace(self, config=config)


if TYPE_CHECKING:
    PortLike: TypeAlias = Port | PathLike
    "A port, or the path of its table."
else:
    PortLike = Any
