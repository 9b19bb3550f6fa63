r"""Dictionaries of other libraries that choose features in their own ways: read, used, not trained here."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._dictionary import Losses, Moment, check_sizes
from ._topk import _top
from ._transcoder import Transcoder
from ._untrained import Untrained, untrained

RULES = ("topk", "abstopk", "groupmax")


def select(pre: Any, k: int, rule: str) -> Any:
    r"""Of each row of pre-activations `(..., features)` k entries, the rest 0.

    `"topk"`: the largest, those above 0. `"abstopk"`: the largest by magnitude, with their signs.
    `"groupmax"`: the largest of each of k groups of neighbours, those above 0.
    """
    if rule == "abstopk":
        kept = _top(jnp.abs(pre), k)
        return jnp.where(kept > 0, pre, 0)
    pre = jax.nn.relu(pre)
    if rule == "topk":
        return _top(pre, k)
    groups = pre.reshape(*pre.shape[:-1], k, -1)
    first = jnp.argmax(groups, -1, keepdims=True) == jnp.arange(groups.shape[-1], dtype=jnp.int32).reshape(
        (1,) * (groups.ndim - 1) + (-1,)
    )
    return jnp.where(first, groups, 0).reshape(pre.shape)


def check_rule(name: str, features: int, k: int, rule: str) -> None:
    """The rule is known, and k fits it."""
    check_sizes(name, k=k)
    if rule not in RULES:
        raise ValueError(f"{name}: rule is one of {', '.join(map(repr, RULES))}; got {rule!r}.")
    if k > features or (rule == "groupmax" and features % k):
        raise ValueError(
            f"{name}: k={k} of {features} features; k is at most features, and groupmax needs a k "
            "that divides them."
        )


class Selected(Untrained):
    r"""$f = \mathrm{select}_k((x - b) W_e + b_e)$, $\hat x = f W_d + b$, by a `rule` other than TopK's.

    `"abstopk"`: the k largest by magnitude, with their signs, so that a feature has two directions
    (SAELens; https://arxiv.org/abs/2510.00404). `"groupmax"`: one of each of k groups (sparsify).

    Arguments: `d`, `features`, `k`, `rule`; `centred`.

    ```python
    sae = ji.sae.load("folder")  # of architecture "abstopk"
    sae.encode(x)  # k entries of a row are not zero, some of them below 0
    ```

    Law: features and reconstructions are those of the library that wrote it, to 1e-6.
    """

    k: int = eqx.field(static=True)
    rule: str = eqx.field(static=True)

    def __init__(self, *, d: int, features: int, k: int, rule: str, centred: bool = True) -> None:
        super().__init__(d, features, centred=centred)
        check_rule("Selected", features, k, rule)
        self.k, self.rule = k, rule

    def activate(self, pre: Any) -> Any:
        """The entries that the rule chooses."""
        return select(pre, self.k, self.rule)


class SelectedTranscoder(Transcoder):
    r"""$\hat y = \mathrm{select}_k((x - b_{in}) W_e + b_e) W_d + b\; (+\, x W_s)$: `Transcoder` by a `rule`.

    As sparsify trains transcoders (`rule="topk"` or `"groupmax"`), with `skip` or without.

    Arguments: `d`, `d_out`, `features`, `k`, `rule`, `skip`; `centred`.

    ```python
    sae = ji.sae.load("layers.2.mlp")
    sae(inputs)  # what the MLP would write
    ```

    Law: features and outputs are those of the library that wrote it, to 1e-6.
    """

    k: int = eqx.field(static=True)
    rule: str = eqx.field(static=True)

    def __init__(
        self,
        *,
        d: int,
        features: int,
        k: int,
        rule: str = "topk",
        d_out: int | None = None,
        skip: bool = False,
        centred: bool = False,
    ) -> None:
        super().__init__(d=d, features=features, d_out=d_out, skip=skip, centred=centred)
        check_rule("SelectedTranscoder", features, k, rule)
        self.k, self.rule = k, rule

    def activate(self, pre: Any) -> Any:
        """The entries that the rule chooses."""
        return select(pre, self.k, self.rule)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        raise untrained(self)
