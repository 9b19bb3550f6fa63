"""What training asks of a kind of dictionary, in one place."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...typing import ArrayLike, KeyLike, OptimizerLike, PyTree
from ..kinds._dictionary import Dictionary, Losses, Moment, filled, unit
from ._constraint import unit_rows


def initialised(kind: Any, key: KeyLike, x: ArrayLike, y: ArrayLike) -> Any:
    """The dictionary that training begins with: the kind's own first weights, or those it has."""
    if not isinstance(kind.encoder, jax.ShapeDtypeStruct):
        return kind
    return kind.initialise(key, jnp.asarray(x), jnp.asarray(y))


def trained(sae: Any) -> PyTree:
    """A tree of bools: which leaves training changes."""
    every = jax.tree.map(lambda _: True, sae)
    return filled(every, **dict.fromkeys((*type(sae).FIXED, "metric"), False))


def losses(sae: Any, x: Array, y: Array, moment: Moment) -> Losses:
    """The loss of a batch with its terms, features and new values of leaves that are not trained."""
    return sae.loss(x, y, moment)


def warm_up(sae: Any, step: Array, steps: int) -> Float[Array, ""]:
    """The part of the sparsity coefficient in force at a step."""
    return sae.warm(step.astype(jnp.float32), steps)


def steps_until_dead(kind: Any, rows: int) -> int:
    """How many steps of so many rows without firing make a feature dead."""
    return kind.dead_after(rows)


def renewal_steps(kind: Any) -> tuple[int, ...]:
    """The steps before which dead features are drawn anew."""
    return tuple(getattr(kind, "resample", ()))


def default_optimizer(kind: Any, steps: int) -> Any:
    """The published recipe."""
    return kind.optimizer(steps)


def constrained_optimizer(kind: Any, optimizer: OptimizerLike) -> Any:
    """The optimizer, which keeps decoder rows at norm 1 where the kind asks for it."""
    return unit_rows(optimizer) if kind.UNIT else optimizer


def constrained_average(sae: Any) -> Any:
    """An average of dictionaries, with decoder rows of norm 1 where the kind asks for them."""
    return filled(sae, decoder=unit(sae.decoder)) if sae.UNIT else sae


def check_kind(kind: Any) -> None:
    """Raises ValueError for what is no kind of dictionary with its settings."""
    if not isinstance(kind, Dictionary):
        name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
        raise ValueError(
            "train takes a kind of dictionary with its settings, as ji.sae.TopK(d=512, "
            f"features=4096, k=32); got {name}."
        )
