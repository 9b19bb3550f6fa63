"""Names of JAX that moved between the oldest release that this package runs on and the newest.

Written on 2026-11-26 for jax 0.7.2, which Colab has, up to 0.12. A name leaves this file when the lower
bound in `pyproject.toml` passes the release that brought it.
"""

from contextlib import AbstractContextManager
from typing import Any

import jax


def enable_x64(on: bool) -> AbstractContextManager[Any]:
    """64-bit numbers inside the `with`: `jax.enable_x64`, which jax 0.8 brought.

    Before that it stood at `jax.experimental.enable_x64`.
    """
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(on)  # noqa: TID251
    from jax.experimental import enable_x64 as before  # pyright: ignore[reportAttributeAccessIssue]

    return before(on)
