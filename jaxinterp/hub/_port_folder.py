"""Where the tables of the ports are."""

from pathlib import Path


def find_ports() -> Path:
    """The folder of the port tables: inside an installed package, or beside it in a checkout.

    ```python
    sorted(path.name for path in ji.hub.find_ports().glob("*.toml"))
    port = ji.hub.read_port(ji.hub.find_ports() / "llama.toml")
    ```
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_ports", package.parent / "ports"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"The port tables are neither in {package / '_ports'} nor in {package.parent / 'ports'}: "
        "the installation is incomplete; install jaxinterp again."
    )
