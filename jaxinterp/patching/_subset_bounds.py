"""Bounds on the effects of cells that nobody patched, from random subsets that are patched together."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from .. import viz
from .._arguments import as_int, check_key
from .._random import host_generator
from .._waiting import waiting
from ..core import run
from ..core._check import shown
from ..core._sites import is_per_layer
from ..metrics import Metric
from ..stats._intervals import check_level
from ..stats._results import Record, Result
from ..typing import (
    ArrayLike,
    AxesLike,
    FloatLike,
    IntLike,
    KeyLike,
    MaskLike,
    MetricLike,
    ModelLike,
    StrLike,
    TokensLike,
)
from ._grid import make_grid, site_axes
from ._kept_cells import KeptCells
from ._pairs import make_pair


@dataclasses.dataclass(frozen=True, eq=False)
class SubsetBounds(Result):
    """How much each cell changes the metric in random subsets; made by `ji.patching.subset_bounds`.

    - `effect (*over)`: the mean metric of subsets with the cell minus that of subsets without it.
    - `low`, `high`: the interval of the effect. Cells that were verified have NaN.
    - `bound`: the largest magnitude in any of the intervals. Where effects add up, a cell that was overlooked has no
      larger effect, at the level of one interval.
    - `subsets`: how many subsets were patched; `over`: the names of the axes.

    ```python
    found = ji.patching.subset_bounds(model, clean, corrupt, metric, key=jax.random.key(0))
    found.effect.shape, found.bound
    ```
    """

    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bound: float
    subsets: int
    over: tuple[str, ...]

    def records(self) -> list[Record]:
        """A row for each cell."""
        return [
            dict(zip(self.over, map(int, cell), strict=True))
            | {"effect": float(value), "low": float(self.low[cell]), "high": float(self.high[cell])}
            for cell, value in np.ndenumerate(self.effect)
        ]

    def figure(self, *, title: str = "") -> viz.Figure:
        """A heat map of the effects, with the intervals on hover. All axes after the first share the columns."""
        rows = [values.reshape(len(values), -1) for values in (self.effect, self.low, self.high)]
        names = self.over[0], " and ".join(self.over[1:]) or " "
        title = title or f"Effects in random subsets, at most {self.bound:.3g}"
        return viz.heatmap(
            rows[0], axis_names=names, value="effect", title=title, interval=(rows[1], rows[2])
        )


@waiting("ji.patching.subset_bounds: compiling and running")
def subset_bounds(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    key: KeyLike,
    site: StrLike = "z",
    over: AxesLike = ("layer", "head"),
    verified: ArrayLike | None = None,
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    resamples: IntLike = 64,
    level: FloatLike = 0.95,
) -> SubsetBounds:
    r"""$\bar m(S \ni c) - \bar m(S \not\ni c) \pm t\,s$: how much a cell that was not patched alone may matter.

    The diagnostic of AtP*, Kramar et al. 2024 (https://arxiv.org/abs/2403.00745). An estimate may overlook a cell
    that matters. So random subsets S of the cells that are not verified are patched, and each cell is in half of the
    subsets. If a cell matters, the metric of the subsets with this cell differs from that of the subsets without it.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `metric`, `mode`, `mask`: as in `sweep`.
    - `key`: draws the subsets.
    - `site`: a site of each layer: "z" for heads (the default), "mlp_post" for neurons, "resid_pre", "q" and others.
    - `over`: the axes of the cells, as in `sweep`; a cell takes all entries of the axes that are left out.
    - `verified`: bools with the axes of `over`: the cells that were patched exactly and are in no subset; none by default.
    - `resamples`: how many subsets are patched, 64 by default. The bound falls with the square root of this number.
    - `level`: the coverage of the intervals, 0.95 by default.

    **Returns:** `SubsetBounds`.

    **Raises:** ValueError as `sweep`, for a site that is not of each layer, for `over` with chosen entries, for fewer
    than 8 subsets, and where every cell is verified.

    ```python
    order = ji.patching.atp_star(model, clean, corrupt, metric, site="z", over=("layer", "head"))
    verified = order >= np.sort(order, axis=None)[-10]
    ji.patching.subset_bounds(model, clean, corrupt, metric, verified=verified, key=jax.random.key(0)).bound
    ```

    Laws: where the effects of cells add up, the mean of `effect` is the effect that `sweep` measures; where all cells but
    one are verified, `effect` is exactly the effect of this cell.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    checked, grid = pair.metric(metric), make_grid(site, over, pair)
    if not is_per_layer(site) or isinstance(over, Mapping):
        raise ValueError(
            "subset_bounds draws from all cells of a site of each layer, by the names of their axes: "
            f'site="z", over=("layer", "head"); got {shown(site)} and {shown(over)}.'
        )
    shape = grid.sizes
    count, level = as_int(resamples, "resamples", 8), check_level(level)
    rng = host_generator(check_key(key, "ji.patching.subset_bounds(..., key={})"))
    known = np.zeros(shape, bool) if verified is None else np.asarray(verified)
    if known.shape != shape or known.dtype != bool or known.all():
        raise ValueError(
            f"verified is bools {shape}, False for some cell; got {known.shape} of {known.dtype}."
        )
    # Every cell is in half of the subsets, so that no side is ever empty.
    order = np.stack([rng.permutation(count) for _ in range(known.size)], 1).reshape(count, *shape)
    chosen = (order < count // 2) & ~known
    value = run(model, pair.source, capture=[site], mask=pair.mask, logits=False)[1][site]
    keep = jnp.asarray(_masks(~chosen, grid.names, site, pair.layers))
    found = np.asarray(_metric_of(model, pair.target, pair.mask, checked, KeptCells(value, keep, site)))
    effect, half = _contrast(chosen.reshape(count, -1), found.astype(np.float64))
    half *= scipy.special.stdtrit(count - 2, (1 + level) / 2)
    effect, half = effect.reshape(shape), half.reshape(shape)
    bound = float(np.nanmax(np.abs(effect) + half))
    return SubsetBounds(effect, effect - half, effect + half, bound, count, grid.names)


def _masks(kept: np.ndarray, names: tuple[str, ...], site: str, layers: int) -> np.ndarray:
    """`kept (subset, *names)` as `(subset, layer, *axes)` of the site, with an axis of 1 where a cell is whole."""
    axes = ["layer", *site_axes(site)]
    order = [axis for axis in axes if axis in names]
    kept = kept.transpose(0, *(1 + names.index(axis) for axis in order))
    whole = [1 + i for i, axis in enumerate(axes) if axis not in names]
    kept = np.expand_dims(kept, whole)
    return np.broadcast_to(kept, (len(kept), layers, *kept.shape[2:]))


def _contrast(chosen: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the subsets with a cell minus that of those without, and its standard error; NaN where none has it."""
    sides = []
    for side in (chosen, ~chosen):
        n = side.sum(0).astype(np.float64)
        n[n == 0] = np.nan
        mean = side.T @ found / n
        square = np.where(side, (found[:, None] - mean) ** 2, 0).sum(0)
        sides.append((mean, square / (n - 1) / n))
    (with_, var), (without, other) = sides
    return with_ - without, np.sqrt(var + other)


@eqx.filter_jit
def _metric_of(
    model: ModelLike, tokens: Array, mask: Array | None, metric: Metric, cells: KeptCells
) -> Array:
    """The mean metric of each set of kept cells `(subset, layer, *axes)`."""
    positions = True if metric.pos is None else metric.pos

    def one(keep: Array) -> Array:
        edits = [KeptCells(cells.value, keep, cells.site)]
        return metric.of(run(model, tokens, edits=edits, mask=mask, logits=positions)[0]).mean()

    return jax.lax.map(one, cells.keep)
