"""The random-model baseline: the same architecture, with weights that learnt nothing."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..core._check import check_key
from ..core._intervene import Intervened
from ..typing import KeyLike, M
from ._leaves import wide

HOW = ("normal", "permute")
SHARED = 2**20  # numbers in a leaf of one layer, up to which leaves of one size are drawn together


def reinitialised(model: M, *, key: KeyLike, how: str = "normal", keep: Iterable[str] = ()) -> M:
    r"""$w'_\ell \sim \mathcal N(\bar w_\ell, \mathrm{std}(w_\ell))$, or $w_\ell$ in random order: every leaf of every layer.

    The result is a baseline: a probe of its activations finds what follows from the architecture, the scale of the
    weights and the tokens alone, without training. A leaf with equal entries, such as the gain of a norm that was not
    trained, stays as it is.

    **Arguments:**

    - `model`: of any family; edits of an intervened one stay as they are.
    - `key`: a `jax.random.key`.
    - `how`: `"normal"` draws each layer's leaf with its own mean and standard deviation; `"permute"`
      keeps its entries and changes their places, outliers included.
    - `keep`: paths of leaves that stay, as `"w_embed"` or `"blocks.attn"`.

    **Returns:** a new model of the same shapes and dtypes, whose config no longer names a source.

    **Raises:** ValueError for another `how`, or a path that the model lacks.

    ```python
    chance = ji.weights.reinitialised(model, key=jax.random.key(0))
    x = ji.data.activations(chance, tokens, "mlp_post", reduce="mean")
    ```

    Law: with "permute" the leaf of each layer has the same entries; with "normal" it has the same mean and deviation.
    """
    if how not in HOW:
        raise ValueError(f"how is 'normal' or 'permute'; got {how!r}.")
    if isinstance(model, Intervened):
        inside = reinitialised(model.model, key=key, how=how, keep=keep)
        return dataclasses.replace(model, model=inside)
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    paths = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(weights)
    ]
    for each in keep:
        if not any(_within(path, each) for path in paths):
            raise ValueError(f"keep names leaves of the model: {', '.join(paths)}; got {each!r}.")
    check_key(key, "ji.weights.reinitialised(model, key={})")
    drawn = _drawn(weights, key, how, tuple(any(_within(p, each) for each in keep) for p in paths))
    new = eqx.combine(drawn, rest)
    if getattr(getattr(new, "config", None), "source", None) is not None:
        config = dataclasses.replace(new.config, source=None)
        new = dataclasses.replace(new, config=config)
    return new


def _within(path: str, name: str) -> bool:
    return path == name or path.startswith(name + ".")


@eqx.filter_jit
def _drawn(weights: Any, key: KeyLike, how: str, kept: tuple[bool, ...]) -> Any:
    found, tree = jax.tree_util.tree_flatten_with_path(weights)
    draw = _normal if how == "normal" else _permuted
    new, small = [w for _, w in found], {}
    for number, ((path, w), stays) in enumerate(zip(found, kept, strict=True)):
        if stays:
            continue
        stacked = jax.tree_util.keystr(path, simple=True, separator=".").startswith("blocks.")
        layers = w if stacked else w[None]
        keys = jax.random.split(jax.random.fold_in(key, number), len(layers))
        size = layers[0].size
        if size > SHARED:
            new[number] = jax.vmap(draw)(keys, layers).reshape(w.shape)
        else:
            small.setdefault((size, w.dtype), []).append((number, keys, layers.reshape(-1, size)))
    # A draw takes a second to compile, whatever its size: leaves of one size share it.
    for members in small.values():
        numbers, keys, layers = zip(*members, strict=True)
        drawn = jax.vmap(draw)(jnp.concatenate(keys), jnp.concatenate(layers))
        parts = jnp.split(drawn, np.cumsum([len(each) for each in layers])[:-1])
        for number, part in zip(numbers, parts, strict=True):
            new[number] = part.reshape(new[number].shape)
    return jax.tree.unflatten(tree, new)


def _normal(key: KeyLike, w: Array) -> Array:
    full = wide(w)
    return (full.mean() + full.std() * jax.random.normal(key, w.shape, full.dtype)).astype(w.dtype)


def _permuted(key: KeyLike, w: Array) -> Array:
    return jax.random.permutation(key, w.reshape(-1)).reshape(w.shape)
