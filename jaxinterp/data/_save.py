"""Writing a store: shard after shard, each complete or absent, so that a killed run can continue."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._deprecations import check_path_first, respelled
from .._disk import clean, sole, write_json
from ..core._check import is_int
from ..corpus._progress import watched
from ..typing import JSON, CaptureLike, CorpusLike, DTypeLike, IndexLike, MaskLike, ModelLike, PathLike
from ._files import (
    PartialArray,
    as_bits,
    write_array,
)
from ._int8 import Codes, decode, encode
from ._layout import dtype_of, file_name
from ._manifest import begin, check_place, check_versions, manifest_of
from ._reading import Reading, batch_of, plan
from ._store import Store


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def save_activations(
    path: PathLike,
    model: ModelLike,
    tokens: CorpusLike,
    site: CaptureLike,
    *,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    reduce: str | None = None,
    pos: IndexLike | None = None,
    index: IndexLike | None = None,
    dtype: DTypeLike | None = None,
    shard: int = 256,
    batch_size: int = 32,
    about: JSON = None,
    progress: bool = True,
) -> Store:
    r"""$X_{ij} = r_{p \in P_i}\, a_j(t_i)_p$ on disk: writes the result of `activations` in shards.

    After an interruption the same call continues after the last complete shard. Files are written under
    another name and then renamed. The record of a shard is written last, and a shard without a record does
    not count.

    **Arguments:** as in `activations`, and

    - `path`: a new folder, or the one to continue.
    - `dtype`: by default the model's own; a float dtype (`"float16"`, `"bfloat16"`), or `"int8"`:
      for every unit of a shard an offset and a step (see `encode`), a quarter of float32. The
      largest error is measured and recorded: `store.max_error`.
    - `shard`: sequences per shard, rounded up to whole batches. Fewer shards read faster, more
      lose less when a run is killed.
    - `about`: anything that JSON can hold, recorded in the manifest.

    **Returns:** the `Store`, finished.

    **Raises:** `BadStore` where the folder holds activations of another model, other data or
    another request; `ValueError` as `activations` does. `OSError` (a full disk) leaves every whole
    shard as it was, and nothing half-written.

    ```python
    store = ji.data.save_activations("acts", model, corpus, "mlp_post", dtype="int8")
    store.read(layer=2).shape                           # (row, ff)
    ```

    Laws: a call that was interrupted and resumed writes the same folder, byte for byte; the error of int8 is
    at most half a step of its unit.
    """
    check_path_first("ji.data.save_activations(path, model, corpus, site)", path)
    if not is_int(shard) or shard < 1:
        raise ValueError(f"shard is the number of sequences in a shard, at least 1; got {shard!r}.")
    path = Path(path)
    int8 = isinstance(dtype, str) and dtype == "int8"
    stored = None if dtype is None or int8 else dtype_of(np.dtype(_named(dtype)).name, path)
    reading = plan(model, tokens, site, mask=mask, positions=positions, reduce=reduce, pos=pos, index=index)
    size = batch_of(reading, batch_size)
    shard = -(-shard // size) * size
    cuts = [*range(0, len(reading.sequences), shard), len(reading.sequences)]
    manifest = manifest_of(reading, cuts, int8, stored, about)
    check_place(path)
    path.mkdir(parents=True, exist_ok=True)
    with sole(path, f"writes activations to {path}"):
        clean(path)  # what runs left that were killed while writing
        begin(path, manifest, reading.index)
        store = Store(path)
        missing = [i for i in range(len(cuts) - 1) if not store.has(i)]
        if missing:
            check_versions(path, manifest)
        dtypes = [stored or own for _, _, own in reading.shapes.values()]
        for i in watched(missing, len(missing), f"activations to {path.name}", progress):
            _write_shard(path, reading, i, cuts[i], cuts[i + 1], size, int8, dtypes)
    return store


def _named(dtype: Any) -> Any:
    import ml_dtypes

    if isinstance(dtype, str) and hasattr(ml_dtypes, dtype):
        return getattr(ml_dtypes, dtype)
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jax.dtypes.issubdtype(found, np.floating):
        raise ValueError(f"dtype is a float dtype, 'int8', or None for the model's own; got {dtype!r}.")
    return found


def _write_shard(
    path: Path,
    reading: Reading,
    number: int,
    start: int,
    stop: int,
    size: int,
    int8: bool,
    dtypes: list[np.dtype],
) -> None:
    """Every site of one stretch of sequences, and the record that makes them count.

    Batches go straight into mapped files, so that memory holds one batch and not a shard.
    """
    first, rows = int(reading.starts[start]), int(reading.starts[stop] - reading.starts[start])
    names = list(reading.shapes)
    with contextlib.ExitStack() as stack:
        maps = []
        for name, dtype in zip(names, dtypes, strict=True):
            layers, row, _ = reading.shapes[name]
            lead = () if layers is None else (layers,)
            maps.append(stack.enter_context(PartialArray(path, (*lead, rows, *row), dtype)))
        errors = [0.0] * len(names)

        def keep(at: int, part: dict[str, np.ndarray]) -> None:
            for i, name in enumerate(names):
                x, axis = part[name], int(reading.shapes[name][0] is not None)
                here = slice(at - first, at - first + x.shape[axis])
                with np.errstate(over="ignore"):
                    cast = x.astype(dtypes[i])
                if not np.isfinite(cast.astype(np.float32)).all():
                    raise ValueError(
                        f"{name!r} has values that {dtypes[i]} cannot hold; store it as bfloat16 or float32."
                    )
                errors[i] = max(errors[i], _worst(x, cast))
                target = maps[i].array[:, here] if axis else maps[i].array[here]
                target[...] = as_bits(cast)

        reading.read(keep, size, start=start, stop=stop)
        for i, name in enumerate(names):
            axis = int(reading.shapes[name][0] is not None)
            if not int8:
                maps[i].finish(path / file_name(i, number, "x"))
                continue
            exact = maps[i].array.view(dtypes[i])
            codes = encode(exact, axis=axis)
            errors[i] = _worst_code(exact, codes, axis)
            for kind, x in (("offset", codes.offset), ("scale", codes.scale), ("x", codes.codes)):
                write_array(path / file_name(i, number, kind), x)
    write_json(path / f"{number:06d}.json", {"rows": rows, "max_error": errors})


def _worst(x: np.ndarray, cast: np.ndarray) -> float:
    if x.dtype == cast.dtype:
        return 0.0
    return float(np.max(np.abs(x.astype(np.float32) - cast.astype(np.float32)), initial=0))


def _worst_code(x: np.ndarray, codes: Codes, axis: int) -> float:
    """The largest error of codes, measured a stretch of rows at a time."""
    worst, before = 0.0, (slice(None),) * axis
    for start in range(0, x.shape[axis], 4096):
        here = (*before, slice(start, start + 4096))
        back = decode(Codes(codes.codes[here], codes.offset, codes.scale), axis=axis)
        worst = max(worst, float(np.abs(back - x[here].astype(np.float32)).max()))
    return worst
