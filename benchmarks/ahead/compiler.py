"""The TPU compiler of `libtpu` without a TPU: its environment, its chips, and the machine code that it writes."""

import functools
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

LIBTPU = "0.0.42.1"
MISSING = (
    "The TPU compiler is not here: install it beside jax 0.10.2, `pip install 'jax==0.10.2' "
    f"'libtpu=={LIBTPU}' requests`, best in an environment of its own."
)
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Chip:
    """One v5e by its data sheet."""

    hertz = 1.5e9
    products = 197e12
    hbm_bytes_per_second = 819e9
    memory = 15.75 * 2**30


def is_installed() -> bool:
    """Whether `libtpu` can be found; nothing is loaded."""
    return importlib.util.find_spec("libtpu") is not None


class Compiler:
    """One process's TPU compiler. It must be made before jax loads `libtpu`, whose flags it sets.

    - `code`: whether the machine code of every kernel is kept for `bundles`.
    """

    def __init__(self, *, code: bool = True) -> None:
        os.environ.update(ENVIRONMENT)
        self.folder = Path(tempfile.mkdtemp(prefix="jaxinterp-tpu-")) if code else None
        if self.folder is not None:
            flags = (
                f"--xla_jf_dump_to={self.folder}",
                "--xla_jf_dump_llo_text=true",
                "--xla_jf_dump_llo_pass_label_regex=(final_bundles|deduplication-map)",
            )
            os.environ["LIBTPU_INIT_ARGS"] = " ".join([os.environ.get("LIBTPU_INIT_ARGS", ""), *flags])

    @functools.cache  # noqa: B019 (one compiler a process)
    def devices(self, topology: str = "v5e:2x2") -> Any:
        """The chips of a topology by its name, as `v5e:4x4`."""
        from jax.experimental.topologies import get_topology_desc

        return get_topology_desc(platform="tpu", topology_name=topology).devices

    def clear(self) -> None:
        """Forgets the machine code of earlier programs."""
        if self.folder is not None:
            for path in self.folder.iterdir():
                path.unlink()

    def close(self) -> None:
        """Removes what the compiler left on the disk."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
