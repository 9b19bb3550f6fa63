r"""Attribution patching: every cell of a sweep at once, to first order, from one backward pass.

$$\hat m(\text{cell}) = m(R) + \sum_{i \in \text{cell}} (x'_i - x_i)\,
\frac{\partial m}{\partial x_i}\Big|_R$$

where $R$ is the run that is patched and $x'$ comes from the other one.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..core._blocks import layer_count
from ..core._check import concrete, is_int, logit_count
from ..core._intervene import config_of, split_edits
from ..core._listing import survey
from ..core._sites import is_per_layer
from ..metrics import Metric, as_metric
from ._attribution_program import Options, attribute
from ._attribution_qk import KEYS, QUERIES
from ._grid import Grid, check_stackable, make_grid, site_names
from ._pairs import make_pair

PATHS = (None, "input", "site")


def attribution(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Metric | Any,
    *,
    site: str | Sequence[str] | Any = "resid_pre",
    over: Sequence[str] | Mapping[str, Any] | Any = ("layer", "pos"),
    direction: str = "denoise",
    mask: Any = None,
    per_example: bool = False,
    window: int = 1,
    qk_fix: bool = False,
    freeze_norms: bool = False,
    path: str | None = None,
    steps: int = 32,
) -> Array:
    r"""$\hat m = m(R) + \sum (x' - x)\, \partial m / \partial x |_R$: what `sweep` returns, estimated.

    All cells of all sites in one forward and one backward pass on the run that is patched (and one
    forward pass on the other). Nanda 2023, "Attribution patching"; Kramar et al. 2024
    (https://arxiv.org/abs/2403.00745).

    **Arguments:** those of `ji.patching.sweep`, with the same meaning, and

    - `site`: several sites give a leading axis; they cost one pass together.
    - `qk_fix`: at the sites of queries and keys (`q`, `k`, `q_rot`, `k_rot`, `q_in`, `k_in`) passes
      the softmax exactly instead of to first order. Worth having wherever attention is saturated.
    - `freeze_norms`: holds the denominators of all norms constant.
    - `path`: None takes the gradient at the unpatched run. `"input"` averages it over `steps` runs
      whose embeddings go from one prompt to the other (integrated gradients; summed over
      `site="embed"` it is complete). `"site"` lets each layer's own site go from one value to the
      other (`steps` runs for each layer): complete in each layer of each site.
    - `steps`: of the midpoint rule, for `path`.

    **Returns:** an array with the axes of `over`, in the metric's units: compare it with `sweep` cell
    by cell. Where a cell spans several layers (`window`, or `over` without "layer") their effects are
    added, which counts twice what passes from one to the next. `ji.patching.attribution_effects`
    leaves $m(R)$ out: that is the estimated change, and adds up over cells.

    Warns where the gradient vanishes while the metric does not, as that of `kl` at its reference.

    ```python
    estimate = ji.patching.attribution(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    exact = ji.patching.sweep(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    print(ji.patching.agreement(estimate, exact))
    ```

    Law: equal to `sweep` where the metric is linear in the site (cells of one layer).
    """
    value, effects, finish = _attribute(
        model,
        clean,
        corrupt,
        metric,
        site,
        over,
        direction,
        mask,
        per_example,
        window,
        Options(qk_fix, freeze_norms, path, steps),
    )
    return finish([effect + jnp.broadcast_to(value, effect.shape) for effect in effects])


def attribution_effects(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Metric | Any,
    *,
    site: str | Sequence[str] | Any = "resid_pre",
    over: Sequence[str] | Mapping[str, Any] | Any = ("layer", "pos"),
    direction: str = "denoise",
    mask: Any = None,
    per_example: bool = False,
    window: int = 1,
    qk_fix: bool = False,
    freeze_norms: bool = False,
    path: str | None = None,
    steps: int = 32,
) -> Array:
    r"""$\sum (x' - x)\, \partial m / \partial x |_R$: the estimated change of the metric, cell by cell.

    **Arguments:** those of `ji.patching.attribution`.

    **Returns:** an array with the axes of `over`. A positive effect: the patch raises the metric.

    ```python
    by_head = ji.patching.attribution_effects(
        model, clean, corrupt, metric, site="z", over=("layer", "pos", "head")
    )
    by_head.sum(1)                    # what over=("layer", "head") gives
    ```

    Laws: `attribution` minus the metric of the unpatched run; effects over fewer axes are sums of
    effects over more.
    """
    _, effects, finish = _attribute(
        model,
        clean,
        corrupt,
        metric,
        site,
        over,
        direction,
        mask,
        per_example,
        window,
        Options(qk_fix, freeze_norms, path, steps),
    )
    return finish(effects)


def atp_star(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Metric | Any,
    *,
    site: str | Sequence[str] | Any = "resid_pre",
    over: Sequence[str] | Mapping[str, Any] | Any = ("layer", "pos"),
    direction: str = "denoise",
    mask: Any = None,
    per_example: bool = False,
    window: int = 1,
    qk_fix: bool = True,
    grad_drop: bool = True,
    freeze_norms: bool = False,
) -> Array:
    r"""$c = \mathbb{E}\, \frac{1}{L-1} \sum_\ell |\hat I_\ell|$: how much each cell matters, for a ranking.

    AtP*, Kramar et al. 2024 (https://arxiv.org/abs/2403.00745). $\hat I_\ell$ is the estimated effect
    with the gradient through layer $\ell$'s attention and MLP dropped (GradDrop): where a direct and
    an indirect effect cancel, some of these do not. $L$ backward passes in one program. The mean over
    the batch is taken of magnitudes: it is no estimate of what `sweep` returns, but of the mean
    magnitude of its change.

    **Arguments:** those of `ji.patching.attribution`; without `grad_drop`,
    $c = \mathbb{E}\,|\hat I|$.

    **Returns:** an array with the axes of `over`, 0 or more.

    ```python
    order = ji.patching.atp_star(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    ```

    Law: without `grad_drop`, for one prompt, the magnitude of `attribution_effects`.
    """
    options = Options(qk_fix, freeze_norms, None, 1, drop=grad_drop)
    if grad_drop and layer_count(split_edits(model)[0]) < 2:
        raise ValueError(
            "grad_drop averages over the layers that a cell is not in, and this model has one "
            "layer: write grad_drop=False."
        )
    _, effects, finish = _attribute(
        model, clean, corrupt, metric, site, over, direction, mask, per_example, window, options
    )
    return finish([jnp.abs(effect) for effect in effects])


def _attribute(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Any,
    site: Any,
    over: Any,
    direction: str,
    mask: Any,
    per_example: bool,
    window: int,
    options: Options,
) -> tuple[Array, list[Array], Any]:
    """The metric of the unpatched run (batch,), effects (group, job, batch), and how to end."""
    pair = make_pair(model, clean, corrupt, mask, direction)
    metric = as_metric(metric, pair.mask)
    metric.check(logit_count(config_of(model)), pair.batch)
    metric.check_positions((*pair.batch, pair.pos), pair.mask)
    inner, own = split_edits(model)
    batch, count = pair.batch, layer_count(inner)
    shapes = survey(inner, pair.target, own)
    names = site_names(site)
    grids = [make_grid(name, over, shapes, count, batch, window, pair.mask) for name in names]
    _check_options(options, grids, own)
    check_stackable(grids)
    # What makes no difference to these sites makes no other program either.
    softmax = any(grid.site in (*QUERIES, *KEYS) for grid in grids)
    options = dataclasses.replace(
        options, qk_fix=options.qk_fix and softmax, steps=options.steps if options.path else 1
    )
    value, effects, blind = attribute(
        model,
        pair.target,
        pair.source,
        metric,
        pair.mask,
        [grid.index for grid in grids],
        [_groups(grid, count) for grid in grids],
        tuple((grid.site, tuple(grid.index)) for grid in grids),
        options,
    )
    if blind is not None and concrete(blind) and bool(blind):
        warnings.warn(
            f"The gradient of {metric.name!r} vanishes at the run that is patched, while the metric "
            "does not stay the same: the estimate sees nothing. A divergence is flat at its "
            "reference: patch the other run (direction), average over a path (path='input'), or "
            "use ji.metrics.logit_diff.",
            stacklevel=3,
        )

    def finish(values: list[Array]) -> Array:
        arranged = []
        for grid, each in zip(grids, values, strict=True):
            cell = grid.arrange(each)
            arranged.append(cell.reshape(*cell.shape[:-1], *batch) if per_example else cell.mean(-1))
        if isinstance(site, str):
            return arranged[0]
        return jnp.stack(arranged)

    return value, effects, finish


def _groups(grid: Grid, count: int) -> np.ndarray:
    """(group, layer): 1 where a layer is patched with a group; one column for sites of the model."""
    layers = np.arange(count if is_per_layer(grid.site) else 1)
    if not is_per_layer(grid.site):
        return np.ones((1, 1), np.float32)
    first, last = grid.groups[:, :1], grid.groups[:, 1:]
    return ((layers >= first) & (layers <= last)).astype(np.float32)


def _check_options(options: Options, grids: Sequence[Grid], own: Sequence[Any]) -> None:
    if options.path not in PATHS:
        raise ValueError(f"path is None, 'input' or 'site'; got {options.path!r}.")
    if not is_int(options.steps) or options.steps < 1:
        raise ValueError(f"steps is a number of runs, 1 or more; got {options.steps!r}.")
    for grid in grids:
        if options.freeze_norms and grid.site in ("q_in", "k_in", "v_in"):
            raise ValueError(
                f"{grid.site!r} is read through a norm of its own, which freeze_norms cannot hold; "
                f"use the site {grid.site[0]!r}, behind it."
            )
        if not (options.qk_fix and grid.site in (*QUERIES, *KEYS)):
            continue
        if "unit" in grid.names:
            raise ValueError(
                "qk_fix recomputes attention with a whole query or key exchanged; it has no effect "
                "of single units: drop 'unit' from `over`, or write qk_fix=False."
            )
        if options.path == "site":
            raise ValueError("qk_fix and path='site' are two ways through the softmax: choose one.")
        if grid.site in KEYS and "pos" in grid.names and any("pattern" in e.sites for e in own):
            raise ValueError(
                "qk_fix for single keys takes the pattern for the softmax of the scores, and this "
                "model edits it (ji.intervene): write qk_fix=False."
            )
