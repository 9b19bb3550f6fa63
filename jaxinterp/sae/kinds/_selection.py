"""The rules by which other libraries choose features of a row, and their checks."""

import jax
import jax.numpy as jnp

from ...typing import JaxArray
from ._checks import check_sizes
from ._kept import keep_largest

RULES = ("topk", "abstopk", "groupmax")


def select(pre: JaxArray, k: int, rule: str) -> JaxArray:
    r"""Keeps k entries of each row of pre-activations `(..., features)`; the rest is 0.

    - `"topk"`: the largest, those above 0;
    - `"abstopk"`: the largest by magnitude, with their signs;
    - `"groupmax"`: the largest of each of k groups of neighbours, those above 0.
    """
    if rule == "abstopk":
        size = keep_largest(jnp.abs(pre), k)
        return jnp.where(size > 0, pre, 0)
    pre = jax.nn.relu(pre)
    if rule == "topk":
        return keep_largest(pre, k)
    groups = pre.reshape(*pre.shape[:-1], k, -1)
    first = jnp.argmax(groups, -1, keepdims=True) == jnp.arange(groups.shape[-1], dtype=jnp.int32).reshape(
        (1,) * (groups.ndim - 1) + (-1,)
    )
    return jnp.where(first, groups, 0).reshape(pre.shape)


def check_rule(name: str, features: int, k: int, rule: str) -> None:
    """The rule is known, and k is possible with it."""
    check_sizes(name, k=k)
    if rule not in RULES:
        raise ValueError(f"{name}: rule is one of {', '.join(map(repr, RULES))}; got {rule!r}.")
    if k > features or (rule == "groupmax" and features % k):
        raise ValueError(
            f"{name}: k={k} of {features} features; k is at most features, and groupmax needs a k "
            "that divides them."
        )
