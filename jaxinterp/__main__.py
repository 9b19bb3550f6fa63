"""`python -m jaxinterp` is the command `jaxinterp`."""

from .cli._main import main

main()
