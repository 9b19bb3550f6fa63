"""The suite runs strict: warnings are errors, no implicit promotion of dtypes or ranks, and every
shape annotation of the package is checked when a function is called."""

from collections.abc import Iterator
from pathlib import Path

from jaxtyping import install_import_hook

hook = install_import_hook("jaxinterp", "beartype.beartype")
hook.__enter__()

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and corpora beside the project; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled() -> Iterator[None]:
    """Compiled programs of one file are of no use to the next, and memory is finite."""
    yield
    jax.clear_caches()
