"""Gradients at sites: how a number made of the logits changes with what the model computes."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arguments import check_function, kind_of
from .._waiting import announced
from ..typing import BoolLike, CaptureLike, EditsLike, IndexLike, MaskLike, MetricLike, ModelLike, TokensLike
from ._acts import Acts
from ._arithmetic import Arithmetic
from ._check import logit_count
from ._request import Request, as_logit_positions, make_request
from ._run import execute
from ._select import Where
from ._types import Model, PositionMetric


class SiteGrads(NamedTuple):
    """What `site_grads` returns: it unpacks as `value, acts, grads`."""

    value: Array
    "The metric: a number, or one per example."
    acts: Acts
    "The activations."
    grads: Acts
    "The gradients, under the same names and with the same shapes."


def site_grads(
    model: ModelLike,
    tokens: TokensLike,
    metric: MetricLike,
    *,
    at: CaptureLike,
    edits: EditsLike | None = (),
    mask: MaskLike | None = None,
    logits: bool | IndexLike = True,
    remat: BoolLike | None = None,
) -> SiteGrads:
    r"""$m,\; x_s,\; \partial m / \partial x_s$ at every site $s$ of `at`, in one forward and one backward pass.

    The gradient of attribution patching, Nanda 2023, and of Kramar et al. 2024
    (https://arxiv.org/abs/2403.00745).

    **Arguments:**

    - `model`, `tokens`, `edits`, `mask`: as in `run`.
    - `metric`: a metric of `ji.metrics`, or a function of the logits to a number, or to one number
      per example. Examples do not interact, so the gradient of the sum is the gradient of each.
    - `at`: sites as in `capture`: `"z"`, `"resid_pre[3]"`, `"mlp_out[1:3]"`.
    - `logits`: the positions of the logits that a function gets; with -1 it gets `(*batch, vocab)`. A metric of
      `ji.metrics` reads its own positions.
    - `remat`: whether the backward pass computes each block again instead of keeping its activations in memory.
      None decides by size, as in `ji.run`.

    **Returns:** `SiteGrads`: the metric's value, the activations, and the gradients. Both are `Acts`
    under the same names with the same shapes.

    ```python
    def gap(logits):
        return logits[..., -1, paris] - logits[..., -1, rome]
    value, acts, grads = ji.site_grads(model, tokens, gap, at=["z", "mlp_out"])
    ```

    Law: the derivative of the metric along `ji.add(site, t * v)` at `t = 0` is `(grad * v).sum()`.
    """
    call = "ji.site_grads(model, tokens, metric, at=['z'])"
    if callable(model) and not isinstance(model, Model):
        raise ValueError(f"The model comes first, then the tokens, then the metric. Write {call}.")
    check_function(metric, "metric", ("logits",), call)
    if logits is False:
        raise ValueError(
            "A metric reads logits, so site_grads cannot do without: leave logits out, or give positions."
        )
    request = make_request(model, tokens, edits=edits, capture=at, mask=mask, remat=remat)
    for capture in request.captures:
        if capture.pos is not None or capture.reduce is not None:
            raise ValueError(
                f"site_grads gives the gradient at a whole site; ask for {capture.site!r} and "
                "select positions of the result."
            )
    # All that a run would refuse, before values are traced and can no longer be looked at.
    prompts = request.prompts
    read: Callable[..., Any] = metric
    if isinstance(metric, PositionMetric) and logits is True:
        metric.check_positions(prompts, request.mask)
        metric.check(logit_count(request.model.config), prompts[:-1])
        padded = metric.padded(request.mask)
        read, logits = padded.of, True if padded.pos is None else padded.pos
    logits = as_logit_positions(logits, prompts, request.mask)
    return SiteGrads(*_site_grads(read, dataclasses.replace(request, logits=logits)))


@announced
@eqx.filter_jit
def _site_grads(metric: Callable[..., Any], request: Request) -> tuple[Array, Acts, Acts]:
    shapes, count, probes = request.shapes(), request.count, {}
    for at in request.captures:
        struct, layers = shapes[at.site], None if at.layers is None else tuple(at.layer_range(count))
        zeros = jnp.zeros((*[count] * at.stacked, *struct.shape), struct.dtype)
        probes[at.name] = Arithmetic(where=Where(), site=at.site, layers=layers, value=zeros, fn=as_if_added)

    def probed(probes: dict[str, Arithmetic]) -> tuple[Array, tuple[Array, Acts]]:
        out, acts = execute(dataclasses.replace(request, edits=(*request.edits, *probes.values())))
        value = metric(out)
        if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.floating):
            kind = f"dtype {value.dtype}" if hasattr(value, "dtype") else kind_of(value)
            raise ValueError(f"A metric returns floats, a number or one per example; got {kind}.")
        return value.sum(), (value, acts)

    grads, (value, acts) = jax.grad(probed, has_aux=True)(probes)
    part = lambda at, grad: grad[slice(*at.layers)] if isinstance(at.layers, tuple) else grad
    return value, acts, Acts({at.name: part(at, grads[at.name].value) for at in request.captures})


@jax.custom_jvp
def as_if_added(x: Array, value: Array) -> Array:
    """`x`, which nothing is added to; the derivatives are those of `x + value`."""
    return x


@as_if_added.defjvp
def _tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], tangents[0] + tangents[1]
