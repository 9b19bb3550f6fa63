r"""Path patching from chosen senders to chosen receivers, through the MLPs between them or not."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._deprecations import respelled
from .._waiting import waiting
from ..core._check import Shapes
from ..core._edit import Edit
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._run import run
from ..core._select import Layers
from ..core._sites import is_per_layer
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ..patching._pairs import make_pair
from ..typing import MaskLike, MetricLike, ModelLike, SitesLike, StrLike, TokensLike
from ._path_names import check_order, receiver_masks, sender_masks


@respelled(direction="mode='denoise' or mode='noise'")
@waiting("ji.circuits.path_patch: compiling and running")
def path_patch(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    senders: SitesLike,
    receivers: SitesLike,
    *,
    freeze_mlps: bool = True,
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
) -> Array:
    r"""$m\big(M(R \mid x_v \leftarrow \tilde x_v,\ v \in V)\big)$: receivers read what the senders write in the other run.

    Path patching, Wang et al. 2022 (https://arxiv.org/abs/2211.00593), in three steps. $R$ is the prompt that is run.
    First, both prompts are run and their activations stored. Second, $R$ is run with the senders as in the other run
    and all other heads fixed; this gives the inputs $\tilde x_v$ of the receivers. Third, $R$ is run and the
    receivers read these inputs.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `metric`, `mode`, `mask`, `per_example`: as in
      `ji.patching.sweep`.
    - `senders`: one or several of `"0.1"` (a head, layer and number), `"mlp3"`, `"embed"`.
    - `receivers`: one or several of `"1.3.q"`, `"1.3.k"`, `"1.3.v"` (an input of head 1.3; where heads share
      keys and values the number is that of the key/value head), `"mlp4"`; or `"logits"`.
    - `freeze_mlps`: True keeps the MLPs fixed too, so that only direct paths remain. False recomputes the MLPs
      between senders and receivers, as the paper does.

    **Returns:** the metric: a number, or one per example.

    ```python
    ji.circuits.path_patch(model, clean, corrupt, metric, "0.1", ["1.2.k", "1.3.k"])
    ```

    Laws: with one sender, one receiver and fixed MLPs it is the entry of `direct_paths`; with all
    heads as senders and the logits as receiver, and MLPs recomputed, it is the sum of what the heads write.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    checked, shapes, count = pair.metric(metric), pair.shapes, pair.layers
    heads, mlps, embed = sender_masks(senders, shapes, count)
    readers = receiver_masks(receivers, shapes, count)
    check_order(heads, mlps, embed, readers, "resid_mid" not in shapes)
    values = _one(
        model,
        pair.target,
        pair.source,
        checked,
        pair.mask,
        (heads, mlps, embed),
        readers,
        freeze_mlps,
    )
    return values.reshape(pair.batch) if per_example else values.mean()


@respelled(direction="mode='denoise' or mode='noise'")
@waiting("ji.circuits.paths_into: compiling and running")
def paths_into(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    receivers: SitesLike,
    *,
    freeze_mlps: bool = True,
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
) -> Array:
    r"""$H_{lh}$ = `path_patch` with head $(l, h)$ alone as sender: how much each head matters to the receivers.

    The heat map of Wang et al. 2022. Repeated calls follow a circuit backwards: first the heads that
    matter to the logits, then the heads that matter to the queries of those, and so on.

    **Arguments:** those of `ji.circuits.path_patch`, without senders.

    **Returns:** `(layer, head)`, with the examples as last axes if `per_example`. A head that comes
    after all receivers gives the metric of the unpatched run.

    ```python
    movers = ji.circuits.paths_into(model, clean, corrupt, metric, "logits")
    callers = ji.circuits.paths_into(model, clean, corrupt, metric, ["1.2.q", "1.3.q"])
    ```

    Law: each entry is the `path_patch` of that head.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    checked, shapes, count = pair.metric(metric), pair.shapes, pair.layers
    readers = receiver_masks(receivers, shapes, count)
    values = _each_head(model, pair.target, pair.source, checked, pair.mask, readers, freeze_mlps)
    values = values.reshape(count, -1, *pair.batch)
    return values if per_example else values.reshape(*values.shape[:2], -1).mean(-1)


class Swap(Edit):
    """`value` in place of a site, of all layers, where `chosen` holds; both lead with layers."""

    value: Array
    chosen: Array
    site: str = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    def per_layer(self, shapes: Shapes) -> Any:
        layered = is_per_layer(self.site)
        return eqx.tree_at(lambda e: (e.value, e.chosen), self, (layered, layered))

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        chosen = jnp.broadcast_to(self.chosen, x.shape)
        return jnp.where(chosen, jnp.broadcast_to(self.value, x.shape).astype(x.dtype), x), state


def _swap(site: str, value: Array, chosen: Any) -> Swap:
    """A `Swap` whose mask, `(layer,)` or `(layer, head)`, spans the other axes of the value."""
    chosen = jnp.asarray(chosen)
    by_head = chosen.ndim == 2
    between = value.ndim - chosen.ndim - by_head
    shape = (*chosen.shape[:1], *(1,) * between, *chosen.shape[1:], *(1,) * by_head)
    return Swap(value=value, chosen=chosen.reshape(shape), site=site)


def _acts(model: Any, target: Array, source: Array, mask: Any) -> tuple[Any, Any]:
    inner, own = split_edits(model)
    has_mlp = "mlp_out" in survey(inner, target, own)
    capture = ["z", "embed", *(["mlp_out"] if has_mlp else [])]
    _, here = run(model, target, capture=capture, mask=mask, logits=False)
    _, there = run(model, source, capture=capture, mask=mask, logits=False)
    return here, there


def _measured(
    model: Any,
    target: Array,
    metric: Metric,
    mask: Any,
    here: Any,
    there: Any,
    senders: tuple[Any, Any, Any],
    readers: dict[str, Any],
    freeze_mlps: bool,
) -> Array:
    """The metric (batch,) where the receivers read what the senders wrote in the other run."""
    heads, mlps, embed = (jnp.asarray(chosen) for chosen in senders)
    everywhere = jnp.ones(heads.shape, bool)
    sent = _swap("z", there["z"], heads)
    sending = [
        _swap("embed", there["embed"], embed),
        _swap("z", jnp.where(sent.chosen, there["z"], here["z"]), everywhere),
    ]
    if "mlp_out" in here:
        swap = _swap("mlp_out", there["mlp_out"], mlps)
        fixed = jnp.where(swap.chosen, swap.value, here["mlp_out"])
        sending.append(_swap("mlp_out", fixed, everywhere[:, 0]) if freeze_mlps else swap)
    count = len(heads)
    last = f"resid_post[{count - 1}]"
    site_of = {"logits": last, "mlp_in": "mlp_in"}
    capture = list(dict.fromkeys(site_of.get(site, "resid_pre") for site in readers))
    _, read = run(model, target, edits=sending, capture=capture, mask=mask, logits=False)
    reading = []
    for site, chosen in readers.items():
        if site == "logits":
            stream = read[last][None]
            end = jnp.arange(count, dtype=jnp.int32) == count - 1
            reading.append(_swap("resid_post", jnp.broadcast_to(stream, (count, *stream.shape[1:])), end))
        elif site == "mlp_in":
            reading.append(_swap(site, read["mlp_in"], chosen))
        else:
            reading.append(_swap(site, read["resid_pre"][..., None, :], chosen))
    out, _ = run(model, target, edits=reading, mask=mask, logits=positions(metric))
    return metric.of(out).ravel()


@on_mesh
@eqx.filter_jit
def _one(
    model: Any,
    target: Array,
    source: Array,
    metric: Metric,
    mask: Any,
    senders: Any,
    readers: dict[str, Any],
    freeze_mlps: bool,
) -> Array:
    here, there = _acts(model, target, source, mask)
    return _measured(model, target, metric, mask, here, there, senders, readers, freeze_mlps)


@on_mesh
@eqx.filter_jit
def _each_head(
    model: Any,
    target: Array,
    source: Array,
    metric: Metric,
    mask: Any,
    readers: dict[str, Any],
    freeze_mlps: bool,
) -> Array:
    """The metric with each head as sender, (layer * head, batch)."""
    here, there = _acts(model, target, source, mask)
    layers, heads = here["z"].shape[0], here["z"].shape[-2]

    def one(number: Array) -> Array:
        alone = (jnp.arange(layers * heads, dtype=jnp.int32) == number).reshape(layers, heads)
        senders = (alone, jnp.zeros(layers, bool), jnp.zeros((), bool))
        return _measured(model, target, metric, mask, here, there, senders, readers, freeze_mlps)

    return lax.map(one, jnp.arange(layers * heads, dtype=jnp.int32))
