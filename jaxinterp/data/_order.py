"""What the order of an epoch follows from: a key as a few ints, the same on every machine."""

import jax
import numpy as np

from ..core._check import check_key
from ..typing import KeyLike


def seeds_of(key: KeyLike | None, call: str) -> list[int]:
    """A key as seeds of NumPy; None is `jax.random.key(0)`. `call` is shown in the error, `{}` for the key.

    Law: `jax.random.key(n)` gives `[n]` for n below 2**32.
    """
    if key is None:
        return [0]
    data = np.asarray(jax.random.key_data(check_key(key, call))).ravel().tolist()
    return data[1:] if len(data) > 1 and data[0] == 0 else data
