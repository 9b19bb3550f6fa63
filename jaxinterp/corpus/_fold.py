r"""The one way to read many texts: a state that every batch of a corpus advances."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._disk import sole
from .._text import shown
from ..core._acts import Acts
from ..core._blocks import layer_count
from ..core._captures import as_requests
from ..core._intervene import split_edits
from ..core._listing import sites
from ..core._run import run
from ..mesh._gather import on_mesh
from ..mesh._rows import replicated
from ..typing import AnyCorpus, CaptureLike, CorpusLike, IndexLike, MeshLike, ModelLike, PathLike
from ._batches import Batch, CorpusBatches, counts_tokens
from ._checkpoint import Checkpoint, as_checkpoint, identity
from ._corpus import as_corpus
from ._progress import watched

State = TypeVar("State")


def fold(
    corpus: CorpusLike,
    model: ModelLike,
    captures: CaptureLike | Callable[[Batch], Any],
    init: State,
    step: Callable[[State, Batch, Any], State],
    *,
    per_batch: Callable[[Batch, Acts], Any] | None = None,
    extra: Any = None,
    batch_size: int | str | None = "auto",
    max_bytes: int | str = "auto",
    mesh: MeshLike | None = None,
    batches: IndexLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool | str = True,
) -> State:
    r"""$s_{i+1} = f(s_i, b_i, a(b_i))$: reads a corpus batch by batch, and updates a state with each batch.

    Each batch is one forward pass, which stops at the last layer that `captures` need. Every row in
    which something counts is read once, in order. The last batch is filled up with rows that count
    nothing, so that one compiled program serves all batches.

    **Arguments:**

    - `corpus`: a `Corpus`, or tokens `(row, pos)`. For a mask or positions write
      `ji.corpus.as_corpus(tokens, mask=..., positions=...)`.
    - `model`: as in `ji.run`, with or without edits of its own.
    - `captures`: sites, as in `ji.run`; or a function of a `Batch` that returns them, for positions of
      the batch: `lambda batch: ji.at("mlp_post", pos=batch.positions, reduce="mean")`. With an
      empty list the model does not run.
    - `init`: the state before the first batch, a tree of arrays or numbers. With `jax_enable_x64` a
      number of Python has 64 bits; for 32 write `jnp.float32(0)`.
    - `step(state, batch, acts)`: returns the next state, of the same shapes and dtypes. It is
      compiled together with the run, so give a function of a module or an `eqx.Module`: a new lambda
      for each call is a new program. `batch.positions` is False in rows that only fill a batch.
    - `per_batch(batch, acts)`: with it, this function is compiled together with the run, and
      `step(state, batch, values)` is plain Python that is called with what it returns: for sums in
      float64, or files. The state is then any Python value.
    - `extra`: a tree of arrays with one entry for each row of the corpus; a step finds those of its
      rows in `batch.extra`.
    - `batch_size`: rows of a batch; "auto" takes at most 32, and fewer where the captures of a batch
      would pass `max_bytes`.
    - `max_bytes`: "auto" is 256 MiB.
    - `mesh`: of `jax.make_mesh`; the rows of a batch lie over its axis "data", and the batch size is
      rounded up to a multiple of it. A model that is not on the mesh is copied
      to each device.
    - `batches`: the numbers of the batches to read, `range(start, stop)`; by default all.
    - `checkpoint`: a file, or `ji.corpus.Checkpoint(path, every=...)`. The state is saved there, whole
      or not at all, and a fold that was interrupted continues from it.
    - `progress`: a bar once two seconds have passed; a text is its name.

    **Returns:** the state after the last batch.

    **Raises:** `ValueError` or `IndexError` before anything runs, as `ji.run`; `ValueError` for a step
    that changes the shapes of the state, and for the checkpoint of another fold.

    ```python
    def add(state, batch, acts):
        x = jnp.where(batch.positions[..., None], acts["resid_post[1]"], 0)
        return state[0] + x.sum((0, 1)), state[1] + batch.positions.sum(dtype=jnp.float32)

    tokens = tokenizer("the cat sat on the mat")
    total, count = ji.corpus.fold(tokens, model, "resid_post[1]", (jnp.zeros(model.config.d), 0.0), add)
    ```

    Laws: any batch size gives the same as one batch of all rows, to rounding; a padded row gives what
    it gives alone; a fold that was interrupted gives the same bits as one that was not.
    """
    corpus = as_corpus(corpus)
    width, padded = _needs(model, captures, corpus)
    parts = CorpusBatches(
        corpus,
        model,
        batch_size,
        extra=extra,
        padded=padded,
        width=width,
        max_bytes=max_bytes,
        mesh=mesh,
    )
    return folded(
        parts,
        model,
        captures,
        init,
        step,
        per_batch=per_batch,
        batches=batches,
        checkpoint=checkpoint,
        progress=progress,
    )


def folded(
    parts: CorpusBatches,
    model: Any,
    captures: Any,
    init: Any,
    step: Any,
    *,
    per_batch: Any = None,
    batches: Any = None,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool | str = True,
) -> Any:
    """`fold` over batches that are made already."""
    numbers = range(len(parts)) if batches is None else batches
    within = isinstance(numbers, range) and numbers.step == 1
    if not within or not 0 <= numbers.start <= numbers.stop <= len(parts):
        raise ValueError(
            f"batches= is range(start, stop) within range({len(parts)}), the batches of this corpus; got "
            f"{shown(batches)}. One batch by its number: batches=range(3, 4)."
        )
    fixed, state = (model, captures, per_batch or step), init
    if per_batch is None:
        # Numbers of Python are given the dtype that arrays of such numbers have: one program serves all.
        state = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.asarray(leaf).dtype, copy=True), init)
    if parts.mesh is not None:
        fixed = replicated(parts.mesh, fixed)
        state = replicated(parts.mesh, state) if per_batch is None else state
    kept = as_checkpoint(checkpoint)
    name = progress if isinstance(progress, str) else "corpus"
    with nullcontext() if kept is None else sole(Path(kept.path), f"reads a corpus into {kept.path}"):
        first, about = numbers.start, None
        if kept is not None:
            about = identity(parts, model, captures, step, numbers, per_batch)
            first, state = kept.load(about, state, first)
        left = range(first, numbers.stop)
        for number in watched(left, len(left), name, progress is not False):
            batch = parts[number]
            if per_batch is None:
                new = _advance((*fixed, batch), state)
                if number == first:
                    _check_same(state_structure(state), state_structure(new))
                state = new
            else:
                state = step(state, batch, _read(fixed, batch))
            done = number + 1
            if kept is not None and (done == numbers.stop or (done - numbers.start) % kept.every == 0):
                kept.save(about, done, state)
    return state


def captured(model: Any, captures: Any, batch: Batch) -> Acts:
    """What is captured of one batch, as the model runs."""
    requests = _requests(captures, batch)
    if not requests:
        return Acts({})
    return run(model, batch.tokens, capture=list(requests), mask=batch.padding, logits=False)[1]


def _requests(captures: Any, batch: Batch) -> Any:
    request: Any = captures(batch) if callable(captures) else captures
    return as_requests(request)


@on_mesh
@eqx.filter_jit(donate="all-except-first")
def _advance(fixed: Any, state: Any) -> Any:
    model, captures, step, batch = fixed
    return step(state, batch, captured(model, captures, batch))


@on_mesh
@eqx.filter_jit
def _read(fixed: tuple[Any, Any, Any], batch: Batch) -> Any:
    model, captures, per_batch = fixed
    return per_batch(batch, captured(model, captures, batch))


def _needs(model: Any, captures: Any, corpus: AnyCorpus) -> tuple[int, bool]:
    """The numbers that captures hold for each token, and whether they count real tokens.

    Positions and reductions only make captures smaller: the bound is that of whole sites.
    """
    if callable(captures):
        first = lambda x: jnp.asarray(np.asarray(x[:1]))
        mask, positions = first(corpus.mask), first(corpus.positions)
        tokens = jnp.asarray(np.asarray(corpus.tokens[np.arange(1)]))
        one = Batch(np.int32(0), jnp.zeros(1, jnp.int32), tokens, mask, positions, mask, None)
        try:
            requests = _requests(captures, one)
        except (KeyError, TypeError, AttributeError):  # captures at positions of `extra`
            return 0, True
    else:
        requests = as_requests(captures)
    base, _ = split_edits(model)
    shapes, count = sites(model), layer_count(base)
    width = 0
    for request in requests:
        if request.site in shapes and request.reduce is None:
            struct = shapes[request.site]
            layered = len(request.layer_range(count)) / count
            width += int(np.prod(struct.shape) * layered) // 8  # a listing is of eight tokens
    return width, counts_tokens(requests)


def state_structure(state: Any) -> Any:
    """The tree of a state, with shape and dtype of each leaf."""
    leaves, tree = jax.tree.flatten(state)
    return tree, [(np.shape(leaf), str(getattr(leaf, "dtype", type(leaf).__name__))) for leaf in leaves]


def _check_same(before: Any, after: Any) -> None:
    if before == after:
        return
    if before[0] != after[0]:
        what = f"{before[0]} before and {after[0]} after"
    else:
        a, b = next((a, b) for a, b in zip(before[1], after[1], strict=True) if a != b)
        what = f"a leaf {a[1]}{list(a[0])} before and {b[1]}{list(b[0])} after"
    raise ValueError(
        f"step returns a state of the same shapes and dtypes as init: one program serves all batches. Here "
        f"the first batch made {what}. Give init that shape and dtype, or cast in step."
    )
