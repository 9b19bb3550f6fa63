"""Checkpoints of one training: any function of a model over all of them, compiled once."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_int
from .._text import shown
from ..corpus._progress import watched
from ..hub._load import load
from ..stats._results import Record, Result, flattened
from ..typing import DTypeLike, IntLike, ModelLike, PathLike, PyTree


@dataclass(frozen=True, eq=False)
class Trajectory(Result):
    """What a function says of each checkpoint; made by `ModelSeries.map`.

    - `labels`: the names of the checkpoints, `steps`: the numbers in them, where each has one, or 0, 1, 2 ...
    - `values`: a tree of arrays `(checkpoint, ...)`: what the function returns, stacked.
    """

    labels: tuple[str, ...]
    steps: np.ndarray
    values: PyTree

    def records(self) -> list[Record]:
        """One dict for each checkpoint: numbers as numbers, arrays as lists."""
        columns = _columns(self.values)
        rows = []
        for i, label in enumerate(self.labels):
            row: Record = {"checkpoint": label, "step": int(self.steps[i])}
            rows.append(row | {name: np.asarray(x[i]).tolist() for name, x in columns.items()})
        return rows

    def figure(self, *, title: str = "Over training", y_axis: str = "value", log: bool = False) -> viz.Figure:
        """A curve over steps for each number that the function returns.

        **Arguments:**

        - `title`, `y_axis`: texts.
        - `log`: whether equal ratios of steps are equally far; steps are then positive.

        **Raises:** ValueError where the function returns no numbers, but arrays.
        """
        curves = {name: x for name, x in _columns(self.values).items() if x.ndim == 1}
        if not curves:
            raise ValueError(
                "A curve is of one number for each checkpoint; this function returns arrays. See .values."
            )
        return viz.lines(curves, x=self.steps, title=title, x_axis="step", y_axis=y_axis, log=log)


def _columns(values: PyTree) -> dict[str, np.ndarray]:
    """The stacked arrays by name."""
    if isinstance(values, dict | Result):
        return {name: np.asarray(x) for name, x in flattened(values)}
    leaves = jax.tree_util.tree_leaves_with_path(values)
    key = lambda path: jax.tree_util.keystr(path, simple=True, separator=".") or "value"
    return {key(path): np.asarray(x) for path, x in leaves}


class ModelSeries(Sequence[ModelLike]):
    """Checkpoints of one training, read when they are asked for; made by `checkpoints`."""

    def __init__(
        self, sources: Sequence[Any], labels: Sequence[str], read: Callable[[Any], ModelLike]
    ) -> None:
        self.labels = tuple(labels)
        self._sources, self._read = tuple(sources), read

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: Any) -> Any:
        """The model of a number, or some of the checkpoints for a slice."""
        if isinstance(index, slice):
            return ModelSeries(self._sources[index], self.labels[index], self._read)
        return self._read(self._sources[as_int(index, "A checkpoint's number")])

    def __repr__(self) -> str:
        return f"ModelSeries({', '.join(self.labels)})"

    @property
    def steps(self) -> np.ndarray:
        """The last number in each label, or 0, 1, 2 ... where a label has none."""
        found = [re.findall(r"\d+", label) for label in self.labels]
        if not all(found):
            return np.arange(len(self))
        return np.array([int(each[-1]) for each in found])

    def map(
        self, function: Callable[[Any], PyTree], *, at_once: IntLike = 1, progress: bool = True
    ) -> Trajectory:
        r"""$[f(M_1), \dots, f(M_n)]$, stacked: one checkpoint is in memory at a time, and programs are compiled once.

        **Arguments:**

        - `function(model)`: anything of this library; it returns a tree of numbers and arrays, of the same
          shapes for every checkpoint.
        - `at_once`: how many checkpoints are one model with a leading axis, under `jax.vmap`; 1 by default.
          With more, `function` must be pure JAX.
        - `progress`: whether a progress bar is shown; True by default.

        **Returns:** `Trajectory`.

        **Raises:** ValueError for a checkpoint of other shapes than the first, naming the first leaf.

        ```python
        models = ji.neurons.checkpoints(["examples/train_tiny/checkpoints/step1000", "tiny"], labels=["1000", "4100"])
        loss = lambda model: ji.metrics.cross_entropy(tokens)(ji.run(model, tokens)[0]).mean()
        models.map(loss).figure()
        ```

        Law: `at_once` changes nothing, to rounding.
        """
        size = as_int(at_once, "at_once, the number of checkpoints in one model,", 1)
        found: list[PyTree] = []
        first: Any = None
        for start in watched(range(0, len(self), size), -(-len(self) // size), "checkpoints", progress):
            group = [self[i] for i in range(start, min(start + size, len(self)))]
            first = group[0] if first is None else first
            for model, label in zip(group, self.labels[start:], strict=False):
                _check_like(first, model, label)
            if size == 1:
                found.append(jax.tree.map(np.asarray, function(group[0])))
                continue
            out = _all_at_once(function, group)
            found += [jax.tree.map(lambda x, i=i: np.asarray(x[i]), out) for i in range(len(group))]
        return Trajectory(self.labels, self.steps, jax.tree.map(lambda *leaves: np.stack(leaves), *found))


def _all_at_once(function: Callable[[Any], PyTree], group: Sequence[Any]) -> PyTree:
    """What the function returns of each model, stacked: the models are one with a leading axis."""
    arrays, rest = zip(*(eqx.partition(model, eqx.is_array) for model in group), strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
    return jax.vmap(lambda own: function(eqx.combine(own, rest[0])))(stacked)


def _check_like(first: Any, model: Any, label: str) -> None:
    mine, own = (
        dict(jax.tree_util.tree_leaves_with_path(eqx.filter(m, eqx.is_array))) for m in (first, model)
    )
    for path in [*mine, *own]:
        a, b = (getattr(tree.get(path), "shape", None) for tree in (mine, own))
        if a != b:
            raise ValueError(
                f"Checkpoints of one training have the same shapes; {jax.tree_util.keystr(path)} is {b} in "
                f"{label!r} and {a} in the first one. Give checkpoints of one model."
            )


def checkpoints(
    source: PathLike | Sequence[PathLike | ModelLike],
    revisions: Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
    dtype: DTypeLike | None = None,
    cache_dir: PathLike | None = None,
    offline: bool = False,
) -> ModelSeries:
    r"""$M_{t_1}, \dots, M_{t_n}$: several revisions of a model, several folders, or models in memory.

    **Arguments:**

    - `source`: a name that `ji.load` takes, with `revisions`; or a list of names, folders and models.
    - `revisions`: branches or tags of the hub, in order: `["step1000", "step3000"]` of Pythia.
    - `labels`: names of the checkpoints; by default the revisions, or the last part of each path.
    - `dtype`, `cache_dir`, `offline`: as in `ji.load`.

    **Returns:** `ModelSeries`: `len`, `[i]` is a model, `.map(function)`.

    **Raises:** ValueError for no checkpoint, `revisions` of a list, or labels of another number;
    FileNotFoundError, before anything is computed, for folders that are not there.

    ```python
    pythia = ji.neurons.checkpoints("pythia-70m", ["step1000", "step3000", "step143000"])
    here = ji.neurons.checkpoints([model, edited], labels=["before", "after"])
    ```
    """
    if isinstance(source, str | os.PathLike):
        several: list[Any] = [(source, revision) for revision in revisions or ()]
        named = [str(revision) for revision in revisions or ()]
    else:
        if revisions is not None:
            raise ValueError(
                "revisions= are of one model: ji.neurons.checkpoints('pythia-70m', revisions). A list holds folders, "
                "names or models, and has no revisions."
            )
        several = [(each, None) for each in source]
        named = [
            os.path.basename(os.fspath(each).rstrip("/")) if isinstance(each, str | os.PathLike) else str(i)
            for i, each in enumerate(source)
        ]
    if not several:
        raise ValueError(
            "There is no checkpoint: give revisions=['step1000', ...] of a name, or a list of folders."
        )
    gone = [each for each, _ in several if _is_folder(each) and not os.path.exists(each)]
    if gone:
        raise FileNotFoundError(
            f"{len(gone)} of {len(several)} checkpoints are not there: {shown([os.fspath(each) for each in gone])}."
        )
    if labels is not None and len(labels) != len(several):
        raise ValueError(f"There are {len(several)} checkpoints and {len(labels)} labels.")

    def read(one: Any) -> ModelLike:
        what, revision = one
        if not isinstance(what, str | os.PathLike):
            return what
        return load(what, revision, dtype, cache_dir=cache_dir, offline=offline)[0]

    return ModelSeries(several, named if labels is None else labels, read)


def _is_folder(each: Any) -> bool:
    """Whether a source is written as a path: one separator is a hub id, two or a leading dot a folder."""
    if not isinstance(each, str | os.PathLike):
        return False
    text = os.fspath(each)
    return isinstance(each, os.PathLike) or text.startswith((".", "/", "~")) or text.count("/") > 1
