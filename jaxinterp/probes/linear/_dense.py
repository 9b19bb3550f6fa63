"""Dense probes of many classes, every layer and every set of labels in one program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...stats._examples import as_examples
from ...stats.solvers._low_rank import low_rank
from ...stats.solvers._softmax import minimise, preconditioner, reduced
from ...typing import ArrayLike, FloatLike
from .._problem_axes import (
    ClassScores,
    as_classes,
    as_rows,
    check_two_classes,
    example_counts,
    leading_axes,
    map_problems,
    one_hot,
)


class Dense(ClassScores, eqx.Module):
    """Softmax probes `(...,)`, made by `dense`.

    - `weights (..., d, c)`; `bias (..., c)`, -inf for a class that no example has.
    - `value` of the objective. `gap`: an upper bound of `(value - optimum) / value`, from the dual; NaN with
      a `rank`. `converged`: where the gap is within the tolerance. `iterations`.
    - `classes (c,)`: the label of each column.

    ```python
    probe = ji.probes.dense(x, y)
    probe.predict(x), probe.log_probs(x), probe.gap
    ```
    """

    weights: np.ndarray
    bias: np.ndarray
    value: np.ndarray
    gap: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray
    classes: np.ndarray

    def logits(self, x: ArrayLike) -> np.ndarray:
        """`x W + b`, `(..., m, c)` for x `(..., m, d)`; leading axes broadcast with the probes'."""
        x = as_rows(x, self.weights.shape[-2])
        return x @ self.weights + self.bias[..., None, :]


def dense(
    x: ArrayLike,
    y: ArrayLike,
    *,
    gamma: FloatLike = 1.0,
    balanced: bool = True,
    weights: ArrayLike | None = None,
    rank: int | None = None,
    classes: ArrayLike | None = None,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> Dense:
    r"""$\min_{W,b} \sum_i \omega_i \bigl(-\log \mathrm{softmax}(W^\top x_i + b)_{y_i}\bigr) + \frac{1}{2\gamma} \lVert W \rVert^2$ for every layer and labelling.

    It is solved by Newton's method with conjugate gradients in float32, all problems in one compiled program. Two
    classes are logistic regression, with the ridge on the difference of their columns: the same
    problem as `fit`. With a `rank`, $W = U V$, and L-BFGS optimises U and V, starting from the truncated W.

    **Arguments:**

    - `x (..., n, d)`; `y (..., n)`, labels of any kind, two classes or more. Leading axes broadcast
      and are never copied: x `(n, d)` with y `(labels, n)`, x `(layer, n, d)` with y `(n,)`, both
      with `x[:, None]`.
    - `gamma`: the inverse ridge, as in `fit`.
    - `balanced`: whether every class in y has the same total weight.
    - `weights (..., n)`: how much each example counts; 0 leaves an example out.
    - `rank`: the largest rank of W.
    - `classes`: all labels, where y may lack some.
    - `tol`: the relative duality gap that counts as converged; float32 reaches about 1e-5.

    **Returns:** `Dense`, with `.logits(x)`, `.log_probs(x)`, `.decision(x)`, `.predict(x)`.

    **Raises:** ValueError for one class only, shapes that do not fit, NaN and infinity.

    ```python
    probes = ji.probes.dense(x, y)                     # x (layer, n, d): a probe per layer
    (probes.predict(x) == y).mean(-1), probes.gap
    ```

    Laws: for two classes it equals `fit`, for more scikit-learn with C = gamma; many problems give the same as one by
    one; to permute classes permutes logits; a second call of the same shapes compiles nothing.
    """
    x = as_examples(x, layers=True).astype(np.float32)
    n, d = x.shape[-2:]
    which, kinds = as_classes(y, classes)
    check_two_classes(kinds, n)
    counts = example_counts(weights, (), n)
    leading_axes(x, which, 1, counts.shape[:-1])
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    most = min(d, len(kinds))
    if rank is not None and not 1 <= rank <= most:
        raise ValueError(f"W has {d} x {len(kinds)} weights, and a rank of 1..{most}; got {rank}.")
    ridge = np.float32((2 if len(kinds) == 2 else 1) / gamma)
    found = _dense(
        x,
        which,
        counts,
        ridge,
        np.float32(tol),
        len(kinds),
        np.bool_(balanced),
        rank,
        int(max_iter),
    )
    return Dense(**{name: np.asarray(a) for name, a in found.items()}, classes=kinds)


@eqx.filter_jit
def _dense(
    x: Any,
    y: Any,
    counts: Any,
    ridge: Any,
    tol: Any,
    classes: int,
    balanced: Any,
    rank: int | None,
    max_iter: int,
) -> dict[str, Any]:
    def one(z: Any, turned: Any, damped: Any, basis: Any, middle: Any, y: Any, omega: Any) -> Any:
        y = one_hot(y, classes)
        mass = (omega[:, None] * y).sum(0)
        present = (mass > 0).astype(mass.dtype)
        share = omega.sum() / present.sum() / jnp.where(mass > 0, mass, 1)
        omega = jnp.where(balanced, omega * (y * share[None]).sum(1), omega)
        found = minimise(z, turned, damped, y, omega, ridge, tol, max_iter)
        if rank is not None:
            found = low_rank(z, y, omega, ridge, tol, rank, 5 * max_iter, found)
        w = found["weights"] if basis is None else basis @ found["weights"]
        return {**found, "weights": w, "bias": found["bias"] - middle @ w}

    def gram(z: Any) -> Any:
        return z.T @ z

    def precondition(gram: Any, counts: Any) -> Any:
        return preconditioner(gram, counts, ridge, classes)

    with jax.default_matmul_precision("highest"):
        z, basis, middle = map_problems(reduced, (x,), (2,))
        damped = map_problems(precondition, (map_problems(gram, (z,), (2,)), counts), (2, 1))
        # Kept in both orders: on CPU the product with a transpose is ten times slower.
        turned = jax.lax.optimization_barrier(jnp.swapaxes(z, -1, -2))
        parts = (z, turned, damped, basis, middle, y, counts)
        return map_problems(one, parts, (2, 2, 2, 2, 1, 1, 1))
