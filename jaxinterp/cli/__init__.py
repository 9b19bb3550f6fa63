"""The commands: thin parsing of arguments over the functions of the library."""

from . import _neuron_studies as _neuron_studies  # adds its commands to `neurons`
from . import _rate as _rate  # its own to `sae`
from . import _sae_train_command as _sae_train_command  # likewise
from ._main import main as main
