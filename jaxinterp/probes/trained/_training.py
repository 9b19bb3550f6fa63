"""Probes trained by an optimiser with early stopping: every layer and seed in one program."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._problem_axes import map_problems, one_hot


@functools.cache
def default_optimizer() -> Any:
    """Adam at 1e-3, one object: an optimiser made anew would be a program made anew."""
    import optax

    return optax.adam(1e-3)


def check_key(key: Any) -> None:
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(
            f"Randomness comes from key=jax.random.key(0), or several: jax.random.split(key, 5); got "
            f"{type(key).__name__}."
        )


def check_schedule(batch: Any, epochs: Any, patience: Any, dev: Any, dropout: Any) -> None:
    if min(batch, epochs, patience) < 1:
        raise ValueError(f"batch, epochs and patience are 1 or more; got {batch}, {epochs}, {patience}.")
    if not isinstance(dev, tuple) and not 0 < dev < 1:
        raise ValueError(f"dev is a share of the examples, as 0.1, or (x, y) of others; got {dev}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a share of hidden units from 0 to below 1; got {dropout}.")


@eqx.filter_jit
def train(
    x: Any,
    y: Any,
    counts: Any,
    dev: Any,
    key: Any,
    rule: tuple[Any, Any],
    *,
    init: Callable[..., Any],
    forward: Callable[..., Any],
    optimizer: Any,
    classes: int | None,
    batch: int,
    epochs: int,
    patience: int,
    share: float,
    dropout: float,
    standardise: bool,
) -> dict[str, Any]:
    """Trains `forward(params, x, key)` for the broadcast axes of x `(..., n, d)`, y, counts, key.

    `classes` None: y `(..., n, t)` are targets. `dev`: `(x, y)` of the same axes, or None: a share of
    the examples. `rule`: the least gain, and the factor of the step on a plateau.
    """
    core = 1 if classes is not None else 2

    def one(x: Any, y: Any, counts: Any, dev_x: Any, dev_y: Any, key: Any) -> dict[str, Any]:
        given = None if dev_x is None else (dev_x, dev_y)
        return _train(
            x,
            y,
            counts,
            given,
            key,
            rule,
            init,
            forward,
            optimizer,
            classes,
            batch,
            epochs,
            patience,
            share,
            dropout,
            standardise,
        )

    dev_x, dev_y = (None, None) if dev is None else dev
    with jax.default_matmul_precision("highest"):
        return map_problems(one, (x, y, counts, dev_x, dev_y, key), (2, core, 1, 2, core, 0))


def _train(
    x: Any,
    y: Any,
    counts: Any,
    dev: Any,
    key: Any,
    rule: Any,
    init: Any,
    forward: Any,
    optimizer: Any,
    classes: int | None,
    batch: int,
    epochs: int,
    patience: int,
    share: float,
    dropout: float,
    standardise: bool,
) -> dict[str, Any]:
    n = len(x)
    batch = min(batch, n)
    key_init, key_dev, key_run = jax.random.split(key, 3)
    real = counts > 0
    total = real.astype(jnp.int32).sum()
    # The examples that count come first, in random order; of these the first are the dev split.
    order = _shuffled(key_dev, real)
    if dev is None:
        held = jnp.clip(jnp.round(share * total.astype(x.dtype)).astype(jnp.int32), 1, total // 2)
        most = max(1, min(n, round(share * n) + 1))
        dev_x, dev_y = x[order[:most]], y[order[:most]]
        # One example alone is trained on and watched.
        watched = jnp.arange(most) < jnp.maximum(held, 1)
        dev_w = jnp.where(watched, counts[order[:most]], 0)
    else:
        dev_x, dev_y = dev
        held, dev_w = jnp.int32(0), jnp.ones(len(dev_x), x.dtype)
    rank = jnp.zeros(n, jnp.int32).at[order].set(jnp.arange(n, dtype=jnp.int32))
    own = (rank >= held) & real
    size = own.astype(jnp.int32).sum()
    weight = jnp.where(own, counts, 0)
    part = (weight / weight.sum())[:, None]
    if standardise:
        middle = (part * x).sum(0)
        spread = jnp.sqrt((part * (x - middle[None]) ** 2).sum(0))
        spread = jnp.where(spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30), spread, jnp.inf)
    else:
        middle, spread = jnp.zeros(x.shape[1], x.dtype), jnp.ones(x.shape[1], x.dtype)
    low, wide = jnp.zeros((1,), x.dtype), jnp.ones((1,), x.dtype)
    if classes is None:
        low = (part * y).sum(0)
        wide = jnp.sqrt((part * (y - low[None]) ** 2).sum(0))
        wide = jnp.where(wide > 0, wide, 1)

    def losses(params: Any, x: Any, y: Any, key: Any) -> Any:
        out = forward(params, (x - middle[None]) / spread[None], key, dropout)
        if classes is None:
            return ((out - (y - low[None]) / wide[None]) ** 2).mean(1)
        return -(jax.nn.log_softmax(out, axis=1) * one_hot(y, classes)).sum(1)

    def mean(each: Any, weight: Any) -> Any:
        return (each * weight).sum() / jnp.maximum(weight.sum(), 1e-30)

    least, decay = rule

    def epoch(state: dict[str, Any]) -> dict[str, Any]:
        key_order, key_steps = jax.random.split(jax.random.fold_in(key_run, state["epoch"]))
        rows = jnp.concatenate([_shuffled(key_order, own), jnp.zeros(batch, jnp.int32)])

        def step(i: Any, inner: Any) -> Any:
            params, memory, sum_ = inner
            some = lax.dynamic_slice_in_dim(rows, i * batch, batch)
            valid = i * batch + jnp.arange(batch) < size
            weights = jnp.where(valid, counts[some], 0)
            loss = lambda p: mean(losses(p, x[some], y[some], jax.random.fold_in(key_steps, i)), weights)
            value, grad = jax.value_and_grad(loss)(params)
            with jax.numpy_dtype_promotion("standard"):
                updates, memory = optimizer.update(grad, memory, params)
            params = jax.tree.map(lambda p, u: p + state["scale"] * u, params, updates)
            return params, memory, sum_ + value * weights.sum()

        steps = (size + batch - 1) // batch
        params, memory, sum_ = lax.fori_loop(
            0, steps, step, (state["params"], state["memory"], jnp.zeros((), x.dtype))
        )
        watched = mean(losses(params, dev_x, dev_y, None), dev_w)
        better = watched < state["lowest"]
        gained = watched < state["mark"] - least
        at = state["epoch"]
        return {
            "params": params,
            "memory": memory,
            "epoch": at + 1,
            "steps": state["steps"] + steps,
            "scale": jnp.where(gained, state["scale"], state["scale"] * decay),
            "lowest": jnp.where(better, watched, state["lowest"]),
            "mark": jnp.where(gained, watched, state["mark"]),
            "bad": jnp.where(gained, 0, state["bad"] + 1),
            "best": jax.tree.map(lambda a, b: jnp.where(better, a, b), params, state["best"]),
            "best_epoch": jnp.where(better, at + 1, state["best_epoch"]),
            "train": state["train"].at[at].set(sum_ / weight.sum()),
            "dev": state["dev"].at[at].set(watched),
        }

    params = init(key_init, x.shape[1], classes if classes is not None else y.shape[1])
    zero, far = jnp.int32(0), jnp.full((), jnp.inf, x.dtype)
    empty = jnp.full((epochs,), jnp.nan, x.dtype)
    end = lax.while_loop(
        lambda s: (s["epoch"] < epochs) & (s["bad"] < patience),
        epoch,
        {
            "params": params,
            "memory": optimizer.init(params),
            "epoch": zero,
            "steps": zero,
            "scale": jnp.ones((), x.dtype),
            "lowest": far,
            "mark": far,
            "bad": zero,
            "best": params,
            "best_epoch": zero,
            "train": empty,
            "dev": empty,
        },
    )
    names = {
        "epoch": "epochs",
        "steps": "steps",
        "best_epoch": "best_epoch",
        "train": "loss",
        "dev": "dev_loss",
    }
    found = {new: end[old] for old, new in names.items()}
    return {
        **found,
        "params": end["best"],
        "middle": middle,
        "spread": spread,
        "low": low,
        "wide": wide,
        "stopped": end["bad"] >= patience,
    }


def _shuffled(key: Any, first: Any) -> Any:
    """Indices in random order, those where `first` is True before the others."""
    ranks = jnp.where(first, 0.0, 2.0) + jax.random.uniform(key, first.shape, jnp.float32)
    return jnp.argsort(ranks).astype(jnp.int32)


def as_history(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """What every trained probe tells of its training, as arrays."""
    names = ("loss", "dev_loss", "epochs", "steps", "best_epoch", "stopped")
    return {name: np.asarray(found[name]) for name in names}
