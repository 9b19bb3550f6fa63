"""Checkpoints of one training: any function of a model over all of them, compiled once."""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .._arguments import as_int, as_list, check_function
from .._disk import sole
from .._text import shown
from ..core._check import check_index
from ..corpus._progress import watched
from ..hub._load import load
from ..typing import DTypeLike, IntLike, ModelLike, PathLike, PyTree, TokenizerLike
from ._kept_results import KeptResults, results_of
from ._trajectory import Trajectory, check_alike


class ModelSeries(Sequence[ModelLike]):
    """Checkpoints of one training, each read from disk when it is used; made by `ji.neurons.checkpoints`.

    ```python
    series = ji.neurons.checkpoints([model, edited], labels=["step0", "step100"])
    len(series), series.steps, series[1].config.layers
    ```
    """

    def __init__(self, sources: Sequence[Any], labels: Sequence[str], read: Callable[[Any], Any]) -> None:
        self.labels = tuple(labels)
        self._sources, self._read = tuple(sources), read
        self._tokenizer: TokenizerLike | None = None

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: Any) -> Any:
        """The model of a number, or some of the checkpoints for a slice."""
        if isinstance(index, slice):
            return ModelSeries(self._sources[index], self.labels[index], self._read)
        number = as_int(index, "A checkpoint's number")
        check_index("checkpoint", number, len(self), f"series[{number}]")
        number %= len(self)
        model, tokenizer = self._read(self._sources[number])
        if tokenizer is not None:
            first = self._tokenizer = self._tokenizer or tokenizer
            if _pieces(first) != _pieces(tokenizer):
                raise ValueError(
                    f"Models are compared on the same tokens; the tokenizer of {self.labels[number]!r} is another one "
                    "than that of the others. Give models of one tokenizer."
                )
        return model

    @property
    def tokenizer(self) -> TokenizerLike | None:
        """The tokenizer that all models share; None for models in memory."""
        if self._tokenizer is None:
            self[0]
        return self._tokenizer

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
        self,
        function: Callable[[Any], PyTree],
        *,
        at_once: IntLike = 1,
        checkpoint: PathLike | None = None,
        progress: bool = True,
    ) -> Trajectory:
        r"""$[f(M_1), \dots, f(M_n)]$, stacked: one checkpoint is in memory at a time, and programs are compiled once.

        **Arguments:**

        - `function(model)`: anything of this library; it returns a tree of numbers and arrays, of the same
          shapes for every checkpoint.
        - `at_once`: how many checkpoints are stacked into one model with a leading axis, under `jax.vmap`; 1 by
          default. With more, `function` must be pure JAX.
        - `checkpoint`: a file from which an interrupted call continues. Each result is stored with a hash of the
          weights, so a longer series computes the new models only. The function is identified by its name, its code and
          the values in its closure, fields or `functools.partial`; other values that it reads must stay the same.
        - `progress`: whether a progress bar is shown; True by default.

        **Returns:** `Trajectory`.

        **Raises:** ValueError for a checkpoint of other shapes than the first, naming the first leaf; for results of
        other shapes, or that are no numbers; for a file of another function, or a damaged one.

        ```python
        models = ji.neurons.checkpoints(["examples/train_tiny/checkpoints/step1000", "tiny"], labels=["1000", "4100"])
        loss = lambda model: ji.metrics.cross_entropy(tokens)(ji.run(model, tokens)[0]).mean()
        models.map(loss).figure()
        ```

        Law: `at_once` changes nothing, to rounding.
        """
        size = as_int(at_once, "at_once, the number of checkpoints in one model,", 1)
        check_function(function, "function", ("model",), 'series.map(lambda model: {"loss": ...})')
        if not len(self):
            raise ValueError("This series has no checkpoint: the slice that it is of is empty.")
        found: list[PyTree] = []
        first: Any = None
        with (
            nullcontext() if checkpoint is None else sole(Path(checkpoint), f"keeps results in {checkpoint}")
        ):
            kept = None if checkpoint is None else KeptResults(checkpoint, function)
            for start in watched(range(0, len(self), size), -(-len(self) // size), "checkpoints", progress):
                group = [self[i] for i in range(start, min(start + size, len(self)))]
                first = group[0] if first is None else first
                for model, label in zip(group, self.labels[start:], strict=False):
                    _check_like(first, model, label)
                found += results_of(function, group, size, kept)
                check_alike(found, self.labels)
        return Trajectory(self.labels, self.steps, jax.tree.map(lambda *leaves: np.stack(leaves), *found))


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
    r"""$M_{t_1}, \dots, M_{t_n}$: a series of revisions of a model, of folders, or of models in memory.

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
    call = "ji.neurons.checkpoints('pythia-70m', ['step1000', 'step3000'])"
    if isinstance(source, str | os.PathLike):
        named = [str(each) for each in as_list(() if revisions is None else revisions, "revisions", call)]
        several: list[Any] = [(source, revision) for revision in named]
    else:
        if revisions is not None:
            raise ValueError(
                "revisions= are of one model: ji.neurons.checkpoints('pythia-70m', revisions). A list holds folders, "
                "names or models, and has no revisions."
            )
        if hasattr(source, "config"):
            raise ValueError(
                "A series has several models, in a list: ji.neurons.checkpoints([first, second])."
            )
        several = [(each, None) for each in as_list(source, "source", call)]
        named = [
            os.path.basename(os.fspath(each).rstrip("/")) if isinstance(each, str | os.PathLike) else str(i)
            for i, (each, _) in enumerate(several)
        ]
        for each, _ in several:
            if not isinstance(each, str | os.PathLike) and not hasattr(each, "config"):
                raise ValueError(
                    f"A checkpoint is a model, or a name or a folder that ji.load reads; got {shown(each)}. From a "
                    "pair (model, tokenizer), give the model."
                )
    if not several:
        raise ValueError(
            "There is no checkpoint: give revisions=['step1000', ...] of a name, or a list of folders."
        )
    gone = [each for each, _ in several if _is_folder(each) and not os.path.exists(each)]
    if gone:
        there = len(several) - len(gone)
        raise FileNotFoundError(
            f"{len(gone)} of {len(several)} checkpoints are not there: {shown([os.fspath(each) for each in gone])}. "
            f"Train until they are written, or give the {there} that are there."
        )
    if labels is not None:
        labels = [str(each) for each in as_list(labels, "labels", 'labels=["step0", "step1000"]')]
    if labels is not None and len(labels) != len(several):
        raise ValueError(f"There are {len(several)} checkpoints and {len(labels)} labels.")

    def read(one: Any) -> Any:
        what, revision = one
        if not isinstance(what, str | os.PathLike):
            return what, None
        return load(what, revision, dtype, cache_dir=cache_dir, offline=offline)

    return ModelSeries(several, named if labels is None else labels, read)


def _pieces(tokenizer: Any) -> list[str]:
    return list(tokenizer.tokens(np.arange(len(tokenizer))))


def _is_folder(each: Any) -> bool:
    """Whether a source is written as a path: one separator is a hub id, two or a leading dot a folder."""
    if not isinstance(each, str | os.PathLike):
        return False
    text = os.fspath(each)
    return isinstance(each, os.PathLike) or text.startswith((".", "/", "~")) or text.count("/") > 1
