r"""One step: the gradient of a task, the update of its optimizer, and what the task does after it."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ..mesh._gather import on_mesh
from ..typing import OptimizerLike, PyTree
from ._state import Now, State, as_number, moved_average


class Slope(NamedTuple):
    """What a task computes from a batch.

    - `gradient`: a tree like the trained parameters.
    - `aux`: what the task reads after the update.
    - `value`: the loss `()`, and `value_of`, the loss as a function of the trained parameters, for
      optimizers with a line search. None where the task has neither.
    """

    gradient: PyTree
    aux: Any
    value: Float[Array, ""] | None = None
    value_of: Callable[[PyTree], Array] | None = None


class Task(eqx.Module):
    """What one training minimises. Arrays are leaves; a field that is no array decides the program.

    A subclass has `optimizer` and writes `slope`. It writes `after` where a step does more than the
    update: counts, thresholds, numbers for the history.
    """

    optimizer: eqx.AbstractVar[Any]

    def is_trained(self, params: PyTree) -> PyTree:
        """Which leaves are trained, as a tree of bools: by default all floats."""
        return jax.tree.map(eqx.is_inexact_array, params)

    @abc.abstractmethod
    def slope(self, params: PyTree, fixed: PyTree, batch: PyTree, now: Now) -> Slope:
        """The gradient at `params`, the trained leaves; `fixed` has the others."""

    def moved(
        self, params: PyTree, fixed: PyTree, optimizer_state: PyTree, batch: PyTree, now: Now
    ) -> tuple[PyTree, PyTree, Any]:
        """The trained leaves after the update, the state of the optimizer, and the `aux` of `slope`."""
        slope = self.slope(params, fixed, batch, now)
        updates, optimizer_state = apply_optimizer(
            self.optimizer, slope.gradient, optimizer_state, params, slope.value, slope.value_of
        )
        return eqx.apply_updates(params, updates), optimizer_state, slope.aux

    def after(
        self, params: PyTree, extra: PyTree, aux: Any, now: Now
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """All parameters after the update, `extra`, and the numbers of this step by name."""
        return params, extra, dict(aux)

    def placed(self, tree: PyTree) -> PyTree:
        """The state and the numbers of a step where they belong on a mesh. By default unchanged."""
        return tree


def step(
    task: Task, state: State, batch: PyTree, decay: Float[Array, ""] | None = None
) -> tuple[State, dict[str, Array]]:
    r"""$\theta_{t+1} = \theta_t + \mathrm{opt}(\nabla L(\theta_t; x_t))$, and all else that one step does.

    - `decay`: `()`, of the average of the parameters where the state has one.

    A pure function: it may be called under `jit`, `vmap` and `scan`. Returns the state after the step
    and its numbers in float32.
    """
    state = task.placed(state)  # else the compiler may lay what it carries from step to step as it likes
    is_trained = task.is_trained(state.params)
    params, fixed = eqx.partition(state.params, is_trained)
    now = Now(state.step, state.extra)
    new, optimizer_state, aux = task.moved(params, fixed, state.optimizer_state, batch, now)
    new, extra, numbers = task.after(eqx.combine(new, fixed), state.extra, aux, now)
    average = state.average
    if average is not None:
        assert decay is not None
        average = moved_average(average, eqx.filter(new, is_trained), state.step, decay)
    state = State(new, optimizer_state, state.step + 1, extra, average)
    return task.placed((state, jax.tree.map(as_number, numbers)))


def apply_optimizer(
    optimizer: OptimizerLike,
    gradient: PyTree,
    optimizer_state: PyTree,
    params: PyTree,
    value: Float[Array, ""] | None = None,
    value_of: Callable[[PyTree], Array] | None = None,
) -> tuple[PyTree, PyTree]:
    """The updates of an optimizer of optax and its new state: the one place that calls an optimizer.

    `value` and `value_of` go to optimizers that take them, such as `optax.lbfgs`.
    """
    more = {} if value_of is None else {"value": value, "grad": gradient, "value_fn": value_of}
    # Optax counts steps in ints and multiplies them with floats.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        takes_more = isinstance(optimizer, optax.GradientTransformationExtraArgs) and more
        try:
            return optimizer.update(gradient, optimizer_state, params, **(more if takes_more else {}))
        except TypeError as error:
            if value_of is None and "value" in str(error):
                raise ValueError(
                    "This optimizer reads the value of the loss, as a line search does. ji.fit.train and "
                    "ji.fit.descend have it for an optimizer; sweeps and the trainings of dictionaries, "
                    "lenses and probes do not. Give another, such as optax.adam(1e-3)."
                ) from error
            raise


def scan(
    task: Task, state: State, batches: PyTree, decay: Float[Array, ""] | None = None
) -> tuple[State, dict[str, Array]]:
    """As many steps as `batches` has entries on its first axis; the numbers of all, `(step, ...)`."""
    return jax.lax.scan(lambda state, batch: step(task, state, batch, decay), state, batches)


@on_mesh
@eqx.filter_jit(donate="all-except-first")
def run_steps(fixed: tuple[Any, ...], states: list[State], data: PyTree) -> tuple[list[State], list[Any]]:
    """As many steps of all tasks as `data` has entries: one dispatch.

    `fixed` is (read, tasks, decay): `read` makes the batch of all tasks from one entry of the data, so
    that tasks on the same batch share it. The buffers of the states and the data are used up.
    """
    read, tasks, decay = fixed

    def one(states: list[State], entry: Any) -> Any:
        batch = read(entry)
        done = [step(task, state, batch, decay) for task, state in zip(tasks, states, strict=True)]
        return [state for state, _ in done], [numbers for _, numbers in done]

    return jax.lax.scan(one, states, data)


class Whole(eqx.Module):
    """The data of a step as they are."""

    def __call__(self, entry: PyTree) -> PyTree:
        return entry


class Gathered(eqx.Module):
    """Rows of arrays that stay on the device, by their numbers."""

    arrays: PyTree

    def __call__(self, rows: Array) -> PyTree:
        return jax.tree.map(lambda array: jnp.asarray(array)[rows], self.arrays)
