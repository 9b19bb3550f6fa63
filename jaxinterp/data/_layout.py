"""The files of a store: their names, dtypes, and the fields of its records."""

from typing import Any

import numpy as np

from .._read import FLAG, SIZE, TABLE, TEXT, Rule, integer, list_of, or_null
from ._files import BadStore, as_bits

FORMAT = "jaxinterp.activations"


MANIFEST = {
    "int8": FLAG,
    "shards": list_of(integer(0, 2**48), least=2),
    "sites": list_of(TABLE, least=1),
    "model": TABLE,
}


MODEL = {"sha256": TEXT}


SITE = {
    "name": TEXT,
    "layers": or_null(integer(1, 2**20)),
    "row": list_of(SIZE, most=8),
    "dtype": TEXT,
}


_ERROR = Rule("a number of 0 or more", lambda v: isinstance(v, int | float) and not v < 0)


RECORD = {"max_error": list_of(_ERROR)}


VERSION = 1


def file_name(site: int, shard: int, kind: str) -> str:
    """Files are named by number: no name in a manifest ever becomes a path."""
    return f"{shard:06d}-{site:02d}-{kind}.npy"


_MORE = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e4m3b11fnuz",
    "int4",
    "uint4",
    "int2",
    "uint2",
)


def dtype_of(name: Any, path: Any) -> np.dtype:
    import ml_dtypes

    try:
        dtype = np.dtype(getattr(ml_dtypes, name) if name in _MORE else name)
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind in "OSUMm" or as_bits(np.zeros(1, dtype)).dtype.kind not in "fiu":
        raise BadStore(f"{path}: {name!r} is no dtype that activations can have.")
    return dtype
