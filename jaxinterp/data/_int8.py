"""Eight bits per number: an offset and a step for every unit."""

from typing import Any, NamedTuple

import numpy as np

from ..core._check import as_int, as_numbers, check_index


class Codes(NamedTuple):
    """`codes (*layer, row, ...)` uint8; `offset` and `scale` float32, of that shape without rows.

    ```python
    codes = ji.data.encode(x)
    codes.codes.nbytes, x.nbytes                        # a quarter of float32
    ```
    """

    codes: np.ndarray
    offset: np.ndarray
    scale: np.ndarray


def encode(x: np.ndarray | Any, *, axis: int | Any = 0) -> Codes:
    r"""$q = \mathrm{round}((x - \min x) / s),\ s = (\max x - \min x) / 255$ for every unit.

    **Arguments:**

    - `x`: finite numbers.
    - `axis`: the axis of the rows; 0 by default.

    **Returns:** `Codes`. A unit that never changes has scale 1 and comes back exactly.

    **Raises:** `ValueError` for no rows, or for NaN and infinities.

    Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610) keep activations so.

    ```python
    codes = ji.data.encode(x)
    abs(ji.data.decode(codes) - x).max() <= ji.data.error_bound(codes).max()
    ```

    Law: no number is off by more than `error_bound`: half a step, and float32's rounding.
    """
    x, axis = np.asarray(as_numbers(x, "x")), as_int(axis, "axis")
    if not x.ndim:
        raise ValueError(
            "encode takes rows of activations, an array with the axis of the rows; got one number."
        )
    check_index("axis", axis, x.ndim, "encode")
    if not x.shape[axis]:
        raise ValueError("There are no rows to encode.")
    low, high = x.min(axis).astype(np.float64), x.max(axis).astype(np.float64)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise ValueError("NaN and infinities have no code in eight bits; remove them first.")
    offset = low.astype(np.float32)
    scale = ((high - low) / 255).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    out = np.empty(x.shape, np.uint8)
    before = (slice(None),) * axis
    # Codes are made with the rounded offset and step that decoding will use, a stretch at a time.
    steps = np.expand_dims(scale.astype(np.float64), axis)
    zero = np.expand_dims(offset.astype(np.float64), axis)
    for start in range(0, x.shape[axis], 4096):
        here = (*before, slice(start, start + 4096))
        out[here] = np.clip(np.rint((x[here].astype(np.float64) - zero) / steps), 0, 255)
    return Codes(out, offset, scale)


def decode(codes: Codes, *, axis: int = 0) -> np.ndarray:
    r"""$\hat x = o + s q$, float32: the numbers $x$ again, to the precision of `encode`.

    **Arguments:**

    - `codes`: the result of `ji.data.encode`.
    - `axis`: the axis of the rows; 0 by default.

    ```python
    again = ji.data.decode(ji.data.encode(x))           # the shape of x
    ```
    """
    offset, scale = np.expand_dims(codes.offset, axis), np.expand_dims(codes.scale, axis)
    return codes.codes.astype(np.float32) * scale + offset


def error_bound(codes: Codes) -> np.ndarray:
    r"""$\max |x - \hat x| \le s/2 + \epsilon(|o| + 256 s)$ for every unit: an array of the shape of `codes.scale`.

    ```python
    ji.data.error_bound(ji.data.encode(x)).max()
    ```
    """
    tiny = np.finfo(np.float32).eps * (np.abs(codes.offset) + 256 * codes.scale)
    return codes.scale / 2 + tiny
