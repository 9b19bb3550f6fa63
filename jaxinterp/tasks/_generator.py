"""The NumPy generator that a task draws its prompts from."""

import numpy as np

from ..typing import KeyLike


def generator(key: KeyLike | np.random.Generator) -> np.random.Generator:
    r"""$k \mapsto$ a NumPy generator that depends on the key alone.

    **Arguments:**

    - `key`: `jax.random.key(0)`, or a `numpy.random.Generator`, which is returned as it is, so that its state
      changes with every draw.

    **Raises:** `ValueError` for anything else, and for a key that is traced: prompts are data, made
    before a program is compiled.

    ```python
    ji.tasks.generator(jax.random.key(0)).integers(10)
    ```

    Law: equal keys give equal numbers.
    """
    if isinstance(key, np.random.Generator):
        return key
    from .._random import host_generator  # a key is made where JAX is; nothing else here needs it

    return host_generator(key)
