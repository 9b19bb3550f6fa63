r"""Activation patching over every cell of a grid: $H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._deprecations import respelled
from ..core._check import concrete
from ..core._select import POSITIONS
from ..core._sites import is_per_layer
from ..metrics import Metric
from ..typing import (
    AxesLike,
    BytesLike,
    IntLike,
    MaskLike,
    MetricLike,
    ModelLike,
    SitesLike,
    StrLike,
    TokensLike,
)
from ._grid import check_stackable, chosen_positions, make_grid, site_names
from ._pairs import PatchingPair, make_pair
from ._plain import plain
from .packed._sweep import packed, read_columns


@respelled(direction="mode='denoise' or mode='noise'", window="adjacent=")
def sweep(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    site: SitesLike = "resid_pre",
    over: AxesLike = ("layer", "pos"),
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
    adjacent: IntLike = 1,
    max_bytes: BytesLike = "auto",
    progress: bool = True,
) -> Float[Array, "*cells"]:
    r"""$H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$: the metric after patching each cell $c$ alone.

    Activation patching, Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022
    (https://arxiv.org/abs/2202.05262), Wang et al. 2022 (https://arxiv.org/abs/2211.00593).

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `clean`, `corrupt`: prompts `(*batch, pos)` of one length, or embeddings `(*batch, pos, d)` of
      `ji.patching.noised`. One of the two may be a single prompt, which is then used for every example.
    - `metric`: a metric of `ji.metrics`, or a function of all logits to one number per example.
    - `site`: the site to patch. Several sites with the same axes give a leading axis `site`.
    - `over`: the axes of the result, from `layer pos head query key unit`. A cell takes all entries of the
      axes that are left out: `("layer", "head")` patches a head at all positions, and `("pos",)` a position
      in all layers at once. A mapping chooses entries: `{"layer": None, "pos": [-1]}`. With a mask, chosen
      positions count real tokens; ints per example `(*batch, n)` are columns of the padded array.
    - `mode`: `"denoise"` runs the corrupt prompt and restores clean activations; `"noise"` runs the
      clean prompt and puts in corrupt activations.
    - `mask`: True at real tokens, for padded prompts. Without chosen entries an axis of positions has
      the columns of the padded array, as in a capture. A patch at padding changes nothing.
    - `per_example`: returns a number for each example, on the last axes. By default their mean is returned.
    - `adjacent`: how many adjacent layers a cell patches, centred on its layer; by default 1.
    - `max_bytes`: the memory in bytes for the cells that run at once; "auto" is a part of the device's memory.
    - `progress`: shows a progress bar after two seconds, also while programs are compiled.

    **Returns:** the metric of every patched run, with the axes of `over`. Rescale it with
    `ji.metrics.recovered`; `ji.patching.statistics` gives intervals and p-values.

    The unpatched runs are one compiled program, and all cells are another. A cell runs only the blocks from the
    patched layer on, and only the positions from the patched one on: keys and values of earlier positions are
    remembered. Only the positions that the metric reads are unembedded. It works under `jit`, `vmap` and `jax.jvp`, and
    `jax.grad` does not pass its loops: `ji.patching.attribution` gives gradients, and `jax.vmap` over `ji.run` takes them.

    ```python
    metric = ji.metrics.logit_diff(right, wrong)
    heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
    ```

    Laws: each cell is the metric of one run with one `ji.replace`; the cells of a padded prompt are
    the cells of the prompt alone.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    checked = pair.metric(metric)
    names = site_names(site)
    # Every site is one of this model and all have equal axes, before the first is swept.
    check_stackable([make_grid(name, over, pair, adjacent) for name in names])
    heats = [
        swept(
            pair,
            checked,
            None,
            site=name,
            over=over,
            per_example=per_example,
            adjacent=adjacent,
            max_bytes=max_bytes,
            progress=progress,
        )
        for name in names
    ]
    return heats[0] if isinstance(site, str) else jnp.stack(heats)


def swept(
    pair: PatchingPair,
    metric: Metric,
    values: Any,
    *,
    site: str,
    over: AxesLike,
    per_example: bool,
    adjacent: IntLike,
    max_bytes: BytesLike,
    progress: bool,
) -> Array:
    """A sweep of `pair.target` with what `pair.source` has at the site, or with `values` of its shape."""
    grid = make_grid(site, over, pair, adjacent)
    if pair.own or not is_per_layer(grid.site) or "." in grid.site:
        result = plain(pair, metric, values, grid, progress)
    else:
        wide, read = pair, read_columns(metric, pair)
        if values is None and metric.pos is not None and concrete(read) and not chosen_positions(over):
            wide = pair.bucketed()
            grid = make_grid(site, over, wide, adjacent)
        result = packed(wide, metric, read, values, grid, max_bytes, progress)
    result = grid.arrange(result.reshape(*result.shape[:2], *pair.batch))
    if any(size > pair.pos for size in grid.position_sizes()):
        result = result[tuple(slice(pair.pos if name in POSITIONS else None) for name in grid.names)]
    axes = tuple(range(len(grid.names), result.ndim))
    return result if per_example or not axes else result.mean(axes)
