"""Checks of the settings of a kind."""

from typing import Any

import numpy as np
from jax.core import Tracer


def check_sizes(kind: str, **sizes: Any) -> None:
    """Every size is an int of 1 or more."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(
                f"{kind} needs {name} of 1 or more, an int; got {size!r}. For example: "
                f"ji.sae.{kind}(d=512, features=4096{', k=32' if 'k' in sizes else ''})."
            )


def check_coefficient(kind: str, name: str, value: Any) -> None:
    """A coefficient is a number of 0 or more."""
    concrete = not isinstance(value, Tracer)
    if concrete and not (np.ndim(value) == 0 and np.isfinite(value) and value >= 0):
        raise ValueError(f"{kind}: {name} is a finite number of 0 or more; got {value!r}.")
