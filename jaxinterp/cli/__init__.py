"""The commands: thin parsing of arguments over the functions of the library."""

from ._main import main as main
