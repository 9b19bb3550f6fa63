"""The ports that come with the package, by family and by short name."""

from collections.abc import Mapping

from ._port import Port, PortLike
from ._port_folder import find_ports
from ._port_table import read_port


def as_port(port: PortLike) -> Port:
    """A port as it is, or read from its table."""
    return port if isinstance(port, Port) else read_port(port)


def all_ports(layout: str = "huggingface") -> Mapping[str, Port]:
    """Every family that comes with the package, by the name that its checkpoints give it.

    `layout` is "huggingface" (by `model_type` of `config.json`), "gguf" (by
    `general.architecture`) or "llama2c".
    """
    ports = [read_port(p) for p in sorted(find_ports().glob("*.toml")) if p.stem[0] != "_"]
    return {port.family: port for port in ports if port.layout == layout}


def short_names() -> Mapping[str, str]:
    """The short names that `load` knows, and the hub ids they stand for."""
    return {
        short: hub_id
        for port in all_ports().values()
        for short, hub_id in port.source.get("names", {}).items()
    }
