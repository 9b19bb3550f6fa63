"""One seed in whichever form the caller has it, as a NumPy generator."""

import sys
from typing import Any

import numpy as np


def generator(key: Any) -> np.random.Generator:
    r"""$k \mapsto$ a NumPy generator: of a JAX key, an int seed, or a generator as it is.

    **Arguments:** `key`: `jax.random.key(0)` (or the older `jax.random.PRNGKey(0)`), an int of at
    least 0, or a `numpy.random.Generator`, which is drawn from and so moves on.

    **Raises:** `ValueError` for anything else, and for a key that is traced: prompts are data, made
    before a program is compiled.

    ```python
    ji.tasks.generator(jax.random.key(0)).integers(10)
    ```

    Law: equal keys give equal numbers; the typed and the raw form of a JAX key are the same seed.
    """
    if isinstance(key, np.random.Generator):
        return key
    if isinstance(key, bool) or key is None:
        raise ValueError(_wrong(key))
    if isinstance(key, int | np.integer):
        if key < 0:
            raise ValueError(f"A seed is an int of at least 0; got {key}.")
        return np.random.default_rng(int(key))
    # A key can only have been made where JAX is imported, so there is nothing to import here.
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(key, jax.Array | np.ndarray):
        raise ValueError(_wrong(key))
    if isinstance(key, jax.core.Tracer):
        raise ValueError(
            "Prompts are made before a program is compiled, so their key cannot be traced: call "
            "the builder outside of jit and vmap, and pass its arrays in."
        )
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    words = np.asarray(key)
    if words.ndim != 1 or words.dtype != np.uint32:
        raise ValueError(
            f"One key makes one batch; got an array {words.shape} of {words.dtype}. "
            "For several batches call the builder once for each key."
        )
    return np.random.default_rng(words.tolist())


def _wrong(key: Any) -> str:
    return (
        "`key` is a JAX key, an int seed or a numpy.random.Generator; got "
        f"{type(key).__name__}. Write jax.random.key(0), or 0."
    )
