"""Pages "Coming from ...": their two columns, run one after the other in one namespace.

A block with a title is one column; a block of jaxinterp follows each block of the other library. What they
call `theirs` and `ours` is compared.
"""

import linecache
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxinterp as ji

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r'^##+ (.+?)$|```python title="([^"]+)"\n(.*?)```', re.M | re.S)
CLEAN, CORRUPTED = [[1, 7, 3, 9, 3], [4, 2, 8, 0, 5]], [[1, 7, 6, 9, 3], [4, 2, 1, 0, 5]]


class Compared(NamedTuple):
    """One job of a page: its heading and the largest difference, over the largest value."""

    job: str
    difference: float


def compared(page: str, names: dict[str, Any]) -> list[Compared]:
    """Runs the blocks of a page; `names` is what they may use."""
    found, heading = [], ""
    for title, library, code in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        heading = title or heading
        if not library:
            continue
        where = f"{page}, {heading}, {library}"
        linecache.cache[where] = len(code), None, code.splitlines(True), where  # nnsight reads its own source
        exec(compile(code, where, "exec"), names)
        if library == "jaxinterp":
            theirs, ours = (numbers(names.pop(name)) for name in ("theirs", "ours"))
            if theirs.shape != ours.shape:
                raise ValueError(f"{page}, {heading}: the shapes {theirs.shape} and {ours.shape}.")
            found.append(Compared(heading, float(np.abs(theirs - ours).max() / np.abs(theirs).max())))
    if not found:
        raise ValueError(f"{page} has no columns.")
    return found


def numbers(value: Any) -> np.ndarray:
    """Of either library, without the gradient that torch may attach."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value, np.float64)


def penzai() -> dict[str, Any]:
    """A small model of a family that penzai has."""
    config = ji.models.LlamaConfig(vocab=11, ctx=16, d=16, layers=3, heads=4, kv_heads=2, ff=24)
    model = ji.models.Llama.init(config, key=jax.random.key(0))
    return {"ji": ji, "model": model, "tokens": np.asarray(CLEAN, np.int32)}


def scikit_learn() -> dict[str, Any]:
    """Activations of 80 examples with labels and a target."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    x = rng.normal(size=(80, 6)) + y[:, None] * rng.normal(size=6)
    return {"x": x, "y": y, "target": x @ rng.normal(size=6) + rng.normal(size=80)}
