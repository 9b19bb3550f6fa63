"""Circles set by an edit: the state from which another angle is read, and what it is compared with."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from .._arguments import check_choice
from ..core._edit import Edit
from ..core._edits import map as mapped
from ..nn._linear import einsum
from ..typing import ArrayLike, IndexLike, StrLike
from ._circle import CircularProbe
from ._matrices import as_floating

MODES = ("exact", "published", "in_place", "donor", "subspace", "average", "only", "without")
TURNED = ("exact", "published", "in_place")
GIVEN = ("donor", "subspace")


def circle_edit(
    probe: CircularProbe,
    angle: ArrayLike | None = None,
    *,
    site: StrLike = "resid_post",
    mode: StrLike = "exact",
    donor: ArrayLike | None = None,
    **where: IndexLike | None,
) -> Edit:
    r"""$h \mapsto \bar h + V Q\,u,\; u = t R^{-1}$: an edit after which the probe reads the angle of t.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860). Some of the modes are the controls of the paper.

    | mode | the state becomes |
    |---|---|
    | "exact" | the mean, with the angle set in the plane: only the plane carries information |
    | "published" | the same, minus the mean's part in the plane, as in the published code; the angle has an offset |
    | "in_place" | the state itself, with the angle set in the plane |
    | "donor" | `donor`, the state of another prompt |
    | "subspace" | the state itself, with the donor's part in the probe's principal components |
    | "average" | the mean |
    | "only" | the mean, with the state's own part in the plane |
    | "without" | the state itself, with the mean's part in the plane |

    **Arguments:**

    - `probe`: the result of `circular_probe` on states of this site.
    - `angle`: an angle in radians, or one for each prompt with an axis of positions, `(n, 1)`. The first three modes
      need it.
    - `site`, `layer=`, `pos=`: the place of the edit, as in `ji.replace`.
    - `donor`: a state `(d,)`, or one for each prompt `(n, 1, d)`. "donor" and "subspace" need it.

    **Returns:** an `Edit`. Probe, angle and donor are leaves: other values use the same compiled program.

    **Raises:** ValueError for another mode, and for an angle or a donor where the mode needs it and it is not given.

    ```python
    edit = ji.geometry.circle_edit(probe, 2 * jnp.pi * 3 / 7, layer=2, pos=-1)
    logits, _ = ji.run(model, tokens, edits=[edit])
    ```

    Laws: the probe reads `angle` after "exact" and "in_place"; "in_place" does not change the part of the state outside
    of the plane.
    """
    check_choice(mode, "mode", MODES)
    if mode in TURNED and angle is None:
        raise ValueError(
            f"mode={mode!r} sets an angle: ji.geometry.circle_edit(probe, angle, mode={mode!r}, ...)."
        )
    if mode in GIVEN and donor is None:
        raise ValueError(
            f"mode={mode!r} takes a state: ji.geometry.circle_edit(probe, mode={mode!r}, donor=...)."
        )
    turn = as_floating(0.0 if angle is None else angle, "angle")
    other = None if donor is None else as_floating(donor, "donor")
    return mapped(site, EDITED[mode], probe, turn, other, with_positions=False, **where)


def circle_state(mode: str, x: Array, probe: CircularProbe, angle: Array, donor: Array | None) -> Array:
    """States `(..., d)` as a mode of `circle_edit` changes them."""
    everywhere = lambda value: jnp.broadcast_to(value.astype(x.dtype), x.shape)
    if mode == "average":
        return everywhere(probe.mean)
    if mode == "only":
        return probe.only(x)
    if mode == "without":
        return probe.without(x)
    if donor is not None and mode in GIVEN:
        if mode == "donor":
            return everywhere(donor)
        return x + einsum("...d,dk,ek->...e", everywhere(donor) - x, probe.components, probe.components)
    turned = jnp.broadcast_to(angle.astype(x.dtype), x.shape[:-1])
    formula = "published" if mode == "published" else "exact"
    return probe.state(turned, x if mode == "in_place" else None, mode=formula)


def _of(mode: str) -> Callable[..., Array]:
    """The function of `ji.map` for a mode: one object each, so that a second edit compiles nothing."""

    def edited(x: Array, probe: CircularProbe, angle: Array, donor: Array | None) -> Array:
        return circle_state(mode, x.astype(probe.mean.dtype), probe, angle, donor)

    return edited


EDITED = {mode: _of(mode) for mode in MODES}
