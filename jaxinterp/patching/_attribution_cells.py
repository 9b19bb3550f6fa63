"""Estimated effects, cell by cell, of the sites and axes of a sweep."""

import dataclasses
import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import concrete
from .._waiting import finished, waiting
from ..core._sites import is_per_layer
from ..typing import AxesLike, IntLike, MetricLike, SitesLike
from ._attribution_program import attribute
from ._attribution_qk import KEYS, QUERIES
from ._attribution_settings import Options
from ._grid import Grid, check_stackable, make_grid, site_names
from ._pairs import PatchingPair


@dataclasses.dataclass(frozen=True)
class EstimatedEffects:
    """`value` (batch,), the metric of the unpatched run; `cells` (group, job, batch), one array a site."""

    value: Array
    cells: list[Array]
    grids: list[Grid]
    batch: tuple[int, ...]
    single: bool
    "Whether one site was given by its name, so that there is no axis of sites."

    def arranged(self, values: Sequence[Array], per_example: bool) -> Array:
        """Values of the cells with the axes of `over`."""
        arranged = []
        for grid, each in zip(self.grids, values, strict=True):
            cell = grid.arrange(each)
            arranged.append(cell.reshape(*cell.shape[:-1], *self.batch) if per_example else cell.mean(-1))
        return arranged[0] if self.single else jnp.stack(arranged)


def estimate(
    pair: PatchingPair,
    metric: MetricLike,
    site: SitesLike,
    over: AxesLike,
    adjacent: IntLike,
    options: Options,
    progress: bool,
) -> EstimatedEffects:
    """The effects of patching each cell, to first order."""
    checked = pair.metric(metric)
    grids = [make_grid(name, over, pair, adjacent) for name in site_names(site)]
    _check_options(options, grids, pair)
    check_stackable(grids)
    # What makes no difference to these sites makes no other program either.
    softmax = any(grid.site in (*QUERIES, *KEYS) for grid in grids)
    options = dataclasses.replace(options, qk_fix=options.qk_fix and softmax)
    names = ", ".join(grid.site for grid in grids)
    with waiting(f"attribution of {names}: compiling and running", progress):
        found = attribute(
            pair.model,
            pair.own,
            pair.target,
            pair.source,
            checked,
            pair.mask,
            [grid.index for grid in grids],
            [_groups(grid, pair.layers) for grid in grids],
            tuple((grid.site, tuple(grid.index)) for grid in grids),
            options,
        )
        value, effects, blind = finished(found)
    if blind is not None and concrete(blind) and bool(blind):
        warnings.warn(
            f"The gradient of {checked.name!r} vanishes at the run that is patched, while the metric "
            "does not stay the same: the estimate sees nothing. A divergence is flat at its "
            "reference: patch the other run (mode), average over a path "
            "(settings=ji.patching.AttributionSettings(path='input')), or use ji.metrics.logit_diff.",
            stacklevel=4,
        )
    return EstimatedEffects(value, effects, grids, pair.batch, isinstance(site, str))


def _groups(grid: Grid, count: int) -> np.ndarray:
    """(group, layer): 1 where a layer is patched with a group; one column for sites of the model."""
    layers = np.arange(count if is_per_layer(grid.site) else 1)
    if not is_per_layer(grid.site):
        return np.ones((1, 1), np.float32)
    first, last = grid.groups[:, :1], grid.groups[:, 1:]
    return ((layers >= first) & (layers <= last)).astype(np.float32)


def _check_options(options: Options, grids: Sequence[Grid], pair: PatchingPair) -> None:
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
        if grid.site in KEYS and "pos" in grid.names and any("pattern" in e.sites for e in pair.own):
            raise ValueError(
                "qk_fix for single keys takes the pattern for the softmax of the scores, and this "
                "model edits it (ji.intervene): write qk_fix=False."
            )
