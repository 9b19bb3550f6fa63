"""The lines for loggers in the documentation, with stand-ins that record what they get."""

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxinterp as ji

PAGE = Path(__file__).parents[2] / "docs" / "fit.md"


def test_the_lines_for_loggers_log_every_number():
    table = PAGE.read_text().split("### Loggers")[1].split("\n## ")[0]
    lines = dict(re.findall(r"^\| (.+?) \| `(lambda .+|print)` \|$", table, re.M))
    assert len(lines) == 4
    runs, scalars, file = [], [], io.StringIO()
    names = {
        "run": SimpleNamespace(log=lambda numbers, step: runs.append((step, dict(numbers)))),
        "writer": SimpleNamespace(add_scalar=lambda name, number, step: scalars.append((name, number, step))),
        "file": file,
        "json": json,
    }
    callbacks = [eval(line, dict(names)) for line in lines.values() if line != "print"]
    every = lambda step, numbers: [one(step, numbers) for one in callbacks]
    settings = ji.fit.Settings(
        every=2, callback=every, progress=False, evaluate=lambda w, step: {"size": 2.0}
    )
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    loss = lambda w, batch, now: (jnp.mean((batch @ w - 1) ** 2), {})
    batches = ji.fit.Rows(x, 5, key=jax.random.key(0))
    found = ji.fit.train(jnp.zeros(3), batches, loss, optax.sgd(0.1), steps=4, settings=settings)
    assert [step for step, _ in runs] == [2, 4] and set(runs[0][1]) == {"loss", "size"}
    assert runs[1][1]["loss"] == np.float32(found.history["loss"][3])
    assert scalars == [(name, number, step) for step, numbers in runs for name, number in numbers.items()]
    assert [json.loads(line) for line in file.getvalue().splitlines()] == [
        {"step": step, **numbers} for step, numbers in runs
    ]
