r"""The masked forward: the logits of a model in which some edges carry something else."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from .._arguments import check_choice
from ..core._check import logit_count
from ..core._listing import survey
from ..core._positions import ordinals
from ..core._request import as_logit_positions
from ..core._run import run as run_model
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ..patching._pairs import PatchingPair, make_pair
from ..patching.packed._plan import as_option, byte_limit
from ..typing import ArrayLike, BytesLike, IndexLike, MaskLike, ModelLike, StrLike, TokensLike
from ._circuit import Circuit, as_circuit
from ._edge_mask import SENDING, Changes, EdgeMask, cuts
from ._graph import Graph
from ._graph import graph as graph_of
from ._neurons import check_sizes, directions, units_of, vector_count

ABLATE = ("patch", "zero", "mean")


class Experiment(eqx.Module):
    """Two prompts and what cut edges carry: all of a masked forward but the mask.

    - `model`, `tokens`, `real`: the model, the clean prompts `(*batch, pos)` and their padding mask.
    - `there`: what senders write in the other run, by site, or None for zero.
    - `number`: see `EdgeMask`.
    """

    model: Any
    tokens: Array
    real: Bool[Array, "*batch pos"] | None
    there: dict[str, Array] | None
    number: Any
    graph: Graph = eqx.field(static=True)

    def edit(self, mask: Shaped[Array, " edge"], before: Changes | None = None) -> EdgeMask:
        """The edit of a mask."""
        return EdgeMask(
            cut=cuts(mask, self.graph),
            there=self.there,
            number=self.number,
            before=before,
            out=directions(self.model, self.graph),
            graph=self.graph,
        )

    def logits(self, mask: Shaped[Array, " edge"], at: Any = True) -> Float[Array, "..."]:
        """The logits of a mask, traced: `at` is as `logits` of `ji.run`."""
        out, _ = run_model(self.model, self.tokens, edits=[self.edit(mask)], mask=self.real, logits=at)
        return out

    def value(self, mask: Shaped[Array, " edge"], metric: Metric) -> Float[Array, "*batch"]:
        """The metric of a mask, traced, one number per example."""
        return metric.of(self.logits(mask, positions(metric)))


def experiment(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    graph: Graph,
    *,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    sites: tuple[str, ...] = SENDING,
) -> tuple[Experiment, PatchingPair]:
    """The checked prompts, and what cut edges carry, computed, at the `sites` where senders write."""
    check_choice(ablate, "ablate", ABLATE)
    if corrupt is None:
        if ablate != "zero":
            raise ValueError(
                f"ablate={ablate!r} puts in what senders write on the corrupt prompts, so these are needed; "
                "without them write ablate='zero'."
            )
        corrupt = clean
    pair = make_pair(model, clean, corrupt, mask, "noise")
    if pair.own:
        raise ValueError(
            "A circuit is that of a model without edits; this one carries edits of ji.intervene. Give the model "
            "that was intervened on."
        )
    if graph.pos is not None and graph.pos != pair.pos:
        raise ValueError(
            f"The graph has {graph.pos} positions, and the prompts have {pair.pos}. Make it for these prompts: "
            f"ji.circuits.graph(model, pos={pair.pos})."
        )
    if graph.neurons:
        check_sizes(graph, pair.model, pair.shapes)
        sites = (*sites, "mlp_post")
    there = None if ablate == "zero" else _there(pair.model, pair.source, pair.mask, ablate == "mean", sites)
    number = None
    if graph.pos is not None and pair.mask is not None:
        number = jnp.maximum(ordinals(pair.mask), 0)
    return Experiment(pair.model, pair.target, pair.mask, there, number, graph), pair


@on_mesh
@eqx.filter_jit
def _there(
    model: Any, tokens: Array, real: Array | None, mean: bool, sending: tuple[str, ...]
) -> dict[str, Array]:
    """What senders write on the other prompts; or its mean over the prompts, at each position."""
    emitted = survey(model, tokens)
    sites = [site for site in sending if site in emitted]
    _, acts = run_model(model, tokens, capture=sites, mask=real, logits=False)
    found = dict(acts.items())
    if not mean:
        return found
    return {site: _mean(site, value, real) for site, value in found.items()}


def _mean(site: str, value: Array, real: Array | None) -> Array:
    """The mean over prompts; of padded ones that over those which have a token of that number."""
    lead = 0 if site in ("embed", "pos_embed") else 1
    after = 2 if site in ("head_out", "z") else 1
    batch = tuple(range(lead, value.ndim - after - 1))
    if not batch:
        return value
    if real is None:
        return jnp.broadcast_to(value.astype(jnp.float32).mean(batch, keepdims=True), value.shape).astype(
            value.dtype
        )
    pos = real.shape[-1]
    number = ordinals(real).reshape(-1, pos)
    place = jax.nn.one_hot(number, pos, dtype=jnp.float32)  # (example, column, number); padding is nowhere
    flat = value.reshape(*value.shape[:lead], -1, *value.shape[value.ndim - after - 1 :]).astype(jnp.float32)
    total = jnp.einsum("bcn,...bcx->...nx", place, _last(flat, after), precision="highest")
    count = jnp.maximum(place.sum((0, 1)), 1)[:, None]
    mean = total / jnp.broadcast_to(count, total.shape)
    back = jnp.einsum("bcn,...nx->...bcx", place, mean, precision="highest")
    return back.reshape(value.shape).astype(value.dtype)


def _last(value: Array, count: int) -> Array:
    """The last `count` axes as one."""
    return value.reshape(*value.shape[: value.ndim - count], -1)


def run(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    circuit: Circuit | ArrayLike,
    *,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    logits: bool | IndexLike = True,
    max_bytes: BytesLike = "auto",
) -> Float[Array, "..."]:
    r"""$x_v \leftarrow x_v + \sum_u (1 - m_{uv})(u' - u)$ at every receiver $v$: the logits of a circuit.

    $u$ is the output of a sender in this run, in which earlier edges are cut too; $u'$ is its output
    on the corrupt prompts. Conmy et al. 2023 (https://arxiv.org/abs/2304.14997).

    **Arguments:**

    - `model`: a model without edits of its own.
    - `clean`, `corrupt`: prompts of one shape, `(*batch, pos)`. With `ablate="zero"` corrupt may be None.
    - `circuit`: a `Circuit`, or a mask `(edge,)` of `ji.circuits.graph(model)`: bools, or numbers
      between 0 and 1. A leading axis holds several circuits; they run many at once, in one program. `graph.empty()`
      is the corrupt run, and so is every circuit without a path from an embedding to the logits.
      (`ji.circuits.evaluate` raises an error for such a circuit.)
    - `ablate`: what a cut edge carries: `"patch"`, the output of its sender on the corrupt prompt of the same
      row; `"mean"`, the mean of this output over the prompts, at each position; `"zero"`.
    - `mask`: True at real tokens of both prompts.
    - `logits`: True, or positions, as in `ji.run`.
    - `max_bytes`: the memory for circuits that run at once.

    **Returns:** logits `(*n, *batch, pos, vocab)`.

    **Raises:** ValueError for a circuit of another model.

    One circuit needs memory for about `senders * prompts * pos * d` numbers: 62 MB for GPT-2 small with 8 prompts of
    16 tokens. Neurons that are senders add `neurons * prompts * pos` numbers for each receiver of a layer. The
    function works under `jit`, under `vmap` over masks, and under `grad` in the mask.

    ```python
    g = ji.circuits.graph(model)
    logits = ji.circuits.run(model, clean, corrupt, g.mask(["embed->mlp0", "mlp0->logits"]))
    ```

    Laws: the full circuit gives the clean logits, and the empty one the corrupt logits; to cut all edges of one
    sender is to patch its output.
    """
    found = as_circuit(circuit, graph_of(model))
    setup, pair = experiment(model, clean, corrupt, found.graph, ablate=ablate, mask=mask)
    at = as_logit_positions(logits, (*pair.batch, pair.pos), pair.mask)
    if at is False:
        raise ValueError("Circuits are compared by their logits: logits is True, or positions such as -1.")
    many = found.mask.reshape(-1, found.mask.shape[-1])
    out = _run(setup, many, at, at_once(pair, found.graph, read_count(pair, at), max_bytes))
    return out.reshape(*found.mask.shape[:-1], *out.shape[1:])


@on_mesh
@eqx.filter_jit
def _run(setup: Experiment, masks: Shaped[Array, "n edge"], at: Any, count: int) -> Float[Array, "n ..."]:
    return lax.map(lambda mask: setup.logits(mask, at), masks, batch_size=min(count, len(masks)))


@on_mesh
@eqx.filter_jit
def values(
    setup: Experiment, masks: Shaped[Array, "n edge"], metric: Metric, count: int
) -> Float[Array, "n *batch"]:
    """The metric of several masks, `count` at once, one number per example."""
    return lax.map(lambda mask: setup.value(mask, metric), masks, batch_size=min(count, len(masks)))


def read_count(pair: PatchingPair, at: Any) -> int:
    """How many positions of a prompt are unembedded: all for True and None, else those that `at` has on its last axis."""
    return pair.pos if at is True or at is None else int(np.prod(np.shape(at)[-1:]))


def at_once(pair: PatchingPair, graph: Graph, reads: int, max_bytes: BytesLike) -> int:
    """How many circuits fit into `max_bytes`, and are worth it. `reads`: positions that are unembedded."""
    limit, stream = byte_limit(max_bytes), pair.shapes["resid_pre"]
    prompts = int(np.prod(pair.batch))
    row = stream.dtype.itemsize * prompts * pair.pos * stream.shape[-1]
    slots = graph.heads + 2 * graph.kv_heads + 1
    vectors, units = vector_count(graph), units_of(graph)[1]
    each = row * (3 * vectors + 6 * slots) + 12 * prompts * reads * logit_count(pair.model.config)
    each += row // stream.shape[-1] * (3 * units.size + 2 * slots * units.shape[-1])
    fixed = row * 2 * vectors + stream.dtype.itemsize * stream.shape[-1] * units.size
    room = (limit - fixed) // each
    if room < 1:
        raise ValueError(
            f"One circuit of these prompts takes about {as_option(fixed + each)}, and max_bytes is "
            f"{limit}. Raise max_bytes, or give fewer prompts at once."
        )
    return int(min(room, 256))
