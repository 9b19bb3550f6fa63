"""The commands: thin parsing of arguments over the functions of the library."""

from . import _rate as _rate  # adds its commands to `sae`
from . import _sae_train_command as _sae_train_command  # likewise
from ._main import main as main
