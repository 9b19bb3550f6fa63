"""What removing and adding each candidate does, a layer a call of one compiled program."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..core import Edit, add, resume, run, sites
from ..core._blocks import layer_count
from ..core._check import logit_count
from ..core._intervene import split_edits
from ..corpus._checkpoint import as_checkpoint
from ..corpus._fingerprint import fingerprint
from ..corpus._model_hash import model_hash
from ..corpus._progress import watched
from ..metrics import Metric
from ..typing import BoolLike, ModelLike, PathLike
from ._candidates import SelectionSettings, first_late
from ._interventions import WRITTEN, ablate
from ._prompts import Prompts

EPSILON = 1e-6
"Added to probabilities before their logarithm, as published."
STREAM_BYTES = 2**29
"The stream of harmless prompts is kept for the runs that add a direction, where it takes no more."
RUN_BYTES = 2**28
"So many candidates of a layer run side by side as take no more."


class Trial(NamedTuple):
    """What the program reads, beside a layer and its directions.

    - `harmful`, `harmless`: tokens and mask. `answer (n, vocab)`: logits behind the harmless prompts.
    - `stream (layer, n, pos, d)`: of the harmless prompts before every block, or None where runs that add a
      direction begin with the tokens.
    """

    model: Any
    harmful: tuple[Any, Any]
    harmless: tuple[Any, Any]
    answer: Array
    stream: Array | None
    metric: Metric


def scores(
    model: ModelLike,
    prompts: list[Prompts],
    metric: Metric,
    directions: np.ndarray,
    settings: SelectionSettings,
    checkpoint: PathLike | None,
    progress: BoolLike,
) -> list[np.ndarray]:
    """Bypass, induce and KL `(position, layer)` of directions `(position, layer, d)`, NaN at late layers."""
    positions, depth = directions.shape[:2]
    last = min(first_late(depth, settings), depth)
    trial = _trial(model, prompts, metric)
    written = tuple(site for site in WRITTEN if site in sites(model, prompts[0].tokens))
    side_by_side = _side_by_side(model, prompts, positions)
    found, first = np.full((3, positions, depth), np.nan), 0
    kept = as_checkpoint(checkpoint)
    about = {} if kept is None else _about(trial, directions)
    if kept is not None:
        first, read = kept.load(about, found, 0)
        found = np.array(read)
    for layer in watched(range(first, last), last - first, "layers", bool(progress), unit="layer"):
        along = jnp.asarray(directions[:, layer])
        found[:, :, layer] = np.stack(_tried(trial, jnp.int32(layer), along, written, side_by_side))
        if kept is not None:
            kept.save(about, layer + 1, found)
    return list(found)


@eqx.filter_jit
def _tried(
    trial: Trial, layer: Array, directions: Array, written: tuple[str, ...], side_by_side: int
) -> tuple[Array, Array, Array]:
    """Bypass, induce and KL `(position,)` of the directions `(position, d)` of one layer."""
    reference = jax.nn.softmax(wide_logits(trial.answer))

    def one(direction: Array) -> tuple[Array, Array, Array]:
        removed = ablate(direction, sites=written)
        bypass = measured(trial.model, trial.harmful, trial.metric, removed).mean()
        tokens, mask = trial.harmless
        answer, _ = run(trial.model, tokens, edits=removed, mask=mask, logits=-1)
        kl = mean_kl(reference, jax.nn.softmax(wide_logits(answer))).mean()
        return bypass, _added(trial, layer, direction).mean(), kl

    return lax.map(one, directions, batch_size=side_by_side)


def measured(
    model: ModelLike, prompts: tuple[Any, Any], metric: Metric, edits: list[Edit] | tuple[()]
) -> Array:
    """The metric `(n,)` of a run with edits."""
    tokens, mask = prompts
    metric = metric.padded(mask)
    at = True if metric.pos is None else metric.pos
    logits, _ = run(model, tokens, edits=edits, mask=mask, logits=at)
    return metric.of(logits)


def mean_kl(reference: Float[Array, "... vocab"], other: Float[Array, "... vocab"]) -> Float[Array, "..."]:
    """$\\sum_v p_v (\\log(p_v + \\epsilon) - \\log(q_v + \\epsilon))$ of probabilities."""
    return (reference * (jnp.log(reference + EPSILON) - jnp.log(other + EPSILON))).sum(-1)


def _added(trial: Trial, layer: Array, direction: Array) -> Array:
    """The metric of the harmless prompts with the direction added before block `layer`, at all positions."""
    if trial.stream is None:
        return measured(trial.model, trial.harmless, trial.metric, [add("resid_pre", direction, layer=layer)])
    before = lax.dynamic_index_in_dim(trial.stream, layer, keepdims=False)
    moved = before + direction.astype(before.dtype)[None, None]
    mask = trial.harmless[1]
    metric = trial.metric.padded(mask)
    at = True if metric.pos is None else metric.pos
    return metric.of(resume(trial.model, moved, layer, mask=mask, logits=at)[0])


def _trial(model: Any, prompts: list[Prompts], metric: Metric) -> Trial:
    """The prompts, the answers to the harmless ones, and their stream where a run may begin with it."""
    harmful, harmless = ((each.tokens, each.mask) for each in prompts)
    base, own = split_edits(model)
    size = 4 * layer_count(base) * harmless[1].size * base.config.d
    # An edit of the model's own stands in the stream already, and would act a second time.
    capture = [] if own or size > STREAM_BYTES else ["resid_pre"]
    answer, acts = run(model, harmless[0], mask=harmless[1], capture=capture, logits=-1)
    assert answer is not None
    return Trial(model, harmful, harmless, answer, acts["resid_pre"] if capture else None, metric)


def _side_by_side(model: Any, prompts: list[Prompts], positions: int) -> int:
    """How many candidates run at once: a divisor of their number."""
    config = split_edits(model)[0].config
    wide = 6 * config.d + 3 * (getattr(config, "ff", None) or 0)
    tokens = sum(each.mask.size for each in prompts)
    rows = sum(map(len, prompts))
    fitting = max(1, RUN_BYTES // (4 * (tokens * wide + 3 * rows * logit_count(config))))
    return max(n for n in range(1, positions + 1) if positions % n == 0 and n <= fitting)


def _about(trial: Trial, directions: np.ndarray) -> dict[str, Any]:
    """What the file of a selection must agree with."""
    arrays = jax.tree.leaves(eqx.filter((trial.harmful, trial.harmless, trial.metric), eqx.is_array))
    return {
        "selection": fingerprint(directions, *map(np.asarray, arrays)),
        "metric": trial.metric.name,
        "model": model_hash(trial.model),
    }


def wide_logits(logits: Any) -> Array:
    return logits.astype(np.promote_types(logits.dtype, np.float32))
