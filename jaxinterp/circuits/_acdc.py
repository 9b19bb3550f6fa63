r"""ACDC: the circuit that is left when edges are cut one by one, where the metric bears it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_array, as_bool
from .._text import shown
from ..corpus._progress import advance, progress_bar
from ..typing import (
    ArrayLike,
    BoolLike,
    BytesLike,
    MaskLike,
    MetricLike,
    ModelLike,
    PathLike,
    StrLike,
    TokensLike,
)
from ._acdc_log import Log, identity
from ._acdc_result import Acdc
from ._acdc_runner import Runner, runner_of
from ._acdc_settings import AcdcSettings, stages
from ._acdc_walk import Walk
from ._circuit import check_graph, check_known
from ._graph import Graph
from ._graph import graph as graph_of
from ._run import experiment


def acdc(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike | None,
    metric: MetricLike,
    *,
    threshold: ArrayLike = 0.01,
    ablate: StrLike = "patch",
    mask: MaskLike | None = None,
    graph: Graph | None = None,
    checkpoint: PathLike | None = None,
    max_bytes: BytesLike = "auto",
    progress: BoolLike = True,
    settings: AcdcSettings | None = None,
) -> Acdc:
    r"""$m_e \leftarrow 0$ where $M(m - e) - M(m) < \tau$, edge by edge from the logits back: a circuit by ACDC.

    The receivers are visited in reverse order of computation, and for each receiver its senders. An edge is cut
    if this changes the metric of the circuit that is left at that moment by less than $\tau$. It then stays cut.
    Conmy et al. 2023 (https://arxiv.org/abs/2304.14997).

    **Arguments:**

    - `model`: a model without edits of its own.
    - `clean`, `corrupt`: prompts of one shape, `(*batch, pos)`. With `ablate="zero"` corrupt may be None.
    - `metric`: a metric of `ji.metrics`, or a function of logits; its mean over the prompts is $M$. The paper
      takes `ji.metrics.kl` from the clean logits. The `goal` of the settings says whether the metric may not
      rise, may not fall, or has to stay: by default a KL may not rise by $\tau$, and a logit difference may not
      fall by $\tau$.
    - `threshold`: $\tau$, 0 or more, in units of the metric; by default 0.01. A list gives one circuit for
      each threshold, and the searches share their runs.
    - `ablate`: what a cut edge carries: `"patch"`, `"mean"` or `"zero"`, as in `ji.circuits.run`.
    - `mask`: True at real tokens of both prompts.
    - `graph`: a graph of `ji.circuits.graph(model, ...)`, for positions, split embeddings or whole heads.
    - `checkpoint`: a folder. A call that was stopped continues from there, and calls with other thresholds use
      the values in it.
    - `max_bytes`: the memory for circuits that run at once.
    - `progress`: shows a bar with the edges that are left; True by default.
    - `settings`: an `AcdcSettings`: the goal, and the order of the senders.

    **Returns:** an `Acdc`, which is a `Circuit` with `deltas` `(edge,)` and `runs`. With several thresholds
    the mask is `(n, edge)`.

    The result is the same as that of one run after the other, but for edges whose change differs from the
    threshold by no more than rounding. To be faster, decisions are guessed ahead, and the circuits of the guesses
    run as one batch; each runs only the heads and MLPs behind the changed edges. The circuits after a wrong guess
    run again. Receivers without a path to the logits lose their edges without a run.

    **Raises:** ValueError for a threshold below 0, for a metric that is the same with all edges and with none,
    for a graph of another model, and for a model with edits.

    ```python
    logits, _ = ji.run(model, clean)
    circuit = ji.circuits.acdc(model, clean, corrupt, ji.metrics.kl(logits), threshold=0.05)
    len(circuit), circuit.edges
    ```

    Law: it is equal to the plain loop with one run for each edge.
    """
    chosen = AcdcSettings() if settings is None else settings
    thresholds = _thresholds(threshold)
    wanted = sorted(set(thresholds.ravel().tolist()), reverse=True)
    base = graph_of(model)
    edges = base if graph is None else check_graph(graph, base)
    setup, pair = experiment(model, clean, corrupt, edges, ablate=ablate, mask=mask)
    checked = pair.metric(metric)
    check_known("ji.circuits.acdc", setup, checked)
    goal, sequence = chosen.goal_of(checked), chosen.sequence(edges)
    parts = stages(edges, sequence)
    runner = runner_of(setup, pair, checked, ablate, max(map(len, parts)), max_bytes)
    full, empty = _ends(runner, edges)
    log = None if checkpoint is None else Log(Path(checkpoint), identity(setup, checked, ablate, sequence))
    trails = [] if log is None else log.trails()
    walks: dict[float, Walk] = {}
    total = edges.size * len(wanted)
    with progress_bar(total, "acdc", unit="edge", progress=as_bool(progress, "progress")) as bar:
        for each in wanted:
            nearest = walks[min(walks)].deltas if walks else None
            walk = walks[each] = Walk(edges, parts, each, goal, full, nearest)

            def moved(count: int, walk: Walk = walk) -> None:
                advance(bar, count)
                if log is not None:
                    log.save(walk.threshold, walk.trail)

            walk.run(runner, runner.window, trails, moved)
            trails.append(walk.trail)
            if log is not None:
                log.save(each, walk.trail, now=True)
    several = [walks[each] for each in thresholds.ravel().tolist()]

    def stacked(name: str) -> Array:
        rows = np.stack([getattr(walk, name) for walk in several])
        return jnp.asarray(rows if thresholds.ndim else rows[0])

    return Acdc(
        mask=stacked("kept"),
        graph=edges,
        deltas=stacked("deltas"),
        threshold=thresholds,
        metric=stacked("metric"),
        full=jnp.asarray(full),
        empty=jnp.asarray(empty),
        runs=runner.runs,
        goal=goal,
    )


def _thresholds(threshold: ArrayLike) -> np.ndarray:
    found = np.asarray(as_array(threshold, "threshold"))
    good = found.dtype.kind in "iuf" and found.ndim < 2 and found.size
    if not good or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(
            "threshold is how much worse an edge may make the metric: a finite number of 0 or more, or a list of "
            f"them, such as threshold=0.01; got {shown(threshold)}."
        )
    return found.astype(np.float64)


def _ends(runner: Runner, graph: Graph) -> tuple[float, float]:
    """The metric with all edges and with none, which differ."""
    whole, none = runner.per_example(np.stack([np.ones(graph.size, bool), np.zeros(graph.size, bool)]), 0)
    full, empty = float(whole.mean()), float(none.mean())
    if not np.isfinite([full, empty]).all():
        raise ValueError(
            f"The metric is {full} with all edges and {empty} with none: no change of it can be judged. Give one "
            "that is finite on both prompts, such as ji.metrics.logit_diff."
        )
    if np.allclose(whole, none, rtol=1e-6, atol=1e-7):
        raise ValueError(
            f"The metric is {full:.6g} with all edges and with none, so every edge would go. Give prompts on which "
            "the model answers differently, or a metric that reads this answer (a KL needs the clean logits: "
            "ji.metrics.kl(ji.run(model, clean)[0]))."
        )
    return full, empty
