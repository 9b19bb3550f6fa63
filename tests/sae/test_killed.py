"""A training that is killed, at any moment and while it writes, ends as one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Trains, tells each step, and writes down what came out. With a third argument it kills itself at
# that rename inside of its folder: orbax renames what it wrote when it is whole.
CHILD = """
import os, pathlib, signal, sys
folder, out, fatal = sys.argv[1], sys.argv[2], int(sys.argv[3])
import jax, numpy as np, optax
from jaxinterp import fit, sae

if fatal:
    left = [fatal]
    def deadly(move):
        def moved(*args, **options):
            left[0] -= folder in str(args[0])
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return move(*args, **options)
        return moved
    for name in ("rename", "replace"):
        setattr(os, name, deadly(getattr(os, name)))
        setattr(pathlib.Path, name, deadly(getattr(pathlib.Path, name)))
x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
def tell(step, numbers):
    print(step, flush=True)
found, history = sae.train(sae.TopK(d=8, features=32, k=2, dead_tokens=60, aux=4), x, optax.adam(1e-2), key=jax.random.key(0), steps=24, batch_size=20, settings=fit.Settings(steps_per_dispatch=4, every=1, callback=tell, average=0.9, progress=False, evaluate=lambda sae, step: {"norm": float((sae.encoder**2).sum())}, checkpoint=folder or None, checkpoint_every=2))
leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(found))}
np.savez(out, **leaves, **history)
"""


def begun(folder: Any, out: Path, fatal: int = 0) -> Any:
    args = [sys.executable, "-c", CHILD, str(folder), str(out), str(fatal)]
    return subprocess.Popen(
        args,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def ended(process: Any, want: int) -> str:
    said, error = process.communicate(timeout=200)
    assert process.returncode == want, error[-3000:]
    return said


@pytest.mark.slow
def test_killed_at_random_and_while_it_writes(tmp_path: Path) -> None:
    ended(begun("", tmp_path / "whole.npz"), 0)
    folder, out, draw = tmp_path / "run", tmp_path / "found.npz", random.Random(0)
    for _ in range(4):
        process = begun(folder, out)
        for _ in range(draw.randint(1, 4)):
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        ended(process, -9)
    ended(begun(folder, out, fatal=3), -9)
    assert not out.exists()
    first = int(ended(begun(folder, out), 0).split()[0])
    assert first > 2  # it went on
    names = [path.name for path in folder.iterdir()]
    assert all(name.isdigit() for name in names) and "24" in names, names
    with np.load(tmp_path / "whole.npz") as whole, np.load(out) as found:
        assert set(whole.files) == set(found.files) and len(whole["loss"]) == 24
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], found[name], err_msg=name)
