"""`python -m jaxinterp` is the command `jaxinterp`."""

from .cli import main

main()
