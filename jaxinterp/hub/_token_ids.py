"""Token ids of a caller as integers, checked."""

from collections.abc import Sequence

import numpy as np

from ..typing import ArrayLike, MaskLike


def integers(ids: ArrayLike, caller: str) -> np.ndarray:
    """Ids of NumPy, JAX, torch or Python as an array of ints."""
    try:
        array = np.asarray(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"tokenizer.{caller} takes integer ids, (pos,); this {type(ids).__name__} is no array "
            f"of them ({error}). Give rows of one length, as NumPy, JAX or Python ints."
        ) from error
    if array.size and not np.issubdtype(array.dtype, np.integer):
        hint = " For the ids of a text: tokenizer(text)." if array.dtype.kind == "U" else ""
        raise ValueError(
            f"tokenizer.{caller} takes integer ids of one text, (pos,); got shape {array.shape} of "
            f"{array.dtype}.{hint}"
        )
    return array.astype(np.int64) if array.size == 0 else array


def in_range(ids: np.ndarray, caller: str) -> list[int]:
    wrong = [i for i in ids.tolist() if not 0 <= i < 2**31]
    if wrong:
        raise IndexError(
            f"Token ids begin at 0; tokenizer.{caller} got {wrong[0]}. Where a negative id marks "
            f"positions that do not count, leave them out: tokenizer.{caller}(ids[ids >= 0])."
        )
    return ids.tolist()


def padded(rows: Sequence[Sequence[int]], fill: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids as one array `(batch, pos)`, filled up on a side, and the mask of real tokens."""
    width = max(map(len, rows))
    ids = np.full((len(rows), width), fill, np.int32)
    mask = np.zeros((len(rows), width), bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), None) if side == "left" else slice(len(row))
        ids[i, where], mask[i, where] = row, True
    return ids, mask


def checked_mask(mask: MaskLike, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of ids of a shape. Raises `ValueError` for another dtype or shape."""
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != shape:
        raise ValueError(
            f"A mask is of bools and has the shape of the ids {shape}, True at real tokens; "
            f"got {mask.dtype} {mask.shape}."
        )
    return mask


def check_texts(text: object, pad: str) -> None:
    """Texts are a list of at least one, and the side of padding is one of two."""
    if not isinstance(text, Sequence) or not all(isinstance(one, str) for one in text):
        raise ValueError(
            f"A tokenizer takes a text or a list of texts; got {type(text).__name__}. "
            "To read ids, call tokenizer.decode(ids)."
        )
    if pad not in ("left", "right"):
        raise ValueError(f"`pad` is the side to fill up, 'left' or 'right'; got {pad!r}.")
    if not text:
        raise ValueError("A batch needs at least one text; got an empty list.")
