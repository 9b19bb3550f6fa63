"""A NumPy generator from a JAX key; see `jaxinterp._random`."""

from .._random import host_generator as host_generator
