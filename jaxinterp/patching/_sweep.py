r"""Activation patching over every cell of a grid: $H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core._blocks import layer_count
from ..core._check import logit_count
from ..core._intervene import config_of, split_edits
from ..core._listing import survey
from ..core._sites import is_per_layer
from ..metrics import Metric, as_metric
from ._grid import check_stackable, make_grid, site_names
from ._pairs import Pair, make_pair
from ._plain import plain
from .packed._sweep import packed


def sweep(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Any,
    *,
    site: str | Sequence[str] | Any = "resid_pre",
    over: Sequence[str] | Mapping[str, Any] | Any = ("layer", "pos"),
    direction: str = "denoise",
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    per_example: bool = False,
    window: int = 1,
    max_bytes: int | str | Any = "auto",
    progress: bool = True,
) -> Float[Array, "*cells"]:
    r"""$H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$: the metric after patching each cell $c$ alone.

    Activation patching, Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022
    (https://arxiv.org/abs/2202.05262), Wang et al. 2022 (https://arxiv.org/abs/2211.00593).

    **Arguments:**

    - `model`; `clean`, `corrupt`: prompts `(*batch, pos)` of one length, or embeddings
      `(*batch, pos, d)` (`patching.noised`). One prompt serves a batch of the other.
    - `metric`: of `ji.metrics`, or a function of all logits to one number per example.
    - `site`: what is patched; several sites of equal axes give a leading axis `site`.
    - `over`: the axes of the result, of `layer pos head query key unit`. What is left out is patched
      whole: `("layer", "head")` patches a head at all positions, `("pos",)` all layers together. As a
      mapping it chooses entries: `{"layer": None, "pos": [-1]}`. Where there is a mask, chosen
      positions count real tokens; ints per example `(*batch, n)` are columns of the padded array.
    - `direction`: `"denoise"` runs the corrupt prompt and restores clean activations; `"noise"` runs
      the clean one and puts in corrupt activations.
    - `mask`: True at real tokens, for padded prompts. An axis of positions that is swept whole has
      the columns of the padded array, as in a capture; patching padding changes nothing.
    - `per_example`: keep the examples, as last axes; by default their mean.
    - `window`: so many adjacent layers are patched together, centred on the cell's layer.
    - `max_bytes`: memory that a chunk may take; "auto" is a part of the device's.
    - `progress`: a bar, where there are several chunks.

    **Returns:** the metric of every patched run, with the axes of `over`. Rescale it with
    `ji.metrics.recovered`, and see `patching.statistics` for intervals and p-values.

    The unpatched runs are one compiled program, all cells another: only blocks from the patched layer on run, and only positions from the
    patched one on, against remembered keys and values; only what the metric reads is unembedded.

    ```python
    metric = ji.metrics.logit_diff(right, wrong)
    heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
    ```

    Laws: each cell is the metric of one run with one `ji.replace`; a padded prompt's cells are those
    of the prompt alone.
    """
    pair = make_pair(model, clean, corrupt, mask, direction)
    found = as_metric(metric, pair.mask)
    names = site_names(site)
    _check_all(model, pair, names, over, window)
    heats = [
        swept(
            model,
            pair,
            found,
            None,
            site=name,
            over=over,
            per_example=per_example,
            window=window,
            max_bytes=max_bytes,
            progress=progress,
        )
        for name in names
    ]
    return heats[0] if isinstance(site, str) else jnp.stack(heats)


def _check_all(model: Any, pair: Pair, names: tuple[str, ...], over: Any, window: int) -> None:
    """Every site is one of this model and all have equal axes, before the first is swept."""
    inner, own = split_edits(model)
    shapes, count = survey(inner, pair.target, own), layer_count(inner)
    check_stackable([make_grid(name, over, shapes, count, pair.batch, window, pair.mask) for name in names])


def swept(
    model: Any,
    pair: Pair,
    metric: Metric,
    values: Any,
    *,
    site: str,
    over: Any,
    per_example: bool,
    window: int = 1,
    max_bytes: int | str | Any = "auto",
    progress: bool = True,
) -> Array:
    """A sweep of `pair.target` with what `pair.source` has at the site, or with `values` of its shape."""
    inner, own = split_edits(model)
    shapes = survey(inner, pair.target, own)
    grid = make_grid(site, over, shapes, layer_count(inner), pair.batch, window, pair.mask)
    metric.check_positions((*pair.batch, pair.pos), pair.mask)
    metric.check(logit_count(config_of(model)), pair.batch)
    if own or not is_per_layer(grid.site) or "." in grid.site:
        result = plain(model, pair, metric, values, grid)
    else:
        result = packed(model, pair, metric, values, grid, max_bytes, progress)
    result = result.reshape(*result.shape[:2], *pair.batch)
    result = grid.arrange(result)
    axes = tuple(range(len(grid.names), result.ndim))
    return result if per_example or not axes else result.mean(axes)
