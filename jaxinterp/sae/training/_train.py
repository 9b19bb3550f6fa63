r"""Training of one dictionary of any kind."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import numpy as np

from ..._deprecations import key_by_name, respelled
from ...core._check import check_key
from ...corpus._progress import waiting
from ...data import Stream
from ...data._mesh_stream import MeshStream
from ...fit._checks import check_optimizer
from ...fit._longer import schedules_of
from ...fit._loop import drive
from ...fit._rows import seed_of
from ...fit._settings import OPTIONS, SettingsLike, check_counts, check_settings
from ...mesh._automatic import check_around
from ...mesh._dictionaries import dictionary_mesh
from ...typing import ActivationsLike, CoderLike, IntLike, KeyLike, KindLike, MeshLike, OptimizerLike
from ..files._origin import Origin, origin_of, with_origin
from ..kinds._dictionary import Dictionary
from ._batches import Batches
from ._blocks import BlocksTask, block_of
from ._optimizers import parts_of
from ._request import check_kind, check_rows, described
from ._run import DictionaryRun
from ._start import first_state, first_weights
from ._state import DictionaryTask

PER_DISPATCH = 16

History: TypeAlias = dict[str, np.ndarray]
"Numbers by name: of the steps `(step,)`, and of `evaluate` with `evaluated`, the steps of these."


@key_by_name("ji.sae.train(kind, stream, optimizer, key=key, steps=..., batch_size=...)")
@respelled(**OPTIONS, batch="batch_size=")
def train(
    kind: KindLike | CoderLike,
    stream: ActivationsLike,
    optimizer: OptimizerLike | None = None,
    *,
    key: KeyLike,
    steps: IntLike,
    batch_size: IntLike = 4096,
    settings: SettingsLike | None = None,
    mesh: MeshLike | None = None,
    max_bytes: IntLike | None = None,
) -> tuple[Dictionary, History]:
    r"""$\min_\theta \mathbb E_x L(x; \theta)$ for any kind of dictionary.

    **Arguments:**

    - `kind`: a kind with its settings, such as `ji.sae.TopK(d=512, features=4096, k=32)`. A dictionary
      is trained further from its weights.
    - `stream`: an array of activations `(n, d)`, shuffled anew in each epoch; a pair (inputs, targets)
      of arrays; an iterable of batches; or an object with `batch(i)`: `ji.data.stream`, `ji.data.Store`.
    - `optimizer`: an optimizer of optax, for the leaves that train; by default the kind's own recipe.
      For kinds with unit rows it is wrapped so that decoder rows keep norm 1.
    - `key`: a `jax.random.key`, for the first weights and the order of the rows.
    - `steps`: how many steps.
    - `batch_size`: rows of one step, where the stream does not decide it; 4096 by default.
    - `settings`: how the training runs, reports and is saved: `ji.fit.Settings`. Its field `sample`
      is the number of rows from which first weights and scales are estimated, and from which dead
      features are drawn anew; `evaluate(sae, step)` gets the dictionary as it is then.
    - `mesh`: a mesh with the axes "data" and "feature", over which rows and features are divided (`shard`).
      Activations of a `ji.data.stream` then never leave its devices (`Stream.on`).
    - `max_bytes`: the memory of one block of features, in bytes. Features are then updated block by block, which takes one or two
      products more and little memory besides the weights and what the optimizer remembers. It is for kinds whose loss is a function
      of sums over features, as those here, and for optimizers that treat each feature by itself, or clip by `clip_norm` of
      `ji.sae.adam` before. None (the default) takes all at once.

    **Returns:** the dictionary and its history. The dictionary records the model and the site of a stream that knows
    them. The history has arrays `(step,)` of `loss`, its terms, `l0` and the share `dead`, the numbers of `evaluate`, and
    `evaluated`, the steps at which it was called.

    **Raises:** ValueError for a stream that ends, is not finite or has another width, and for a checkpoint of a run with
    other settings, data, weights or another optimizer. Arrays are compared by content, streams by model, tokens, site and
    settings, other objects by their first batch, and optimizers by their updates for a few gradients.

    ```python
    x = jax.random.normal(jax.random.key(0), (4096, 32))
    kind = ji.sae.TopK(d=32, features=64, k=4)
    sae, history = ji.sae.train(kind, x, key=jax.random.key(1), steps=100, batch_size=256)
    history["reconstruction"][-1], sae.encode(x).shape
    ```

    Laws: a run that was killed and started again ends with the weights of one that was not, bit for bit. So
    does a finished run that is called again with more steps, for kinds whose recipe does not depend on
    the number of steps (`TopK`, `BatchTopK`, `Matryoshka`, `Vanilla`); for others see `Settings.resume`. With `max_bytes`
    the weights are the same to rounding.
    """
    check_kind(kind)
    settings = check_settings(settings)
    check_counts(steps=steps, batch_size=batch_size)
    steps, batch_size = int(steps), int(batch_size)
    first, later = jax.random.split(check_key(key, "ji.sae.train(kind, stream, key={}, ...)"))
    seed = seed_of(later)
    if mesh is not None:
        check_around()
        mesh = dictionary_mesh(mesh)
    if mesh is not None and isinstance(stream, Stream):
        stream = stream.on(mesh)
    batches = Batches(stream, batch_size, seed)
    with waiting("first rows of the training", settings.progress):
        x, y = batches.sample(settings.sample)
    check_rows(kind, x)
    origin = batches.origin()
    origin = origin if any(origin) else origin_of(kind)
    request: Any = kind
    with waiting("first weights", settings.progress):
        sae = with_origin(first_weights(request, mesh, first, x, y), Origin())
    settled = sae.kind
    chosen: Any = settled.optimizer(steps) if optimizer is None else optimizer
    check_optimizer(chosen)
    constrained = settled.constrain(chosen)
    x, y = batches.first()
    block = None if max_bytes is None else block_of(settled, constrained, sae, len(x), max_bytes, mesh)
    state = first_state(sae, mesh, constrained, x, y, settings.average is not None)
    about = described(request, steps, len(x), seed, settings.average)
    schedules = None
    if settings.checkpoint is not None:
        about["data"] = batches.described()
        schedules = schedules_of(chosen, eqx.filter(sae, sae.trainable()), settled.warm)
        about["optimizer"] = schedules.printed(steps)
    del sae  # the state has weights of its own
    given = constrained, None, steps, settled.dead_after(len(x))
    run = DictionaryRun(
        DictionaryTask(*given) if block is None else BlocksTask(*given, block, parts_of(constrained)[1]),
        state,
        batches,
        key=later,
        sample_rows=settings.sample,
        name=type(settled).__name__,
        decay=settings.average,
        mesh=mesh,
        renewals=settled.renewals,
        reads_ahead=not isinstance(stream, MeshStream),
    )
    (history,) = drive(
        run, settings, steps=steps, per_dispatch=PER_DISPATCH, about=about, schedules=schedules
    )
    return with_origin(run.result(0), origin), history
