r"""How good circuits are: what they keep of the metric, and what is left without them."""

import dataclasses
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Shaped

from .._arguments import as_int, check_key
from .._waiting import waiting
from ..core._run import run as run_model
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..nn._linear import accumulation_dtype
from ..patching._gradients import positions
from ..stats._permutation import permutation_p
from ..stats._results import Result
from ..typing import ArrayLike, BytesLike, KeyLike, MaskLike, MetricLike, ModelLike, StrLike, TokensLike
from ._circuit import Circuit, as_circuit, check_known
from ._graph import graph as graph_of
from ._random import random_circuits
from ._run import Experiment, at_once, experiment, read_count
from ._select import check_path


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement(Result):
    r"""How good a circuit is, from `ji.circuits.evaluate`: numbers, or arrays `(n,)` for several circuits.

    - `size`: how many edges are kept.
    - `metric`: $m(C)$, the mean over prompts.
    - `faithfulness`: $(m(C) - m(\emptyset)) / (m(M) - m(\emptyset))$: 0 is the corrupt run, 1 the clean one.
    - `remaining`: the faithfulness of all edges outside the circuit: near 0 where the circuit is complete.
    - `kl`: nats from the next-token distribution of the clean run to that of the circuit.
    - `accuracy`: the share of prompts for which both have the same likeliest token.
    - `clean`, `corrupt`: the metric of the whole model and of the empty circuit.
    - `p`: the p-value, from how often random circuits of this size are as faithful; `null` `(resamples,)`: their
      faithfulness. Both are None without `resamples`.

    ```python
    found = ji.circuits.evaluate(model, circuit, clean, corrupt, metric)
    found.faithfulness, found.records()
    ```
    """

    size: Any
    metric: Any
    faithfulness: Any
    remaining: Any
    kl: Any
    accuracy: Any
    clean: float
    corrupt: float
    p: Any = None
    null: Any = None

    def records(self) -> list[dict[str, Any]]:
        """A row for each circuit; the null is left out."""
        fields = ("size", "metric", "faithfulness", "remaining", "kl", "accuracy", "clean", "corrupt", "p")
        shown = {
            name: np.atleast_1d(getattr(self, name)) for name in fields if getattr(self, name) is not None
        }
        count = len(shown["size"])
        return [
            {name: (value[row] if len(value) == count else value[0]).item() for name, value in shown.items()}
            for row in range(count)
        ]


@waiting("ji.circuits.evaluate: compiling and running")
def evaluate(
    model: ModelLike,
    circuit: Circuit | ArrayLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    key: KeyLike | None = None,
    resamples: int = 0,
    max_bytes: BytesLike = "auto",
) -> Judgement:
    r"""$\frac{m(C) - m(\emptyset)}{m(M) - m(\emptyset)}$: the faithfulness of a circuit, and other measures.

    Wang et al. 2022 (https://arxiv.org/abs/2211.00593), Hanna et al. 2024 (https://arxiv.org/abs/2403.17806).
    All circuits run in one program. The metric is averaged over prompts first, and then normalised.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `ablate`, `mask`, `max_bytes`: as in `ji.circuits.run`.
    - `circuit`: one or several.
    - `metric`: the metric that the circuit has to keep: any of `ji.metrics`, or a function of logits.
    - `key`, `resamples`: how many random circuits of equal size are evaluated for comparison, and their key. They
      are grown from the logits, so that each edge leads there. The p-value is
      $(1 + \#\{\text{as faithful}\}) / (1 + \text{resamples})$. This needs one circuit, not several.

    **Returns:** a `Judgement`.

    **Raises:** ValueError where clean and corrupt prompts have the same metric, because faithfulness then has no
    scale; and for one circuit without a path from an embedding to the logits, unless it is empty. Several
    circuits at once are not checked for such a path.

    ```python
    found = ji.circuits.evaluate(model, circuit, clean, corrupt, metric, key=jax.random.key(0), resamples=99)
    found.faithfulness, found.p
    ```

    Laws: the full circuit has faithfulness 1, and the empty one 0; several circuits give what each gives alone.
    """
    found = check_path(as_circuit(circuit, graph_of(model)))
    many = found.mask.reshape(-1, found.mask.shape[-1])
    setup, pair = experiment(model, clean, corrupt, found.graph, ablate=ablate, mask=mask)
    checked = pair.metric(metric)
    check_known("ji.circuits.evaluate", setup, many, checked)
    count = at_once(pair, found.graph, 4 * read_count(pair, checked.pos), max_bytes)
    drawn = as_int(resamples, "resamples", 0)
    if drawn and found.mask.ndim != 1:
        raise ValueError("Random circuits have the size of one circuit: give one, or leave resamples out.")
    null = many[:0]
    if drawn:
        check_key(key, "ji.circuits.evaluate(..., key={}, resamples=100)")
        null = random_circuits(found, drawn, key=cast(KeyLike, key)).mask
    masks = jnp.concatenate(
        [jnp.asarray(each, jnp.float32) for each in (many, 1 - many.astype(jnp.float32), null)]
    )
    value, kl, same, whole, none = (
        np.asarray(each, np.float64) for each in _measured(setup, masks, checked, count)
    )
    gap = faithful_gap(float(whole), float(none))
    n = len(many)
    faithfulness = (value - none) / gap
    one = (
        (lambda each: each[0].item())
        if found.mask.ndim == 1
        else (lambda each: each.reshape(found.mask.shape[:-1]))
    )
    random = faithfulness[2 * n :] if drawn else None
    return Judgement(
        one((np.asarray(many) > 0.5).sum(1)),
        one(value[:n]),
        one(faithfulness[:n]),
        one(faithfulness[n : 2 * n]),
        one(kl[:n]),
        one(same[:n]),
        float(whole),
        float(none),
        None if random is None else permutation_p(float(faithfulness[0]), random),
        random,
    )


def faithful_gap(whole: float, none: float) -> float:
    """The metric of the clean run minus that of the corrupt one, which must differ."""
    gap = whole - none
    if not np.isfinite(gap) or abs(gap) <= 1e-6 * max(abs(whole), abs(none), 1e-6):
        raise ValueError(
            f"Faithfulness is the share of the way from corrupt to clean, and the metric is {whole:g} on the "
            f"clean prompts and {none:g} on the corrupt ones. Choose prompts or a metric that tell them apart."
        )
    return gap


@on_mesh
@eqx.filter_jit
def _measured(
    setup: Experiment, masks: Shaped[Array, "n edge"], metric: Metric, count: int
) -> tuple[Array, Array, Array, Array, Array]:
    at = positions(metric)
    # All edges are the model itself, and no edge is one mask more: fewer forwards to compile.
    whole, _ = run_model(setup.model, setup.tokens, mask=setup.real, logits=at)
    target = _log_probs(whole)
    # Of prompts that are read at all positions, padding does not count.
    counts = jnp.ones(target.shape[:-1]) if at is not True or setup.real is None else setup.real
    counts = counts.astype(jnp.float32) / counts.sum()

    def judge(mask: Array) -> tuple[Array, Array, Array]:
        logits = setup.logits(mask, at)
        log_probs = _log_probs(logits)
        kl = (jnp.exp(target) * (target - log_probs)).sum(-1)
        same = (logits.argmax(-1) == whole.argmax(-1)).astype(counts.dtype)
        return metric.of(logits).mean(), (kl * counts).sum(), (same * counts).sum()

    masks = jnp.concatenate([masks, jnp.zeros_like(masks[:1])])
    value, kl, same = lax.map(judge, masks, batch_size=min(count, len(masks)))
    return value[:-1], kl[:-1], same[:-1], metric.of(whole).mean(), value[-1]


def _log_probs(logits: Array) -> Array:
    return jax.nn.log_softmax(logits.astype(accumulation_dtype(logits)), -1)
