"""The version of the package: that of the installed distribution, or of the checkout."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def package_version() -> str:
    """`"0.1.0"`: what `pip` says, and in a checkout that is not installed what `pyproject.toml` says."""
    try:
        return version("jaxinterp")
    except PackageNotFoundError:
        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        return tomllib.loads(project.read_text())["project"]["version"]
