"""The suite runs strict: warnings are errors, no implicit promotion of dtypes or ranks. With
`JAXINTERP_CHECK_SHAPES=1` every shape annotation of the package is checked when a function is called, which
takes a quarter more time: `.ci/run newest` does that, with tests of every package.

It runs cheaply too. Most of the time of a small test is compiling, so programs are compiled with little
optimisation and kept in a folder that all workers and all later runs share. Both give way to the
environment: `XLA_FLAGS= pytest` compiles as a user's process does (and is how tests marked `compiled`
run), and `JAX_COMPILATION_CACHE_DIR` names another folder. And programs are lowered in a context that
many share (`tests/contexts.py`).
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

from tests.processes import cheap_flags

ROOT = Path(__file__).resolve().parents[1]


def _prune(folder: Path, most: int = 2**30) -> None:
    """Deletes the oldest compiled programs, until those left have at most `most` bytes together."""
    entries = []
    for path in folder.glob("*-cache"):
        stat = path.stat()
        entries.append((stat.st_mtime, stat.st_size, path))
    size = sum(entry[1] for entry in entries)
    for _, bytes_, path in sorted(entries):
        if size <= most:
            break
        path.unlink(missing_ok=True)
        size -= bytes_


os.environ.setdefault("XLA_FLAGS", cheap_flags())
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "xla")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _prune(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Workers and interpreters that tests start keep bytecode: compiling the package's sources takes seconds in each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Where an operation was written stays out of compiled programs: a tenth of the time to lower them.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "false")

if os.environ.get("JAXINTERP_CHECK_SHAPES", "0") != "0":
    from jaxtyping import install_import_hook

    install_import_hook("jaxinterp", "beartype.beartype").__enter__()

import jax  # noqa: E402
import pytest  # noqa: E402

import jaxinterp.testing  # noqa: E402
from tests.contexts import share_contexts  # noqa: E402

share_contexts()

if os.environ["XLA_FLAGS"]:
    # Unoptimised kernels round by what they are fused with, and differently on each kind of processor. To the
    # last bit is for tests marked `compiled`, which run what a user's compiler makes.
    jaxinterp.testing._EXACT = 2e-6

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and corpora beside the project; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return folder


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


_held = [2 * 2**30]
"""What this process held when it last forgot its programs: freed memory is kept for those that follow."""


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory() -> Iterator[None]:
    """Files share compiled programs, until they fill the memory of a worker."""
    yield
    if _resident() > _held[0] + 2**30:
        jax.clear_caches()
        _held[0] = max(_held[0], _resident())


def pytest_collection_finish() -> None:
    """What imports and collection made stays: the collector of garbage need not visit it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
