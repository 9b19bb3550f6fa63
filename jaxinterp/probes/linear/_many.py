"""Many sparse probes at once, each on its own support."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...stats._examples import as_examples, as_labels, as_real, as_shaped, check_loss
from ...stats._examples import example_weights as _example_weights
from ...stats._scores import metrics, regression_metrics
from ._blocks import cores, log1p
from ._fit import fit
from ._newton import judge

# Probes of one program: their columns, gathered, are what a cache or a step of an accelerator holds.
_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Probes:
    """Linear probes of many supports; made by `fit_many`.

    `support (..., m, k)` columns of x, -1 where a support is shorter; `weights` of that shape, 0
    there; `bias`, `value` of the objective, `converged`, `iterations`, `(..., m)`.
    """

    support: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray
    loss: str
    gamma: float
    features: int

    def decision(self, x: Any) -> np.ndarray:
        """Scores of every probe, `(..., m, n)` for x `(..., n, d)`."""
        x = as_shaped(x, layers=True)
        lead = self.support.shape[:-2]
        if x.shape[-1] != self.features or lead[len(lead) - x.ndim + 2 :] != x.shape[:-2]:
            raise ValueError(
                f"These probes read x with the axes {lead} (or their last ones), examples, then "
                f"d={self.features} features; got the shape {x.shape}."
            )
        layers = x.reshape(-1, *x.shape[-2:])
        out = np.empty((int(np.prod(lead, dtype=int)), self.support.shape[-2], x.shape[-2]))
        parts = (a.reshape(len(out), -1, *a.shape[len(lead) + 1 :]) for a in self._linear())
        for at, (support, weights, bias) in enumerate(zip(*parts, strict=True)):
            z = np.asarray(layers[at % len(layers)][:, support.ravel()], np.float64)
            z = z.reshape(len(z), *support.shape)
            out[at] = np.einsum("nmk,mk->mn", z, weights) + bias[:, None]
        return out.reshape(*lead, *out.shape[1:])

    def evaluate(self, x: Any, y: Any) -> dict[str, np.ndarray]:
        """`metrics` of every probe on other examples, arrays `(..., m)`; of squared loss `regression_metrics`.

        `y (n,)`, or `(feature, n)` for probes fitted to several labellings.
        """
        score = self.decision(x)
        n = score.shape[-1]
        y = np.asarray(y)
        if y.ndim > 1 and y.shape[0] != score.shape[0]:
            raise ValueError(f"There are probes of {len(score)} labellings; got y of {y.shape}.")
        rows = y if y.ndim > 1 else y[None]
        parts = score.reshape(len(rows), -1, n)
        if self.loss == "squared":
            each = [
                regression_metrics(row, one) for row, part in zip(rows, parts, strict=True) for one in part
            ]
            found = {name: np.array([e[name] for e in each]) for name in each[0]}
        else:
            several = [metrics(row, part) for row, part in zip(rows, parts, strict=True)]
            found = {name: np.concatenate([s[name] for s in several]) for name in several[0]}
        return {name: value.reshape(score.shape[:-1]) for name, value in found.items()}

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.support, self.weights, self.bias


def fit_many(
    x: Any,
    y: Any,
    supports: Any,
    loss: str = "logistic",
    *,
    gamma: float | int = 1.0,
    balanced: bool = True,
    intercept: bool = True,
    max_iter: int = 50,
) -> Probes:
    r"""$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$ for every support S of many.

    Newton (logistic) or the closed form (squared) in float32, many probes in one program that serves
    every call with the same n and k; hinge loss is solved one by one, by `fit`.

    **Arguments:** `x (..., n, d)`, any leading axes (layers); `y (n,)`, or several labellings
    `(feature, n)`; `supports (m, k)`, the same in every layer, or with the axes of x before them
    `(..., m, k)`, and with `feature` before those; -1 fills up a support that is shorter. `loss`,
    `gamma`, `balanced`, `intercept` as in `fit`.

    **Returns:** `Probes`, arrays `(..., m)` or `(feature, ..., m)`.

    **Raises:** as `fit`.

    ```python
    order = np.argsort(-ji.probes.rank(x, y))
    probes = ji.probes.fit_many(x, y, [order[:8], order[8:16]])
    probes.evaluate(x, y)["f1"], probes.converged
    ```

    Law: each is `fit(x, y, S)`.
    """
    check_loss(loss)
    x = as_shaped(x, layers=True)
    n, d = x.shape[-2:]
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    labels = np.asarray(y)
    rows = labels if labels.ndim == 2 else labels[None]
    read = as_real if loss == "squared" else as_labels
    sides = [read(row, n) for row in rows]
    omegas = [_example_weights(side, balanced and loss != "squared") for side in sides]
    lead = (*labels.shape[:-1], *x.shape[:-2])
    support = _as_supports(supports, lead, d)
    layers = int(np.prod(x.shape[:-2], dtype=int))
    flat = x.reshape(layers, n, d)
    by_layer = support.reshape(len(rows), layers, *support.shape[-2:])
    m = by_layer.shape[2]
    size = min(m, _TOGETHER)
    jobs = [
        (feature, layer, min(first, m - size))
        for feature in range(len(rows))
        for layer in range(layers)
        for first in range(0, m, size)
    ]
    most, ridge = jnp.int32(max_iter), jnp.float32(1 / gamma)

    def one(job: tuple[int, int, int]) -> dict[str, np.ndarray]:
        feature, layer, first = job
        some = by_layer[feature, layer, first : first + size]
        y, omega = sides[feature], omegas[feature]
        if loss == "hinge":
            whole = as_examples(flat[layer])
            options: Any = dict(gamma=gamma, balanced=balanced, intercept=intercept)
            return _one_by_one(whole, y, some, options, max_iter)
        z = np.asarray(flat[layer][:, np.maximum(some, 0).ravel()], np.float32)
        real = lambda a: jnp.asarray(a, jnp.float32)
        program = _compiled(loss, bool(intercept))
        found = program(real(z), jnp.asarray(some >= 0), real(y), real(omega), ridge, most)
        return {name: np.asarray(value) for name, value in found.items()}

    out: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(cores()) as pool:
        first = one(jobs[0])  # compiles, once
        for job, found in zip(jobs, [first, *pool.map(one, jobs[1:])], strict=True):
            for name, value in found.items():
                shape = (*by_layer.shape[:3], *value.shape[1:])
                into = out.setdefault(name, np.empty(shape, value.dtype))
                into[job[0], job[1], job[2] : job[2] + size] = value
    if not np.isfinite(out.pop("size", np.zeros(1))).all():
        as_examples(x, layers=True)
        raise ValueError("Activations beyond 1e17 overflow in float32; divide them first.")
    given = {name: v.reshape(*lead, *v.shape[2:]) for name, v in out.items()}
    return Probes(support, **given, loss=loss, gamma=float(gamma), features=d)


def _as_supports(supports: Any, lead: tuple[int, ...], d: int) -> np.ndarray:
    """Supports `(*lead, m, k)`; a list of supports of different lengths is filled up with -1."""
    if isinstance(supports, list | tuple) and all(np.ndim(s) == 1 for s in supports):
        longest = max(map(len, supports), default=0)
        supports = [[*map(int, s), *[-1] * (longest - len(s))] for s in supports]
    given = np.asarray(supports)
    if given.ndim < 2 or not given.size or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"supports are lists of columns, ints (m, k) or ({', '.join(map(str, (*lead, 'm', 'k')))}); "
            f"got {given.dtype} of the shape {given.shape}. One support alone: [support]."
        )
    if given.min() < -1 or given.max() >= d:
        raise IndexError(f"Columns are 0..{d - 1} of x, or -1 for none; got {given.min()}..{given.max()}.")
    ordered = np.sort(given, -1)
    twice = (np.diff(ordered, axis=-1) == 0) & (ordered[..., 1:] >= 0)
    if twice.any():
        where = np.argwhere(twice.any(-1))[0]
        raise IndexError(f"A support holds distinct columns; got {given[tuple(where)].tolist()}.")
    own = given.shape[:-2]
    if own != lead[len(lead) - len(own) :]:
        raise ValueError(
            f"supports have the axes {lead} (or their last ones) before (m, k); got {given.shape}."
        )
    return np.broadcast_to(given, (*lead, *given.shape[-2:]))


def _one_by_one(
    x: np.ndarray, y: np.ndarray, supports: np.ndarray, options: Any, max_iter: int
) -> dict[str, np.ndarray]:
    found = {name: [] for name in ("weights", "bias", "value", "converged", "iterations")}
    for support in supports:
        kept = support >= 0
        probe = fit(x, y, np.sort(support[kept]), "hinge", max_iter=max_iter, **options)
        weights = np.zeros(len(support))
        weights[np.flatnonzero(kept)[np.argsort(support[kept])]] = probe.weights
        found["weights"].append(weights)
        for name in ("bias", "value", "converged", "iterations"):
            found[name].append(getattr(probe, name))
    return {name: np.array(values) for name, values in found.items()}


@cache
def _compiled(loss: str, intercept: bool) -> Callable[..., dict[str, Any]]:
    """The program for columns `(n, m k)`, of which `real (m, k)` says which are there."""
    solve = {"logistic": _logistic, "squared": _squared}[loss]

    def block(x: Any, real: Any, y: Any, omega: Any, ridge: Any, most: Any) -> dict[str, Any]:
        n = x.shape[0]
        z = jnp.where(real[..., None], x.T.reshape(*real.shape, n), 0)
        middle = jnp.mean(z, -1) if intercept else jnp.zeros(real.shape, z.dtype)
        centred = z - middle[..., None]
        spread = jnp.sqrt(jnp.mean(centred**2, -1))
        moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
        safe = jnp.where(moves, spread, 1)
        # Scaled columns keep the systems well conditioned in float32; the ridge is scaled alike.
        scaled = jnp.where(moves[..., None], centred / safe[..., None], 0)
        design = jnp.concatenate([scaled, jnp.ones((len(z), 1, n), z.dtype)], 1)
        penalty = jnp.pad(ridge / safe**2, ((0, 0), (0, 1)))
        one = lambda given: solve(given[0], given[1], y, omega, most, intercept)
        accelerated = jax.default_backend() != "cpu"
        theta, value, converged, turns = jax.lax.map(
            one, (design, penalty), batch_size=len(z) if accelerated else None
        )
        weights = jnp.where(moves, theta[:, :-1] / safe, 0)
        bias = theta[:, -1] - jnp.sum(weights * middle, -1)
        found = {"weights": weights, "bias": bias, "value": value, "converged": converged}
        size = jnp.sum(jnp.abs(middle) + spread, -1)  # finite where the columns are
        return {**found, "iterations": turns, "size": size}

    return jax.jit(block)


def _system(curve: Any, design: Any, penalty: Any, intercept: bool) -> Any:
    h = jnp.matmul(design * curve[None], design.T, precision="highest")
    diagonal = jnp.diagonal(h) * 1e-6 + 1e-12 + penalty
    if not intercept:
        # The bias stays where it is: its row is that of a one alone.
        keep = jnp.arange(len(h)) < len(h) - 1
        h = jnp.where(keep[:, None] & keep[None], h, 0)
        diagonal = diagonal + jnp.where(keep, 0, np.float32(1))
    return jax.scipy.linalg.cho_factor(h + jnp.diag(diagonal))


def _logistic(
    design: Any, penalty: Any, y: Any, omega: Any, most: Any, intercept: bool
) -> tuple[Any, Any, Any, Any]:
    """Newton from zero, steps judged as for single neurons."""
    free = jnp.ones_like(penalty).at[-1].set(1 if intercept else 0)

    def step(state: Any) -> Any:
        theta, move, push, low, high, size, _, turns = state
        new = theta - size * move
        t = -y * jnp.matmul(new, design, precision="highest")
        e = jnp.exp(-jnp.abs(t))
        r = 1 / (1 + e)
        mass = omega * jnp.where(t > 0, r, e * r)
        grad = free * jnp.matmul(design, -y * mass, precision="highest") + penalty * new
        ahead = -jnp.vdot(grad, move, precision="highest")
        good, low, high, size = judge(push, ahead, size, low, high)
        factor = _system(omega * e * r * r, design, penalty, intercept)
        next_move = jax.scipy.linalg.cho_solve(factor, grad)
        decrement = jnp.vdot(grad, next_move, precision="highest")
        least = jnp.sum(mass) + jnp.sum(penalty * new**2) / 2
        keep = lambda new, old: jnp.where(good, new, old)
        return (
            keep(new, theta),
            keep(next_move, move),
            keep(decrement, push),
            low,
            high,
            size,
            ~(good & (decrement <= 1e-8 * least)),
            turns + 1,
        )

    zero = jnp.zeros_like(penalty)
    real = jnp.float32
    start = (zero, zero, real(0), real(0), real(2), real(1), jnp.bool_(True), jnp.int32(0))
    state = jax.lax.while_loop(lambda s: s[6] & (s[7] < most), step, start)
    theta, move, going, turns = *state[:2], *state[6:]
    theta = theta - jnp.where(going, 0, move)
    m = jnp.matmul(theta, design, precision="highest")
    loss = jnp.maximum(-y * m, 0) + log1p(jnp.exp(-jnp.abs(m)))
    value = jnp.vdot(omega, loss, precision="highest") + jnp.sum(penalty * theta**2) / 2
    return theta, value, ~going, turns


def _squared(
    design: Any, penalty: Any, y: Any, omega: Any, most: Any, intercept: bool
) -> tuple[Any, Any, Any, Any]:
    """Ridge regression, and one step of refinement by its own residual."""
    factor = _system(omega, design, penalty, intercept)
    free = jnp.ones_like(penalty).at[-1].set(1 if intercept else 0)
    theta = jnp.zeros_like(penalty)
    decrement = jnp.float32(0)
    for _ in range(3):
        error = y - jnp.matmul(theta, design, precision="highest")
        grad = free * jnp.matmul(design, error, precision="highest") - penalty * theta
        move = jax.scipy.linalg.cho_solve(factor, grad)
        decrement = jnp.vdot(grad, move, precision="highest")
        theta = theta + move
    error = y - jnp.matmul(theta, design, precision="highest")
    total = jnp.vdot(error, error, precision="highest") + jnp.sum(penalty * theta**2)
    scale = jnp.vdot(y, y, precision="highest")
    return theta, total / (2 * len(y)), decrement <= 1e-8 * scale, jnp.int32(3)
