"""Processes of their own for tests that need other devices, or a fresh interpreter."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def cheap_flags() -> str:
    """Compiler flags for programs that run once: compiling takes a third to a sixth of its time."""
    flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    # XLA ends the process at a flag that it does not know, and these come and go with its versions.
    if importlib.metadata.version("jaxlib").split(".")[:2] == ["0", "10"]:
        # Small programs gain nothing from being compiled in parts: splitting them takes a quarter of the time.
        flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    return " ".join(flags)


def environment(devices: int = 1) -> dict[str, str]:
    """The environment of this process, with simulated CPU devices and the same compiler flags."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}


def run(code: str, *arguments: str, devices: int = 1) -> str:
    """What the code prints in a new interpreter; fails with what it says when it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(devices),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
