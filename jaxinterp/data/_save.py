"""Writing a store: shard after shard, each complete or absent, so that a killed run goes on."""

import contextlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._deprecations import respelled
from .._disk import PARTIAL, clean, sole, write_json
from .._read import TABLE, check
from ..core._check import is_int
from ..corpus._corpus import tokens_hash
from ..corpus._model_hash import model_source
from ..corpus._progress import watched
from ..typing import JSON, CaptureLike, CorpusLike, DTypeLike, IndexLike, MaskLike, ModelLike, PathLike
from ._files import (
    BadStore,
    PartialArray,
    as_bits,
    fingerprint,
    read_json,
    write_array,
)
from ._int8 import Codes, decode, encode
from ._reading import Reading, batch_of, plan
from ._store import FORMAT, VERSION, Store, dtype_of, file_name


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
    r"""$X_{ij} = r_{p \in P_i}\, a_j(t_i)_p$ on disk: what `activations` returns, in shards.

    Killed at any moment and called again with the same arguments, it goes on after the last whole
    shard. A shard is whole or absent: files are written beside their place and moved there, and a
    reader believes in a shard only once its record is written, last.

    **Arguments:** as in `activations`, and

    - `path`: a new folder, or the one to go on with.
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

    Laws: interrupted and resumed is, byte for byte, the same folder as written at once; int8 is
    off by at most half a step of its unit.
    """
    if not is_int(shard) or shard < 1:
        raise ValueError(f"shard is the number of sequences in a shard, at least 1; got {shard!r}.")
    path = Path(path)
    int8 = isinstance(dtype, str) and dtype == "int8"
    stored = None if dtype is None or int8 else dtype_of(np.dtype(_named(dtype)).name, path)
    reading = plan(model, tokens, site, mask=mask, positions=positions, reduce=reduce, pos=pos, index=index)
    size = batch_of(reading, batch_size)
    shard = -(-shard // size) * size
    cuts = [*range(0, len(reading.sequences), shard), len(reading.sequences)]
    manifest = _manifest(reading, cuts, int8, stored, about)
    _check_place(path)
    path.mkdir(parents=True, exist_ok=True)
    with sole(path, f"writes activations to {path}"):
        clean(path)  # what runs left that were killed while writing
        _begin(path, manifest, reading.index)
        store = Store(path)
        missing = [i for i in range(len(cuts) - 1) if not store.has(i)]
        if missing:
            _check_versions(path, manifest)
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


def _manifest(reading: Reading, cuts: list[int], int8: bool, stored: Any, about: Any) -> dict[str, Any]:
    """All that is known before the first row: what, of which model and data, in which shards."""
    requests = {r.name: r for r in reading.captures.requests}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "sites": [
            {
                "name": name,
                "site": requests[name].site,
                "layers": layers,
                "row": list(row),
                "dtype": (stored or own).name,
            }
            for name, (layers, row, own) in reading.shapes.items()
        ],
        "int8": int8,
        "rows": "token" if reading.by_token else "sequence",
        "reduce": reading.captures.reduce,
        "shards": [int(reading.starts[cut]) for cut in cuts],
        "model": model_source(reading.model),
        "data": {
            "sha256": fingerprint(
                tokens_hash(reading.corpus.tokens),
                np.asarray(reading.corpus.mask),
                np.asarray(reading.corpus.positions),
                _or_none(reading.captures.pos if reading.per_sequence is None else reading.per_sequence),
                [[r.site, r.layers, r.reduce, np.asarray(r.pos).tolist()] for r in reading.captures.requests],
            ),
            "sequences": int(reading.corpus.tokens.shape[0]),
            "ctx": int(reading.corpus.tokens.shape[1]),
        },
        "about": about,
        "versions": {"jaxinterp": _version(), "jax": jax.__version__, "numpy": np.__version__},
    }
    try:
        return json.loads(json.dumps(manifest))
    except (TypeError, ValueError) as error:
        raise ValueError(f"about= holds what JSON can: numbers, texts, lists, dicts ({error}).") from error


def _or_none(x: Any) -> Any:
    return "none" if x is None else x


def _version() -> str:
    try:
        return metadata.version("jaxinterp")
    except metadata.PackageNotFoundError:
        return "unknown"


def _check_place(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise BadStore(f"{path} is a file; a store is a folder. Give another path.")
    if path.is_dir() and not (path / "manifest.json").is_file():
        others = [p.name for p in path.iterdir() if not p.name.startswith(PARTIAL)]
        if set(others) - {"index.npy"}:
            raise BadStore(
                f"{path} is not empty and holds no store (it has {others[0]!r}). Give a new folder."
            )


def _begin(path: Path, manifest: dict[str, Any], index: np.ndarray) -> None:
    """Writes the manifest, or checks that the one that is there describes the same."""
    file = path / "manifest.json"
    if not file.is_file():
        write_array(path / "index.npy", index)
        write_json(file, manifest)
        return
    found = read_json(file)
    found = found if isinstance(found, dict) else {}
    for name, wanted in manifest.items():
        was = found.get(name)
        if name == "model" and isinstance(was, dict):  # wherever the same weights came from
            was, wanted = was.get("sha256"), wanted["sha256"]
        if name != "versions" and was != wanted:
            raise BadStore(
                f"{path} was begun with another {name}: {_short(was)}, and this call has "
                f"{_short(wanted)}. Give another folder, or delete this one."
            )


def _check_versions(path: Path, manifest: dict[str, Any]) -> None:
    """Numbers may differ in the last bits between versions, so one store is written by one."""
    file = path / "manifest.json"
    found = check(file, read_json(file), {"versions": TABLE}, error=BadStore).get("versions", {})
    for name, version in manifest["versions"].items():
        if found.get(name) != version:
            raise BadStore(
                f"{path} was begun with {name} {found.get(name)}, and this is {version}: shards "
                "would differ in rounding. Go on with that version, or delete the folder."
            )


def _short(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{str(value['sha256'])[:12]}"
    text = repr(value)
    return text if len(text) < 120 else text[:117] + "..."


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
