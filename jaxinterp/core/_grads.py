"""Gradients at sites: how a number made of the logits changes with what the model computed."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ..metrics import Metric
from ._captures import Acts, At, as_requests
from ._check import check_function, kind_of, logit_count
from ._edit import Edit
from ._edits import add
from ._run import _batch_rank, _request, _which_logits, run
from ._sites import is_per_layer
from ._survey import gather_edits, layer_count, split_edits, survey


def site_grads(
    metric: Callable[[Array], Array] | Any,
    model: Any,
    tokens: Int[Array, "*batch pos"] | Any,
    *,
    at: str | At | Sequence[Any] | Any,
    edits: Edit | Sequence[Any] | Any | None = (),
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    logits: bool | Any = True,
) -> tuple[Array, Acts, Acts]:
    r"""$m,\; x_s,\; \partial m / \partial x_s$ at every site $s$ asked for, in one forward and backward.

    The gradient of attribution patching, Nanda 2023, and of Kramar et al. 2024
    (https://arxiv.org/abs/2403.00745).

    **Arguments:**

    - `metric`: a metric of `ji.metrics`, or a function of the logits to a number, or to one per
      example: examples do not interact, so the gradient of the sum is the gradient of each.
    - `model`, `tokens`, `edits`, `mask`, `logits`: as in `run`; with `logits=-1` a function sees
      the last position only, `(*batch, vocab)`. A metric reads its own positions.
    - `at`: sites as in `capture`: `"z"`, `"resid_pre[3]"`, `"mlp_out[1:3]"`.

    **Returns:** the metric's value, the activations and the gradients, both `Acts` under the same
    names with the same shapes.

    ```python
    def gap(logits):
        return logits[..., -1, paris] - logits[..., -1, rome]
    value, acts, grads = ji.site_grads(gap, model, tokens, at=["z", "mlp_out"])
    ```

    Law: the derivative of the metric along `ji.add(site, t * v)` at `t = 0` is `(grad * v).sum()`.
    """
    check_function(metric, "metric", ("logits",), "ji.site_grads(metric, model, tokens, at=['z'])")
    if logits is False:
        raise ValueError(
            "A metric reads logits, so site_grads cannot do without: leave logits out, or give positions."
        )
    requests = as_requests(at)
    for request in requests:
        if request.pos is not None or request.reduce is not None:
            raise ValueError(
                f"site_grads gives the gradient at a whole site; ask for {request.site!r} and "
                "select positions of the result."
            )
    # All that a run would refuse, before values are traced and can be looked at no more.
    base, every, _, tokens, mask = _request(model, tokens, edits, requests, mask)
    edits = gather_edits(model, edits)[2]
    prompts = tokens.shape[: _batch_rank(tokens) + 1]
    if isinstance(metric, Metric) and logits is True:
        metric.check_positions(prompts, mask)
        metric.check(logit_count(base.config), prompts[:-1])
        metric = metric.padded(mask)
        metric, logits = metric.of, True if metric.pos is None else metric.pos
    logits = _which_logits(logits, prompts, mask)
    run_shapes = survey(base, tokens, every)
    count = layer_count(base)
    zeros = {}
    for request in requests:
        struct = run_shapes[request.site]
        layers = len(request.layer_range(count))
        stacked = is_per_layer(request.site) and not isinstance(request.layers, int)
        shape = (layers, *struct.shape) if stacked else struct.shape
        zeros[request.name] = jnp.zeros(shape, struct.dtype)
    return _site_grads(metric, model, tokens, zeros, requests, edits, mask, logits)


@eqx.filter_jit
def _site_grads(
    metric: Callable[[Array], Array],
    model: Any,
    tokens: Array,
    zeros: dict[str, Array],
    requests: tuple[At, ...],
    edits: tuple[Edit, ...],
    mask: Any,
    logits: Any,
) -> tuple[Array, Acts, Acts]:
    count = layer_count(split_edits(model)[0])

    def nudged(nudges: dict[str, Array]) -> tuple[Array, tuple[Array, Acts]]:
        adds = [edit for at in requests for edit in _nudge(at, nudges[at.name], count)]
        out, acts = run(model, tokens, edits=[*edits, *adds], capture=requests, mask=mask, logits=logits)
        value = metric(out)
        if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.floating):
            given = f"dtype {value.dtype}" if hasattr(value, "dtype") else kind_of(value)
            raise ValueError(f"A metric returns floats, a number or one per example; got {given}.")
        return value.sum(), (value, acts)

    grads, (value, acts) = jax.grad(nudged, has_aux=True)(zeros)
    return value, acts, Acts({at.name: grads[at.name] for at in requests})


def _nudge(at: At, nudge: Array, count: int) -> list[Edit]:
    """What adds `nudge` to exactly the activations that `at` captures."""
    if at.layers is None:
        return [add(at.site, nudge)]
    if isinstance(at.layers, int):
        return [add(at.site, nudge, layer=at.layers)]
    layers = at.layer_range(count)
    return [add(at.site, nudge[i], layer=layer) for i, layer in enumerate(layers)]
