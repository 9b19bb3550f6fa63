"""The compilers of accelerators without one: their environment, their chips, and the code that they write."""

import functools
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

LIBTPU = "0.0.42.1"
MISSING_CARD = (
    "The CUDA compiler is not here: pip install 'jax==0.10.2' 'jax-cuda12-plugin==0.10.2' "
    "'jax-cuda12-pjrt==0.10.2' nvidia-cuda-nvcc-cu12, best in an environment of its own; no card is needed."
)
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
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # a program from the cache leaves no machine code
}


class Chip:
    """One v5e by its data sheet."""

    hertz = 1.5e9
    products = 197e12
    hbm_bytes_per_second = 819e9
    memory = 15.75 * 2**30


CARD = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
 shared_memory_per_core: {core_shared} threads_per_core_limit: {threads} core_count: {cores}
 fpus_per_core: {units} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
 memory_bandwidth: {bandwidth} l2_cache_size: {cache} clock_rate_ghz: {ghz} device_memory_size: {memory}
 shared_memory_per_block_optin: {block_shared}
 cuda_compute_capability {{ major: {major} minor: {minor} }}
 registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }} device_description_str: "{name}" """
"""What XLA wants to know of a card, in the text form of its message."""


class Card(NamedTuple):
    """A GPU by its data sheet; sizes in bytes."""

    name: str
    core_shared: int
    threads: int
    cores: int
    units: int
    bandwidth: int
    cache: int
    ghz: float
    memory: int
    block_shared: int
    major: int
    minor: int


CARDS = {
    "t4": Card("Tesla T4", 65536, 1024, 40, 64, 320 * 10**9, 2**22, 1.59, 15_642_329_088, 65536, 7, 5),
    "l4": Card(
        "NVIDIA L4", 102400, 1536, 58, 128, 300 * 10**9, 48 * 2**20, 2.04, 23_600_000_000, 101376, 8, 9
    ),
    "a100": Card(
        "NVIDIA A100-SXM4-40GB",
        167936,
        2048,
        108,
        64,
        1555 * 10**9,
        40 * 2**20,
        1.41,
        42_331_013_120,
        166912,
        8,
        0,
    ),
}


def is_installed() -> bool:
    """Whether `libtpu` can be found; nothing is loaded."""
    return importlib.util.find_spec("libtpu") is not None


class CardCompiler:
    """XLA's CUDA compiler without a GPU, for one of `CARDS`: memory and the optimised program, no times."""

    platform = "gpu"
    folder = None

    def __init__(self, card: str) -> None:
        os.environ.update(ENVIRONMENT)
        # Its own products need tiles that are found by trying on a card; without one cuBLAS is left.
        flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_enable_triton_gemm=false"]
        os.environ["XLA_FLAGS"] = " ".join(flags).strip()
        self.card = CARDS[card]
        self.memory = float(self.card.memory)

    @staticmethod
    def is_installed() -> bool:
        """Whether jax's CUDA plugin can be found."""
        return importlib.util.find_spec("jax_cuda12_plugin") is not None

    @functools.cache  # noqa: B019 (one compiler a process)
    def devices(self, topology: str = "v5e:2x2") -> Any:
        """The one card, whatever chips of a TPU are asked for."""
        from jax.experimental.topologies import get_topology_desc

        message = CARD.format(**self.card._asdict())
        return get_topology_desc("", platform="cuda", target_config=message, topology="1x1x1").devices

    def clear(self) -> None:
        """It leaves nothing behind."""

    def close(self) -> None:
        """It leaves nothing behind."""


class Compiler:
    """One process's TPU compiler. It must be made before jax loads `libtpu`, whose flags it sets.

    - `code`: whether the machine code of every kernel is kept for `bundles`.
    """

    platform = "tpu"
    memory = Chip.memory

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
