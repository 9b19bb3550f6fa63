r"""Edge attribution: what every edge would change, to first order, along a path or at its end."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_int, check_choice, concrete
from .._waiting import finished, waiting
from ..core._intervene import split_edits
from ..mesh._platform import platform_of
from ..metrics import Metric
from ..patching._attribution_program import vanishes
from ..patching._pairs import PatchingPair
from ..patching.packed._plan import as_option, byte_limit
from ..typing import BytesLike, GraphLike, IntLike, MaskLike, MetricLike, ModelLike, StrLike, TokensLike
from ._circuit import check_graph
from ._eap_points import is_plain, radau
from ._eap_program import attribute, other_end
from ._edge_mask import SENDING
from ._graph import graph as graph_of
from ._neurons import units_of, vector_count
from ._run import Experiment, experiment
from ._scores import Scores

ALONG = ("inputs", "activations", "ends")


def eap(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    steps: IntLike = 1,
    along: StrLike = "inputs",
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    graph: GraphLike | None = None,
    max_bytes: BytesLike = "auto",
) -> Scores:
    r"""$s(u \to v) = \sum_k w_k \sum_t (u' - u)_t \cdot g_v(z_k)_t$: the estimated change when an edge is cut.

    $u$ is what a sender writes on the clean prompt, and $u'$ what a cut edge carries. $g_v$ is the gradient
    of the metric with respect to the input of receiver $v$ alone. It is taken at the $n$ points $z_k$ of a path,
    with weights $w_k$. All edges cost one forward pass on the corrupt prompts, and one forward and one backward
    pass for each point. Edge attribution patching: Syed et al. 2023 (https://arxiv.org/abs/2310.10348).
    Integrated gradients, EAP-IG: Hanna et al. 2024 (https://arxiv.org/abs/2403.17806).

    Points and weights are those of Radau's rule. Among the rules of $n$ points that include the clean run, it is
    exact for polynomials of the highest degree, $2n - 2$. The paper takes the points $k/n$ with equal weights. The
    error of their mean is about $\frac{1}{2n}$ of the difference between the gradients at both ends.

    **Arguments:**

    - `model`: a model without edits of its own.
    - `clean`, `corrupt`: prompts of one shape, `(*batch, pos)`. With `ablate="zero"` corrupt may be None.
    - `metric`: a metric of `ji.metrics`, or a function of all logits. The mean over examples is estimated.
    - `steps`: the number of points of the path. 1 is plain EAP, the gradient on the clean prompts.
    - `along`: the path. `"inputs"`: embeddings $e' + \alpha_k (e - e')$, with $\alpha_n = 1$.
      `"activations"`: the output of each sender moves in the same way, while everything before it is clean;
      heads of one layer move together. It costs `steps` points for each of the $2L + 1$ groups of senders.
      `"ends"`: the mean of both ends of the first path; it takes two points, and no `steps`.
    - `ablate`: what a cut edge carries, as in `ji.circuits.run`: `"patch"`, `"mean"` or `"zero"`. For the embeddings
      this is $e'$.
    - `mask`: True at real tokens of both prompts.
    - `graph`: a graph of `ji.circuits.graph(model, ...)`; by default that without options.
    - `max_bytes`: the memory for differences and gradients that are multiplied at once. The passes themselves
      take the memory of a backward pass on the whole batch.

    **Returns:** `Scores`, with `.top(10)`, `.of("0.1->1.3.k")`, `.matrix()` and `.agreement(paths)`. A score is
    positive where cutting the edge raises the metric.

    **Raises:** ValueError where the gradient of the metric is zero: for a constant metric, and for `kl` at its
    reference, where plain EAP finds nothing. Then take several steps, or both ends.

    ```python
    scores = ji.circuits.eap(model, clean, corrupt, metric, steps=8)
    print(scores.top(10))
    circuit = ji.circuits.graph(model).mask(scores.top(50).names)
    ```

    Laws: with one step the scores are minus the gradient of the metric of `ji.circuits.run` in the mask; they are
    exact where the metric is linear in the input of each receiver; for many steps along inputs, the scores of the
    edges of the embedding add up to the change of the metric from clean to corrupt.
    """
    check_choice(along, "along", ALONG)
    count = as_int(steps, "steps", 1)
    if along == "ends":
        if count != 1:
            raise ValueError(
                f"along='ends' is the mean of two points, so it takes no steps; got steps={count}. Leave steps out, or "
                "write along='inputs'."
            )
        alphas, weights = np.asarray([0.0, 1.0]), np.asarray([0.5, 0.5])
    else:
        alphas, weights = radau(count)
    base, _ = split_edits(model)
    chosen = graph_of(model) if graph is None else check_graph(graph, graph_of(model))
    sites = tuple("z" if is_plain(base) and site == "head_out" else site for site in SENDING)
    setup, pair = experiment(model, clean, corrupt, chosen, ablate=ablate, mask=mask, sites=sites)
    if ablate == "patch" and _equal(pair):
        raise ValueError(
            "The corrupt prompts are equal to the clean ones at all real tokens, so no edge carries another value and "
            "all scores are zero. Give prompts that differ, or ablate='mean' or ablate='zero' with the clean ones."
        )
    checked = pair.metric(metric)
    chunk, together = _sizes(setup, pair, len(alphas), max_bytes)
    points = jnp.asarray(np.stack([alphas, weights], 1))
    with waiting(f"eap of {setup.graph.size:,} edges: compiling and running"):
        values, logits, size = finished(attribute(setup, checked, points, along, chunk, together))
    if concrete(size):
        _check_gradient(setup, checked, logits, float(size), len(alphas))
    return Scores(values, setup.graph)


def _equal(pair: PatchingPair) -> bool:
    """Whether both prompts are the same tokens; False where that is not known yet."""
    both = (pair.target, pair.source) if pair.mask is None else (pair.target, pair.source, pair.mask)
    if not all(isinstance(each, jax.Array) and concrete(each) for each in both):
        return False
    same = pair.target == pair.source
    return bool((same if pair.mask is None else same | ~pair.mask).all())


def _sizes(setup: Experiment, pair: PatchingPair, points: int, max_bytes: BytesLike) -> tuple[int, int]:
    """How many examples are multiplied at once, and how many points run at once: divisors of all of them."""
    limit, graph, shapes = byte_limit(max_bytes), setup.graph, pair.shapes
    stream = shapes["resid_pre"]
    *batch, pos, d = stream.shape
    item, examples = max(4, stream.dtype.itemsize), int(np.prod(batch))
    slots = graph.heads + 2 * graph.kv_heads + 1
    units = units_of(graph)[1]
    each = (
        item
        * pos
        * (d * (2 * vector_count(graph) + 3 * slots) + 2 * units.size + 2 * slots * units.shape[-1])
    )
    room = limit // each
    if room < 1:
        raise ValueError(
            f"Differences and gradients of one example take about {as_option(each)}, and max_bytes is "
            f"{limit}. Raise max_bytes, or give shorter prompts."
        )
    kept = ("q", "k", "v", "z", "resid_pre", "resid_mid", "mlp_pre", "mlp_up", "mlp_post", "mlp_out")
    numbers = sum(int(np.prod(shapes[site].shape)) for site in kept if site in shapes)
    passes = 3 * item * graph.layers * numbers
    accelerated = platform_of((pair.model, pair.target)) != "cpu"
    busy = (8192 if accelerated else 1024) // (examples * pos)
    return _divisor(examples, room), _divisor(points, min(busy, limit // passes))


def _divisor(whole: int, most: int) -> int:
    """The largest divisor that is at most `most`, and 1 at least."""
    return max(part for part in range(1, whole + 1) if whole % part == 0 and part <= max(1, most))


def _check_gradient(setup: Experiment, metric: Metric, logits: Array, size: float, points: int) -> None:
    """Raises where the metric has no gradient: at the only point, or at all of them."""
    examples = int(np.prod(logits.shape[: -1 if metric.one else -2]))
    if not np.isfinite(size):
        raise ValueError(
            f"The gradient of {metric.name} in the logits is {size:g} at a point between the prompts, so no edge has a "
            "score. Give a metric that is finite and smooth on both prompts, such as ji.metrics.logit_diff(correct, wrong)."
        )
    if size > 1e-2 * examples * points or (size > 0 and points > 1):
        return
    there, value = other_end(setup, metric), metric.of(logits)
    change = float(jnp.abs(metric.of(there) - value).mean())
    if points == 1 and bool(vanishes(metric, logits, there, value)):
        raise ValueError(
            f"The gradient of {metric.name} on the clean prompts is zero, while the metric changes by {change:.4g} "
            "from clean to corrupt, so plain EAP finds nothing. So it is with ji.metrics.kl at its reference, "
            "and where a probability is 1. Take points between the prompts, "
            "ji.circuits.eap(..., steps=8), or both ends, along='ends'."
        )
    if size == 0:
        where = "the clean prompts" if points == 1 else f"any of the {points} points"
        raise ValueError(
            f"{metric.name} has no gradient in the logits at {where}, so no edge has an effect to "
            f"first order: it is constant, or made of steps as ji.metrics.rank (it changes by {change:.4g} from clean "
            "to corrupt). Choose one that changes smoothly, such as ji.metrics.logit_diff(correct, wrong)."
        )
