"""A NumPy generator from a JAX key; see `jaxinterp.core._random`."""

from ..core._random import host_generator as host_generator
