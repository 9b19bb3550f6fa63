"""Processes of their own for tests that need other devices, or a fresh interpreter."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
