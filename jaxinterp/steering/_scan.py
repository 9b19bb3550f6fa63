"""Directions of every layer and position, and how well each reads other prompts."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .._arguments import as_array, as_int, check_function
from .._waiting import waiting
from ..core._blocks import layer_count
from ..core._intervene import split_edits
from ..stats._results import Record, Result
from ..typing import BatchLike, IndexLike, IntLike, ModelLike, PromptPairLike, StrLike, ValueLike
from ._directions import difference_in_means
from ._prompts import as_prompts, places_of, splits, states

if TYPE_CHECKING:
    from ..viz import Figure


@dataclasses.dataclass(frozen=True, eq=False)
class Scan(Result):
    """A direction for each position and layer, and how well it separates other prompts; made by `scan`.

    - `positions (p,)`, `layers (l,)`, `site`: where activations are read.
    - `directions (p, l, d)`: made from the first prompts of both classes.
    - `auc (p, l)`: the area under the ROC curve. It is the share of pairs of a harmful and a harmless other prompt in
      which the harmful one has the larger projection. Ties count half.

    ```python
    found = ji.steering.scan(planted.model, planted.harmful, planted.harmless, positions=range(-3, 0))
    found.auc.shape, found.directions.shape             # (3, layer), (3, layer, d)
    ```
    """

    positions: np.ndarray
    layers: np.ndarray
    site: str
    directions: np.ndarray
    auc: np.ndarray

    def records(self) -> list[Record]:
        """A row for each position and layer."""
        return [
            {"position": int(self.positions[i]), "layer": int(self.layers[j]), "auc": float(auc)}
            for (i, j), auc in np.ndenumerate(self.auc)
        ]

    def figure(self) -> "Figure":
        """The area under the curve by layer and position."""
        from ..viz import heatmap

        names = ("layer", "position")
        return heatmap(
            self.auc.T, rows=self.layers.tolist(), cols=self.positions.tolist(), axis_names=names, value="AUC"
        )


@waiting("ji.steering.scan: compiling and running")
def scan(
    model: ModelLike,
    harmful: BatchLike,
    harmless: BatchLike,
    estimate: Callable[..., Any] = difference_in_means,
    *,
    positions: IndexLike = -1,
    site: StrLike = "resid_pre",
    validation: PromptPairLike | None = None,
    batch_size: IntLike = 32,
) -> Scan:
    r"""$\mathrm{AUC}_{i\ell} = P(x^+ \cdot r_{i\ell} > x^- \cdot r_{i\ell})$: how well a direction of each layer and position separates two classes.

    This is the linear artificial tomography of Zou et al. 2023 (https://arxiv.org/abs/2310.01405), with any estimator
    of the direction.

    **Arguments:**

    - `model`: a model, with or without edits of its own.
    - `harmful`, `harmless`: prompts `(n, pos)` of the two classes, or pairs of tokens and mask.
    - `estimate`: a function of activations `(n, ..., d)` of both classes to directions `(..., d)`, such as
      `difference_in_means` (the default) or `principal_difference`.
    - `positions`: as in `select_direction`.
    - `site`: a site of every layer with the width d.
    - `validation`: other prompts of both classes for the areas. None (the default): the last fifth of those given.
    - `batch_size`: prompts in one run; 32 by default.

    **Returns:** `Scan`. Where a direction r does not tell the means of its own prompts apart by more than rounding, all
    projections on it are ties, and the area is 0.5. The rule is
    $|r \cdot (\mu_+ - \mu_-)| \le 8 \varepsilon \lVert r \rVert \max_i \lVert x_i \rVert$, with $\varepsilon$ the unit of
    rounding of float32. Activations of 16 bits have their own unit, once. Layer 0 at a token that all prompts share is such
    a place.

    ```python
    estimate = ji.steering.principal_difference
    found = ji.steering.scan(planted.model, planted.harmful, planted.harmless, estimate, positions=range(-3, 0))
    found.figure()
    ```

    Laws: 0.5, up to chance, where both classes are prompts of one kind, and exactly where they are the same prompts in
    another order; exchanging the classes changes no area.
    """
    check_function(estimate, "estimate", ("harmful", "harmless"), "ji.steering.difference_in_means")
    classes = [as_prompts(harmful, "harmful"), as_prompts(harmless, "harmless")]
    train, val = splits(classes, validation, 0.2)
    places = places_of(positions, [*train, *val])
    size = as_int(batch_size, "batch_size", 1)
    read = lambda each: states(model, each, places, size, site)
    first = [read(each) for each in train]
    found = np.asarray(as_array(estimate(*first), "estimate"))  # (layer, position, d)
    if first[0].ndim != 4 or found.shape != first[0].shape[1:]:
        raise ValueError(
            f"A scan reads a site (pos, d) of every layer, and estimate gives a direction (layer, position, d) from "
            f"(n, layer, position, d); {site!r} has {first[0].shape} here and estimate gave {found.shape}. Take "
            'site="resid_pre" and ji.steering.difference_in_means.'
        )
    x, y = (np.einsum("nlpd,lpd->lpn", read(each), found) for each in val)
    above = np.sign(x[..., :, None] - y[..., None, :])
    auc = np.where(_has_side(first[0], first[1], found), (above.mean((-2, -1)) + 1) / 2, 0.5).T
    layers = np.arange(layer_count(split_edits(model)[0]))
    return Scan(places, layers, str(site), np.moveaxis(found, 0, 1), auc)


def _has_side(x: np.ndarray, y: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Whether a direction tells the means of `x` and `y (n, layer, position, d)` apart by more than rounding,
    `(layer, position)`."""
    unit = float(jnp.finfo(x.dtype).eps) * (8 if x.dtype.itemsize >= 4 else 1)
    rows = [each.astype(np.float64) for each in (x, y)]
    axis = direction.astype(np.float64)
    gap = ((rows[0].mean(0) - rows[1].mean(0)) * axis).sum(-1)
    largest = np.maximum(*(np.linalg.norm(each, axis=-1).max(0) for each in rows))
    return np.abs(gap) > unit * largest * np.linalg.norm(axis, axis=-1)


@waiting("ji.steering.cosines: compiling and running")
def cosines(
    model: ModelLike,
    prompts: BatchLike,
    direction: ValueLike,
    *,
    site: StrLike = "resid_pre",
    positions: IndexLike | None = None,
    batch_size: IntLike = 32,
) -> np.ndarray:
    r"""$\cos(h_{\ell t}, r)$: the cosine of the stream with a direction, by layer and position.

    **Arguments:**

    - `model`, `prompts`: a model; tokens `(n, pos)`, or a pair of tokens and mask.
    - `direction`: `(d,)`, or one for each layer `(layer, d)`.
    - `site`: a site of every layer with the width d.
    - `positions`: ints that count the tokens of each prompt. None (the default): all columns, NaN at padding.
    - `batch_size`: prompts in one run; 32 by default.

    **Returns:** `(layer, n, pos)`.

    ```python
    cosine = ji.steering.cosines(model, clean[None], direction)[:, 0]
    ji.viz.heatmap(cosine, axis_names=("layer", "token"), cols=tokenizer.tokens(clean))
    ```

    Law: between -1 and 1 for a direction of any length.
    """
    given = as_prompts(prompts, "prompts")
    places = None if positions is None else places_of(positions, [given])
    axis = np.asarray(as_array(direction, "direction"), np.float64)
    count, width = layer_count(split_edits(model)[0]), split_edits(model)[0].config.d
    if axis.shape not in ((width,), (count, width)) or not np.isfinite(axis).all() or not axis.any(-1).all():
        raise ValueError(
            f"cosines take a direction ({width},), or one for each layer ({count}, {width}), that is not zero; got the "
            f"shape {axis.shape}."
        )
    size = as_int(batch_size, "batch_size", 1)
    axis = np.broadcast_to(axis / np.linalg.norm(axis, axis=-1, keepdims=True), (count, width))
    if places is None:
        found = _cosines(states(model, given, None, size, site), axis)
        return np.where(np.asarray(given.mask)[None], found, np.nan)
    return _cosines(states(model, given, places, size, site), axis)


def _cosines(x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Of `x (n, layer, pos, d)` with `axis (layer, d)`: `(layer, n, pos)`."""
    if x.ndim != 4 or x.shape[-1] != axis.shape[-1]:
        raise ValueError(
            f"cosines read a site (pos, d) with d={axis.shape[-1]}, as the direction has; this one has the axes "
            f'{x.shape} of (n, layer, pos, ...). Take the stream or what is written to it: site="resid_pre".'
        )
    inner = np.einsum("nlpd,ld->lnp", x, axis)
    return inner / np.maximum(np.linalg.norm(x, axis=-1), 1e-30).swapaxes(0, 1)
