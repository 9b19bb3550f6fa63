r"""Edits along a direction $\hat r$: removed wherever the stream is written, held in an interval, moved to a point.

Adding a direction is `ji.add`; removing it at one site is `ji.project_out`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_floats, concrete
from ..core import Edit, map, project_out
from ..core._subspace import with_largest_entry_one
from ..typing import FloatLike, IndexLike, SitesLike, ValueLike

WRITTEN = ("resid_pre", "attn_out", "mlp_out")
"The stream where blocks begin, embeddings included, and what blocks write to it."


def ablate(direction: ValueLike, *, sites: SitesLike = WRITTEN, layer: IndexLike | None = None) -> list[Edit]:
    r"""$h \mapsto h - (h \cdot \hat r)\,\hat r$ at every write into the stream: the direction is removed from the whole model.

    Directional ablation, Arditi et al. 2024 (https://arxiv.org/abs/2406.11717): at the input of every block, and at
    the output of attention and MLP of every block, at all positions.

    **Arguments:**

    - `direction`: a direction `(d,)`, or several `(n, d)` whose span is removed, as in `ji.project_out`.
    - `sites`: where it is removed. A model without MLPs has no `"mlp_out"`: `sites=("resid_pre", "attn_out")`.
    - `layer`: the layers; None (the default) for all.

    **Returns:** edits for `ji.run`, `ji.generate` or `ji.intervene`.

    **Raises:** ValueError for a direction of zeros.

    ```python
    quiet = ji.intervene(model, ji.steering.ablate(direction))
    ```

    `"attn_out"` and `"mlp_out"` are the vectors that are added to the stream: after the output bias, and after a norm
    that a block might have there.

    Laws: logits are those of `ji.weights.orthogonalise(model, direction)`; a second ablation changes nothing; the part
    of the stream that is orthogonal to the direction stays.
    """
    several = (sites,) if isinstance(sites, str) else tuple(sites)
    vector = as_floats(direction, "direction")
    if concrete(vector) and not np.isfinite(np.asarray(vector, np.float64)).all():
        raise ValueError("ablate needs directions of finite numbers; got NaN or infinity in them.")
    if not several:
        raise ValueError(f"sites are where the direction is removed, such as {WRITTEN}; got none.")
    return [project_out(site, vector, layer=layer) for site in several]


def clamp(
    site: str,
    direction: ValueLike,
    low: ValueLike | FloatLike,
    high: ValueLike | FloatLike | None = None,
    **where: Any,
) -> Edit:
    r"""$x \mapsto x + (\mathrm{clip}(x \cdot \hat r, a, b) - x \cdot \hat r)\,\hat r$: holds a coordinate in an interval.

    Feature steering by clamping, Templeton et al. 2024
    (https://transformer-circuits.pub/2024/scaling-monosemanticity/index.html).

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `direction`: `(d,)`, of any length above zero. The coordinate is measured along its unit vector.
    - `low`, `high`: the ends of the interval: numbers, or such that broadcast to the site with an axis of 1 for d.
      Without `high` the coordinate is set to `low`.

    **Returns:** an `Edit`.

    **Raises:** ValueError for a low end above the high one, and for NaN.

    ```python
    steady = ji.steering.clamp("resid_post", direction, 4.0, layer=2)
    ```

    Laws: the coordinate lies in the interval, and the orthogonal part stays; a second clamp changes nothing; clamping to
    0 is `ji.project_out`.
    """
    ends = [as_floats(low, "low"), as_floats(low if high is None else high, "high")]
    known = all(concrete(end) for end in ends)
    if known and any(np.isnan(np.asarray(end, np.float64)).any() for end in ends):
        raise ValueError(f"low and high are numbers, not NaN; got {low} and {high}.")
    if known and (np.asarray(ends[0]) > np.asarray(ends[1])).any():
        raise ValueError(
            f"low is at most high; got {low} and {high}. Write clamp(site, direction, -1.0, 1.0)."
        )
    return map(site, _clamped, as_direction(direction), *ends, **where)


def affine(
    site: str,
    direction: ValueLike,
    *,
    origin: ValueLike = 0.0,
    strength: ValueLike | FloatLike = 0.0,
    **where: Any,
) -> Edit:
    r"""$x \mapsto x - \big((x - o) \cdot \hat r\big)\,\hat r + \alpha\, r$: sets the coordinate to that of a reference point, plus a multiple of r.

    Affine concept editing, Marshall et al. 2024 (https://arxiv.org/abs/2411.09003). Take the mean of harmless
    activations as `origin`, and the difference of means as `direction`. Then all activations get the coordinate of
    harmless ones at strength 0, and that of harmful ones at strength 1.

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `direction`: $r$, `(d,)`. `strength` is in units of its length.
    - `origin`: $o$, a point `(d,)`; 0 by default.
    - `strength`: $\alpha$, a number, or numbers that broadcast to the site with an axis of 1 for d; 0 by default.

    **Returns:** an `Edit`.

    **Raises:** ValueError for an origin of another width, and for what is not finite.

    ```python
    direction = ji.steering.difference_in_means(yes, no)    # activations (n, d) of two classes at resid_pre[2]
    edit = ji.steering.affine("resid_pre", direction, origin=no.mean(0), strength=1.0, layer=2)
    ```

    Laws: with origin and strength 0 it is `ji.project_out`; the part that is orthogonal to the direction stays.
    """
    vector, point, alpha = (
        as_direction(direction),
        as_floats(origin, "origin"),
        as_floats(strength, "strength"),
    )
    if point.shape not in ((), vector.shape):
        raise ValueError(
            f"origin is one point {vector.shape}, as wide as the direction, or 0; got the shape {point.shape}. The mean of "
            "activations (n, d) is x.mean(0)."
        )
    for name, value in (("origin", point), ("strength", alpha)):
        if concrete(value) and not np.isfinite(np.asarray(value, np.float64)).all():
            raise ValueError(f"{name} is finite; got NaN or infinity.")
    return map(site, _affine, vector, point, alpha, **where)


def as_direction(direction: ValueLike, d: int | None = None) -> Array:
    """One direction `(d,)` of finite numbers that is not zero."""
    vector = jnp.asarray(as_floats(direction, "direction"))
    width = "" if d is None else f" with d={d}"
    if vector.ndim != 1 or (d is not None and len(vector) != d):
        raise ValueError(f"A direction has the shape (d,){width}; got {vector.shape}.")
    if concrete(vector) and not (jnp.isfinite(vector).all() and vector.any()):
        raise ValueError(
            "A direction is of finite numbers that are not all zero: zeros have no unit vector. Are the means "
            "that it comes from those of two different sets of prompts?"
        )
    return vector


def unit(direction: Array) -> Array:
    """The unit vector, for very small and large directions too."""
    scaled = with_largest_entry_one(direction)
    return scaled / jnp.sqrt(jnp.square(scaled).sum(-1, keepdims=True))


def coordinate(x: Array, axis: Array) -> Array:
    """$x \\cdot \\hat r$, `(..., 1)`."""
    return jnp.einsum("...d,d->...", x, axis, precision="highest")[..., None]


def _wide(x: Array, *others: Array) -> tuple[Array, ...]:
    dtype = np.promote_types(x.dtype, np.float32)
    return tuple(each.astype(dtype) for each in (x, *(jnp.asarray(other) for other in others)))


def _clamped(x: Array, direction: Array, low: Array, high: Array) -> Array:
    wide, along, least, most = _wide(x, direction, low, high)
    _check_widths("clamp", wide, along, low=least, high=most)
    axis = unit(along)
    now = coordinate(wide, axis)
    least, most = (jnp.reshape(end, (1,) * (now.ndim - end.ndim) + end.shape) for end in (least, most))
    return wide + (jnp.clip(now, least, most) - now) * spread(axis, wide)


def _affine(x: Array, direction: Array, origin: Array, strength: Array) -> Array:
    wide, along, point, alpha = _wide(x, direction, origin, strength)
    _check_widths("affine", wide, along, strength=alpha)
    axis = unit(along)
    move = (point * axis).sum() if point.ndim else point * axis.sum()
    return wide + (move - coordinate(wide, axis)) * spread(axis, wide) + alpha * spread(along, wide)


def _check_widths(what: str, x: Array, direction: Array, **numbers: Array) -> None:
    """Raises where a direction has another width than the site, or numbers do not broadcast to its coordinates."""
    if len(direction) != x.shape[-1]:
        raise ValueError(
            f"{what}: the direction has {len(direction)} numbers, and the site has {x.shape[-1]} on its last axis. Make "
            "it from activations of this site."
        )
    coordinates = (*x.shape[:-1], 1)
    for name, value in numbers.items():
        try:
            fits = np.broadcast_shapes(value.shape, coordinates) == coordinates
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{what}: {name} is one number, or broadcasts to {coordinates}; got the shape {value.shape}."
            )


def spread(vector: Array, x: Array) -> Array:
    """A vector `(d,)` of the rank of x."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
