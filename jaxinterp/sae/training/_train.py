r"""Training: one function for every kind, several steps a dispatch, resumable to the bit."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...core._check import check_key
from ...data._identity import optimizer_print
from ...mesh._dictionaries import dictionary_mesh, shard
from ...mesh._rows import steps_on
from ..files._origin import Origin, origin_of, with_origin
from ._batches import Batches
from ._loop import History, Run, drive
from ._request import about, check_counts, check_kind, check_rows
from ._resample import resample
from ._state import State, begin, several


def train(
    key: Any,
    kind: Any,
    stream: Any,
    optimizer: Any = None,
    *,
    steps: int,
    batch: int = 4096,
    average: float | int | None = None,
    together: int = 16,
    every: int = 0,
    evaluate: Callable[[Any, int], Any] | None = None,
    callback: Callable[[int, dict[str, float]], Any] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: Literal["same", "force"] = "same",
    sample: int = 32_768,
    mesh: Any = None,
    progress: bool = True,
) -> tuple[Any, dict[str, np.ndarray]]:
    r"""$\min_\theta \mathbb E_x L(x; \theta)$ for any kind of dictionary.

    **Arguments:**

    - `key`: a `jax.random.key`, for weights and the order of the rows.
    - `kind`: a kind with its settings, as `ji.sae.TopK(d=512, features=4096, k=32)`; or a dictionary,
      which goes on from its weights.
    - `stream`: an array of activations `(n, d)` (shuffled anew each epoch), a pair (inputs,
      targets), an iterable of batches, or what has `batch(i)`: `ji.data.stream`, `ji.data.Store`.
    - `optimizer`: any of optax, made for the leaves that train; by default the kind's own recipe.
      Decoder rows keep norm 1 around it where the kind says so.
    - `steps`; `batch` rows a step, where the stream leaves that open.
    - `average`: the decay of an average of the weights, which is then what is returned.
    - `together`: steps per dispatch.
    - `every`: after so many steps `evaluate(sae, step)`, whose named numbers go to the history, and
      `callback(step, numbers)`, for loggers.
    - `checkpoint`: a folder, written every `checkpoint_every` steps; where it exists, the run
      goes on from it, to the same weights bit for bit.
    - `resume`: with "same" a checkpoint of other data or another optimizer is refused (arrays are
      told apart by content, streams by model, tokens, site and settings, other objects by their first
      batch, optimizers by what they do to a few gradients); "force" goes on from it with these.
    - `sample`: rows for the first weights and scales, and for resampling.
    - `mesh`: with axes "data" and "feature", over which rows and features are divided (`shard`).

    **Returns:** the dictionary, which knows the model and the site of a stream that says them, and its
    history: arrays `(steps,)` of `loss`, its terms, `l0` and
    the share `dead`, and of `evaluate` what it gave, with `evaluated` the steps.

    **Raises:** ValueError for a stream that ends, is not finite or has another width, and for a
    checkpoint of another run.

    ```python
    x = jax.random.normal(jax.random.key(0), (4096, 32))
    kind = ji.sae.TopK(d=32, features=64, k=4)
    sae, history = ji.sae.train(jax.random.key(1), kind, x, steps=100, batch=256, progress=False)
    history["reconstruction"][-1], sae.encode(x).shape
    ```

    Law: a run that was killed and begun again ends with the weights of one that was not.
    """
    check_kind(kind)
    check_counts(steps=steps, batch=batch, together=together, every=every, checkpoint_every=checkpoint_every)
    first, later = jax.random.split(check_key(key, "ji.sae.train({}, kind, stream, ...)"))
    seed = int(np.asarray(jax.random.key_data(later)).ravel()[-1])
    batches = Batches(stream, batch, seed)
    x, y = batches.sample(sample)
    check_rows(kind, x)
    origin = batches.origin()
    origin = origin if any(origin) else origin_of(kind)
    identity = about(kind, steps, len(batches.first()[0]), seed, average)
    sae = with_origin(kind.start(first, jnp.asarray(x), jnp.asarray(y)), Origin())
    kind = sae.kind
    optimizer = kind.optimizer(steps) if optimizer is None else optimizer
    transform = kind.constrain(optimizer)
    x, y = batches.first()
    rows = len(x)
    state = begin(sae, transform, x, y, average is not None)
    if mesh is not None:
        mesh = dictionary_mesh(mesh)
        state = shard(state, mesh)
    known = (
        {}
        if checkpoint is None
        else {
            "data": batches.described(),
            "optimizer": optimizer_print(optimizer, eqx.filter(sae, sae.trainable()), steps),
        }
    )
    run = One(kind, batches, transform, steps, rows, average, mesh, later, sample)
    run.state = state
    (history,) = drive(
        run,
        steps=steps,
        together=together,
        every=every,
        evaluate=evaluate,
        callback=callback,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
        about={**identity, **known},
        resume=resume,
    )
    return with_origin(run.result(0), origin), history


class One(Run):
    """A run of one dictionary; `state` is a `State`."""

    def __init__(
        self,
        kind: Any,
        batches: Batches,
        transform: Any,
        steps: int,
        rows: int,
        average: Any,
        mesh: Any,
        key: Any,
        sample: int,
    ) -> None:
        self.batches, self.mesh, self.average = batches, mesh, average
        self.key, self.rows = key, sample
        self.name, self.members, self.sites = type(kind).__name__, [(0, None)], [None]
        self.renewals = kind.renewals
        arrays = None
        if batches.arrays is not None and mesh is None:
            arrays = tuple(jnp.asarray(a) for a in batches.arrays)
        decay = jnp.float32(0 if average is None else average)
        self.fixed = (arrays, transform, steps, kind.dead_after(rows), decay)

    def fetch(self, start: int, end: int) -> tuple[Any, Any]:
        if self.fixed[0] is not None:
            return np.stack([self.batches.rows(i) for i in range(start, end)]), None
        pairs = [self.batches.get(i) for i in range(start, end)]
        same = all(x is y for x, y in pairs)
        if self.mesh is not None:
            xs = steps_on(self.mesh, [x for x, _ in pairs])
            return xs, None if same else steps_on(self.mesh, [y for _, y in pairs])
        xs = jnp.stack([jnp.asarray(x) for x, _ in pairs])
        return xs, None if same else jnp.stack([jnp.asarray(y) for _, y in pairs])

    def advance(self, start: int, end: int, data: Any) -> list[History]:
        xs, ys = data
        with nullcontext() if self.mesh is None else jax.set_mesh(self.mesh):
            self.state, told = several(self.fixed, self.state, jnp.asarray(xs), ys)
        numbers = {name: np.asarray(value) for name, value in told.items()}
        bad = np.flatnonzero(~np.isfinite(numbers["loss"]))
        if bad.size:
            raise ValueError(
                f"The loss is not finite at step {start + int(bad[0])}. Either the stream "
                "holds NaN or infinity (check np.isfinite(batch).all()), or the rate is too "
                "high: give optimizer=optax.adam(1e-4)."
            )
        return [numbers]

    def renew(self, step: int) -> None:
        x, _ = self.batches.sample(self.rows)
        state = self.state
        dead = state.silent >= self.fixed[3]
        key = jax.random.fold_in(self.key, step)
        sae, moments = resample(key, state.sae, state.moments, dead, jnp.asarray(x))
        silent = jnp.where(dead, 0, state.silent)
        self.state = State(sae, moments, silent, state.average, state.step)

    def result(self, member: int) -> Any:
        state = self.state
        if self.average is None:
            return jax.tree.map(jnp.copy, state.sae)  # its buffers go to the next step
        sae = jax.tree.map(jnp.copy, eqx.combine(state.average, state.sae))
        return sae.kind.project(sae)

    def form(self, each: list[Any]) -> Any:
        return each[0]
