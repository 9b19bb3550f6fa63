"""Circles in activations: a plane from which an angle is read, and on which it can be set."""

import warnings

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_int, check_choice, concrete
from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..typing import ArrayLike, IntLike, StrLike
from ._matrices import as_floating, as_matrix, centred, check_varies


class CircularProbe(Result, eqx.Module):
    r"""A plane from which $(\cos t, \sin t)$ is read; made by `circular_probe`.

    - `r2 (2,)`: the share of the variance of the cosine, and of the sine, that is read.
    - `mean (d,)`: the mean of the activations.
    - `weights (d, 2)`, `bias (2,)`: the probe reads `(x - mean) @ weights + bias`. The bias holds the means of the cosine
      and of the sine.
    - `plane (d, 2)`: an orthonormal basis of the plane.
    - `inverse (2, 2)`: the map from cosine and sine to coordinates in the plane, which `state` uses.
    - `components (d, k)`: the principal components that the probe uses; zero where fewer components vary.

    ```python
    t = 2 * np.pi * day / 7                             # the angle of each example, (n,)
    probe = ji.geometry.circular_probe(x, t)
    probe.r2, probe.angle(x)[:3]
    ```
    """

    r2: Float[Array, "2"]
    mean: Float[Array, " d"]
    weights: Float[Array, "d 2"]
    bias: Float[Array, "2"]
    plane: Float[Array, "d 2"]
    inverse: Float[Array, "2 2"]
    components: Float[Array, "d k"]

    def read(self, x: ArrayLike) -> Float[Array, "*n 2"]:
        """The cosine and the sine that are read from activations `(..., d)`."""
        x = as_floating(x, "x").astype(self.mean.dtype)
        moved = x - jnp.broadcast_to(self.mean, x.shape)
        found = einsum("...d,dk->...k", moved, self.weights)
        return found + jnp.broadcast_to(self.bias, found.shape)

    def angle(self, x: ArrayLike) -> Float[Array, "*n"]:
        """The angle in radians that is read from activations `(..., d)`."""
        found = self.read(x)
        return jnp.arctan2(found[..., 1], found[..., 0])

    def state(self, angle: ArrayLike, x: ArrayLike | None = None, *, mode: StrLike = "exact") -> Array:
        r"""Activations `(..., d)` from which this angle is read: $\bar h + Q u$, with $u = t R^{-1}$.

        **Arguments:**

        - `angle (...)`: in radians.
        - `x (..., d)`: activations whose part outside of the plane is kept. By default it is the part of the mean, so
          that only the plane carries information, as in Engels et al.
        - `mode`: "exact" (the default), or "published", which first subtracts the mean's part in the plane. The angle
          that is read from the result of "published" has an offset.
        """
        check_choice(mode, "mode", ("exact", "published"))
        t = as_floating(angle, "angle").astype(self.mean.dtype)
        t = jnp.stack([jnp.cos(t), jnp.sin(t)], -1)
        u = einsum("...k,kj->...j", t - jnp.broadcast_to(self.bias, t.shape), self.inverse)
        base = self.mean if x is None else self.without(x)
        if mode == "published":
            inside = einsum("d,dk->k", self.mean, self.plane)
            base = base - jnp.broadcast_to(einsum("k,dk->d", inside, self.plane), base.shape)
        moved = einsum("...k,dk->...d", u, self.plane)
        return jnp.broadcast_to(base, moved.shape) + moved

    def without(self, x: ArrayLike) -> Float[Array, "*n d"]:
        """Activations `(..., d)` with the mean in place of their part in the plane."""
        return self._parts(x)[1]

    def only(self, x: ArrayLike) -> Float[Array, "*n d"]:
        """The mean with the part of activations `(..., d)` in the plane: the part outside is replaced by the mean's."""
        return self._parts(x)[0]

    def _parts(self, x: ArrayLike) -> tuple[Array, Array]:
        x = as_floating(x, "x").astype(self.mean.dtype)
        mean = jnp.broadcast_to(self.mean, x.shape)
        inside = einsum("...d,dk,ek->...e", x - mean, self.plane, self.plane)
        return mean + inside, x - inside

    def records(self) -> list[Record]:
        """One dict for the cosine and one for the sine."""
        return [{"reading": name, "r2": float(self.r2[i])} for i, name in enumerate(("cos", "sin"))]


def circular_probe(x: ArrayLike, angle: ArrayLike, *, components: IntLike = 5) -> CircularProbe:
    r"""$\min_W \lVert (\cos t, \sin t) - (x - \bar x) V W \rVert^2$ on the top principal components V: a linear probe of an angle.

    Engels et al. 2024 (https://arxiv.org/abs/2405.14860).

    **Arguments:**

    - `x (n, d)`: activations of n examples.
    - `angle (n,)`: the angle of each example in radians, of any number of turns. Item t of p on a circle has the angle
      $2 \pi t / p$; degrees are `jnp.deg2rad(degrees)`.
    - `components`: how many principal components the probe uses; 5 by default, and at most as many as vary.

    **Returns:** `CircularProbe`. Its `r2` is computed on the examples of the fit; use `read` on other examples to judge
    it.

    **Raises:** ValueError for another number of angles, no more rows than components, angles that are all equal or on
    one line through the circle, and values that are not finite.

    **Warns:** where most angles lie beyond one turn and seem to be degrees: they are whole numbers, or x tells more of
    the same numbers as degrees. The probe is that of radians all the same.

    ```python
    t = 2 * jnp.pi * jnp.arange(70) / 7
    x = jnp.stack([jnp.cos(t), jnp.sin(t)], 1) @ jax.random.normal(jax.random.key(0), (2, 16))
    probe = ji.geometry.circular_probe(x, t)
    probe.r2, probe.angle(probe.state(1.0))              # [1, 1], 1.0
    ji.replace("resid_post", probe.state(1.0), layer=1, pos=-1)      # an edit that sets the angle
    ```

    Laws: the angle of `state(t, x)` is t for every `x`; `only(x) + without(x)` equals `x + mean`.
    """
    x = as_matrix(x, "x", 4)
    t = as_floating(angle, "angle").astype(x.dtype)
    if t.shape != (len(x),):
        raise ValueError(f"angle is ({len(x)},), one for each row of x, in radians; got the shape {t.shape}.")
    check_varies(x, "x")
    k = min(as_int(components, "components", 2), x.shape[1])
    if k < 2 or len(x) - 1 <= k:
        raise ValueError(
            f"A circle lies in two dimensions or more, and a probe of {k} components needs more than {k + 1} rows; "
            f"got x of the shape {x.shape}. Give more rows, or components=2."
        )
    if concrete(t):
        target = np.stack([np.cos(np.asarray(t)), np.sin(np.asarray(t))], 1)
        s = np.linalg.svd(target - target.mean(0), compute_uv=False)
        if s[-1] < 1e-4 * max(s[0], 1):
            raise ValueError(
                "The angles are all one, or lie on one line through the circle, so they span no circle. Angles are "
                "in radians: 2 * np.pi * item / items, or jnp.deg2rad(degrees)."
            )
    if concrete(x):
        s = np.linalg.svd(np.asarray(centred(x)), compute_uv=False)
        if s[1] <= s[0] * max(x.shape) * np.finfo(s.dtype).eps:
            raise ValueError("The rows of x lie on one line, and a circle needs two directions that vary.")
    found = fit_circle(x, t, k)
    if concrete(t) and np.mean(np.abs(t) > 2 * np.pi) > 0.5 and _are_degrees(x, t, k, found):
        warnings.warn(
            f"Angles are in radians, and most of these lie beyond one turn, -2 pi to 2 pi, up to {np.abs(t).max():g}. "
            "They seem to be degrees: give ji.geometry.circular_probe(x, jnp.deg2rad(angle)). Radians of several turns "
            "have no warning as jnp.mod(angle, 2 * jnp.pi).",
            stacklevel=2,
        )
    return found


def _are_degrees(x: Array, t: Array, components: int, found: CircularProbe) -> bool:
    """Whether angles beyond one turn are whole numbers, or as degrees leave less than 0.9 of the variance that they
    leave as radians."""
    if not np.any(np.asarray(t) % 1):
        return True
    if not concrete(x):
        return False
    degrees = fit_circle(x, jnp.deg2rad(t), components)
    return bool(1 - degrees.r2.mean() < 0.9 * (1 - found.r2.mean()))


@eqx.filter_jit
def fit_circle(x: Float[Array, "n d"], t: Float[Array, " n"], components: int) -> CircularProbe:
    mean = x.mean(0)
    u, s, vt = jnp.linalg.svd(centred(x), full_matrices=False)
    u, s, vt = u[:, :components], s[:components], vt[:components]
    varies = s > s[:1] * (max(x.shape) * float(jnp.finfo(x.dtype).eps))
    target = jnp.stack([jnp.cos(t), jnp.sin(t)], 1)
    bias = target.mean(0)
    offset = centred(target)
    inside = einsum("nk,nj->kj", jnp.where(varies[None], u, 0), offset)
    left = offset - einsum("nk,kj->nj", u, inside)
    r2 = 1 - jnp.square(left).sum(0) / jnp.square(offset).sum(0)
    weights = einsum("kd,kj->dj", vt, inside / jnp.where(varies, s, jnp.inf)[:, None])
    plane, r = jnp.linalg.qr(weights)
    return CircularProbe(
        r2, mean, weights, bias, plane, jnp.linalg.inv(r), jnp.where(varies[:, None], vt, 0).T
    )
