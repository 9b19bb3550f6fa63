"""Where a token stands: targets of regression."""

from typing import TypedDict

import numpy as np

from ..._deprecations import respelled
from ...typing import MaskLike


class Positions(TypedDict):
    """Places of tokens, float32 `(seq, pos)`."""

    absolute: np.ndarray
    relative: np.ndarray
    log: np.ndarray


@respelled(real="mask")
def position(mask: MaskLike) -> Positions:
    r"""$p,\ p / (n - 1),\ \ln(1 + p)$: places among the real tokens of each sequence.

    **Arguments:** `mask` `(seq, pos)`, True at real tokens.

    **Returns:** `"absolute"` (from 0), `"relative"` (0 at the first, 1 at the last) and `"log"`,
    float32 `(seq, pos)`; 0 at padding.

    ```python
    ji.data.features.position(corpus.mask)["relative"]
    ```

    Law: padding on either side changes nothing at the real tokens.
    """
    real = np.asarray(mask)
    if real.ndim != 2 or real.dtype != bool:
        raise ValueError(
            f"position takes a padding mask (seq, pos) of bools; got {real.shape} of {real.dtype}."
        )
    place = np.where(real, np.cumsum(real, -1) - 1, 0).astype(np.float32)
    last = np.maximum(real.sum(-1, keepdims=True) - 1, 1).astype(np.float32)
    return {"absolute": place, "relative": place / last, "log": np.log1p(place)}
