"""Training inside a compiled program: steps on given batches, and epochs with early stopping."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..core._check import check_key
from ..typing import KeyLike, OptimizerLike, PyTree
from ._checks import check_batch_axes
from ._state import State, initial_state
from ._step import scan
from ._task import After, Loss, loss_task


def descend(
    params: PyTree,
    batches: PyTree,
    loss: Loss,
    optimizer: OptimizerLike,
    *,
    key: KeyLike | None = None,
    extra: PyTree = None,
    after: After | None = None,
) -> tuple[State, dict[str, Array]]:
    r"""$\theta_{t+1} = \theta_t + \mathrm{opt}(\nabla L(\theta_t; x_t))$ for $t = 1 \dots T$, as a pure function.

    It may stand under `jit`, `vmap` and `grad`. For training that reports and saves see `train`.

    **Arguments:**

    - `params`: a tree. Its floats are trained.
    - `batches`: a tree of arrays `(T, ...)`, whose entries are the batches of the steps; row numbers
      `(T, rows)` of arrays that `loss` knows will do.
    - `loss`: a function `(params, batch, now)` to a number and a dict of more numbers, see `train`.
    - `optimizer`: any of optax.
    - `key`: a `jax.random.key`, from which `now.key` of each step is folded; None: no randomness.
    - `extra`: a tree of arrays that is carried beside the parameters.
    - `after`: a function `(params, extra, now)` to new ones, called after each update.

    **Returns:** the state, with `.params` and `.extra`, and the numbers `(T,)` by name, `"loss"` first.

    ```python
    line = lambda w, batch, now: (((batch[0] @ w - batch[1]) ** 2).mean(), {})
    state, numbers = ji.fit.descend(jnp.zeros(3), (xs, ys), line, optax.adam(0.1))
    state.params, numbers["loss"]
    ```

    **Raises:** ValueError for an int in place of a key, and for batches of unequal first axes.

    Law: equal to `train` on the same batches.
    """
    if key is not None:
        check_key(key, "ji.fit.descend(params, batches, loss, optimizer, key={})")
    check_batch_axes(batches)
    task, arrays = loss_task(params, loss, optimizer, follow=after, key=key)
    state = initial_state(arrays, optimizer, task.which, extra=extra)
    state, numbers = scan(task, state, batches)
    return eqx.tree_at(lambda s: s.params, state, eqx.combine(state.params, task.static)), numbers


class Plateau(NamedTuple):
    """When `early_stopping` ends. An epoch has gain if it lowers the loss of the last epoch with gain by `min_gain`.

    - `epochs`: the largest number of epochs.
    - `patience`: this many epochs without gain in a row end the training.
    - `min_gain`: the smallest gain that counts, in units of the loss.
    - `factor`: each epoch without gain multiplies the later updates by this number; 1 leaves them as they are.

    ```python
    rule = ji.fit.Plateau(epochs=100, patience=5, min_gain=1e-4, factor=0.5)
    ```
    """

    epochs: int
    patience: int
    min_gain: Float[Array, ""] | float = 0.0
    factor: Float[Array, ""] | float = 1.0


class EarlyStopped(NamedTuple):
    """The result of `ji.fit.early_stopping`.

    - `params`: the parameters after the epoch with the lowest loss on the other data.
    - `epochs`, `steps`, `best_epoch`: `()` int32; the first epoch is 1.
    - `stopped`: `()`, whether the training ended because its patience was used up.
    - `loss`, `dev_loss`: `(epochs,)`, the losses of each epoch, NaN after the last.

    ```python
    optimizer = ji.fit.rated(optax.sgd(0.1))

    def epoch(state, number):
        value, slope = jax.value_and_grad(lambda w: ((x @ w - y) ** 2).mean())(state.params)
        change, inner = optimizer.update(slope, state.optimizer_state)
        return ji.fit.State(state.params + change, inner, state.step + 1), value

    start = ji.fit.State(jnp.zeros(3), optimizer.init(jnp.zeros(3)), jnp.int32(0))
    found = ji.fit.early_stopping(start, epoch, lambda w: ((xs @ w - ys) ** 2).mean(), ji.fit.Plateau(50, patience=3))
    found.stopped, found.best_epoch, found.dev_loss[: int(found.epochs)]
    ```
    """

    params: PyTree
    epochs: Int[Array, ""]
    steps: Int[Array, ""]
    best_epoch: Int[Array, ""]
    stopped: Bool[Array, ""]
    loss: Float[Array, " epoch"]
    dev_loss: Float[Array, " epoch"]


def early_stopping(
    state: State,
    epoch: Callable[[State, Array], tuple[State, Array]],
    dev_loss: Callable[[PyTree], Array],
    rule: Plateau,
) -> EarlyStopped:
    """Trains until the loss on other data stops falling, and returns the parameters of the best epoch.

    **Arguments:**

    - `state`: the state before the first step. Its optimizer is made by `ji.fit.rated`, whose factor the rule changes.
    - `epoch`: a function of the state and the number of the epoch (from 0) to the state after the epoch and
      its mean loss `()`.
    - `dev_loss`: a function of the parameters to a loss `()` on other data.
    - `rule`: when the training ends, a `Plateau`.

    **Returns:** an `EarlyStopped`. The function is pure, for use under `jit` and `vmap`: under `vmap` each problem
    stops at its own epoch.

    ```python
    optimizer = ji.fit.rated(optax.sgd(0.1))

    def epoch(state, number):
        value, slope = jax.value_and_grad(lambda w: ((x @ w - y) ** 2).mean())(state.params)
        change, inner = optimizer.update(slope, state.optimizer_state)
        return ji.fit.State(state.params + change, inner, state.step + 1), value

    start = ji.fit.State(jnp.zeros(3), optimizer.init(jnp.zeros(3)), jnp.int32(0))
    rule = ji.fit.Plateau(epochs=50, patience=3, min_gain=1e-4)
    found = ji.fit.early_stopping(start, epoch, lambda w: ((xs @ w - ys) ** 2).mean(), rule)
    found.params, found.best_epoch
    ```
    """
    empty = jnp.full((rule.epochs,), jnp.nan, jnp.float32)
    far, zero = jnp.full((), jnp.inf, jnp.float32), jnp.int32(0)

    def one(carry: dict[str, Any]) -> dict[str, Any]:
        at = carry["epoch"]
        state, mean = epoch(carry["state"], at)
        loss = dev_loss(state.params)
        better = loss < carry["lowest"]
        gained = loss < carry["mark"] - rule.min_gain
        inner, size = state.optimizer_state
        size = jnp.where(gained, size, size * rule.factor)
        return {
            "state": eqx.tree_at(lambda s: s.optimizer_state, state, (inner, size)),
            "epoch": at + 1,
            "lowest": jnp.where(better, loss, carry["lowest"]),
            "mark": jnp.where(gained, loss, carry["mark"]),
            "without": jnp.where(gained, 0, carry["without"] + 1),
            "best": jax.tree.map(lambda a, b: jnp.where(better, a, b), state.params, carry["best"]),
            "best_epoch": jnp.where(better, at + 1, carry["best_epoch"]),
            "loss": carry["loss"].at[at].set(mean),
            "dev": carry["dev"].at[at].set(loss),
        }

    start = {"state": state, "epoch": zero, "lowest": far, "mark": far, "without": zero, "best": state.params}
    end = lax.while_loop(
        lambda c: (c["epoch"] < rule.epochs) & (c["without"] < rule.patience),
        one,
        {**start, "best_epoch": zero, "loss": empty, "dev": empty},
    )
    return EarlyStopped(
        end["best"],
        end["epoch"],
        end["state"].step,
        end["best_epoch"],
        end["without"] >= rule.patience,
        end["loss"],
        end["dev"],
    )
