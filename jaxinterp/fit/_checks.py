"""What a training is given, checked before anything runs: an optimizer, parameters, what a loss returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import kind_of
from ..typing import PyTree

OF_THE_HISTORY = ("loss", "evaluated", "step")
"Names that the history gives to numbers of its own."


def check_optimizer(optimizer: Any) -> None:
    """An object with the functions `init` and `update`, as optax makes. Raises ValueError."""
    if callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None)):
        return
    if callable(optimizer):
        name = getattr(optimizer, "__name__", "adam")
        raise ValueError(f"An optimizer is made by a call: optax.{name}(1e-3); got the function itself.")
    raise ValueError(f"An optimizer is one of optax, such as optax.adam(1e-3); got {kind_of(optimizer)}.")


def check_trained(trained: PyTree) -> None:
    """Parameters of which at least one array is trained. Raises ValueError."""
    if not jax.tree.leaves(trained):
        raise ValueError(
            "params has no array that is trained. By default arrays of floats are, such as jnp.zeros(4); "
            "numbers of Python and arrays of ints are not. For a number write jnp.asarray(0.0)."
        )


def check_alike(trees: Sequence[PyTree], what: str) -> None:
    """Trees of one structure, with arrays of the same shapes. Raises ValueError."""
    form = lambda tree: (jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)])
    first = form(trees[0])
    for i, tree in enumerate(trees):
        if form(tree) != first:
            raise ValueError(
                f"{what} is a list of trees of the same structure and shapes; that of member {i} differs "
                f"from that of member 0: {_short(form(tree))} and {_short(first)}."
            )


def check_params_list(params: Any) -> None:
    """A list with a tree for each member. Raises ValueError."""
    if not isinstance(params, list | tuple):
        raise ValueError(
            f"params is a list with a tree for each member, such as [start] * 3; got {kind_of(params)}."
        )


def as_keys(keys: Any, members: int, call: str) -> Any:
    """Keys `(member,)` from such an array or from a list of keys. Raises ValueError."""
    if isinstance(keys, list | tuple) and keys and all(isinstance(key, jax.Array) for key in keys):
        keys = jnp.stack(list(keys))
    if not isinstance(keys, jax.Array | np.ndarray) or not np.ndim(keys):
        raise ValueError(f"keys are one jax.random.key for each of the {members} members: {call}.")
    return keys


def loss_numbers(found: Any) -> tuple[Array, dict[str, Any]]:
    """A loss `()` and more numbers by name, from what a loss returns. Raises ValueError for all else."""
    pair = isinstance(found, tuple | list) and len(found) == 2
    if not pair or not isinstance(found[1], Mapping):
        raise ValueError(
            "loss returns a number and a dict of more numbers for the history: return value, {}. This one "
            f"returns {kind_of(found) if not pair else f'{kind_of(found[1])} in the place of the dict'}."
        )
    value, numbers = jnp.asarray(found[0]), dict(found[1])
    if value.shape:
        raise ValueError(
            f"loss returns one number, of the shape (), and not {value.shape}: return value.mean(), {{}}."
        )
    check_names(numbers)
    return value, numbers


def check_names(numbers: Mapping[str, Any]) -> None:
    """Names that the history does not use itself. Raises ValueError."""
    if taken := [name for name in OF_THE_HISTORY if name in numbers]:
        raise ValueError(
            f"loss names a number {taken[0]!r}, as the history names one of its own. Give it another name."
        )


def evaluated(found: Any) -> dict[str, Any]:
    """The numbers by name that `evaluate` returned. Raises ValueError for all else."""
    if not isinstance(found, Mapping) and not callable(getattr(found, "keys", None)):
        raise ValueError(
            'evaluate returns numbers by name, such as {"distance": 0.3}, which go to the history; got '
            f"{kind_of(found)}."
        )
    return dict(found)


def check_batch_axes(batches: PyTree) -> None:
    """Arrays `(T, ...)` of the same T, the batches of T steps. Raises ValueError."""
    leaves = jax.tree.leaves(batches)
    shapes = [np.shape(leaf) for leaf in leaves]
    arrays = all(eqx.is_array_like(leaf) for leaf in leaves)
    if not leaves or not arrays or not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        given = f"arrays of the shapes {_short(shapes)}" if arrays else kind_of(batches)
        raise ValueError(
            "batches is a tree of arrays (T, ...) with the same T on the first axis, one entry for each of "
            f"T steps; got {given}. For batches by number: ji.fit.train."
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def check_finite(numbers: list[dict[str, np.ndarray]], start: int, *, many: bool) -> None:
    """Raises ValueError where the loss is not finite; of many members, where it is so for all of them."""
    if many:
        losses = [each["loss"] for each in numbers if "loss" in each]
        if losses and not any(np.isfinite(loss).all(0).any() for loss in losses):
            raise ValueError(
                f"No member's loss is finite between steps {start} and {start + len(losses[0])}. Either the "
                "data hold NaN or infinity (check np.isfinite(batch).all()), or all learning rates are too high."
            )
        return
    loss = numbers[0].get("loss")
    bad = [] if loss is None else np.flatnonzero(~np.isfinite(loss).reshape(len(loss), -1).all(1))
    if len(bad):
        raise ValueError(
            f"The loss is not finite at step {start + int(bad[0])}. Either the data hold NaN or infinity "
            "(check np.isfinite(batch).all()), or the learning rate is too high: give "
            "optimizer=optax.adam(1e-4)."
        )
