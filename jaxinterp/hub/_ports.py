"""The ports that come with the package, by family and by short name."""

from collections.abc import Mapping

from ._port import Port, PortLike
from ._port_folder import find_ports
from ._port_table import read_port


def as_port(port: PortLike) -> Port:
    """A port as it is, or read from its table."""
    return port if isinstance(port, Port) else read_port(port)


def all_ports(layout: str = "huggingface") -> Mapping[str, Port]:
    """Every port that comes with the package, by the name that the checkpoints give to their family.

    **Arguments:** `layout`: "huggingface" (named by `model_type` of `config.json`), "gguf" (named by
    `general.architecture`) or "llama2c".

    ```python
    list(ji.hub.all_ports())               # the families that ji.load reads from the hub
    list(ji.hub.all_ports("gguf"))
    ```
    """
    ports = [read_port(p) for p in sorted(find_ports().glob("*.toml")) if p.stem[0] != "_"]
    return {port.family: port for port in ports if port.layout == layout}


def short_names() -> Mapping[str, str]:
    """The short names that `ji.load` knows, each with the hub id that it stands for.

    ```python
    ji.hub.short_names()["pythia-70m"]     # "EleutherAI/pythia-70m"
    ```
    """
    return {
        short: hub_id
        for port in all_ports().values()
        for short, hub_id in port.source.get("names", {}).items()
    }
