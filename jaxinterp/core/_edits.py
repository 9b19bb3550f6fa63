r"""Edits: small pytrees that say what to change, and where. $x \mapsto x'$ at a site.

Every constructor takes the same selectors: `layer`, `pos`, `head`, `unit` (the last axis) and, at
attention sites, `query` and `key`. Each is an int, several ints, a mask or a traced value. Entries
that the selectors leave out stay as they were:

$$x'_i = \begin{cases} f(x)_i & i \in \text{selection} \\ x_i & \text{otherwise.} \end{cases}$$

- A layer given as Python ints costs nothing elsewhere. A layer given as a JAX array (or traced, or
  vmapped) is one select at every layer of the site, and one compiled program serves all its values.
- With `layer=None` a value broadcasts against the stacked shape `(layer, *batch, pos, ...)`, so
  `replace(site, acts[site])` changes nothing. With a layer it broadcasts against the site's own
  shape. Axes are matched from the last: `(n, d)` is one vector per position, whatever n is.
- Edits apply in the order of their list, before captures of the same site.
- Site, kind and Python layers are static; selectors and values are leaves. `jax.vmap` over an edit
  is therefore a sweep, and `jax.grad` through one is attribution.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_bool, as_floats, check_function, concrete
from ..typing import BoolLike, FunctionLike, IndexLike, PyTree, ValueLike
from ._arithmetic import Arithmetic
from ._edit import Edit
from ._mapped import Function, Mapped
from ._select import selection
from ._subspace import without_span


def _replace(x: Array, value: Array) -> Array:
    return value


def _add(x: Array, value: Array) -> Array:
    return x + value


def _scale(x: Array, factor: Array) -> Array:
    return x * factor


def _zero(x: Array, value: None) -> Array:
    return jnp.zeros_like(x)


def replace(site: str, value: ValueLike, **where: IndexLike | None) -> Edit:
    r"""$x \mapsto v$: replaces the activation of a site by a value.

    Activation patching, Vig et al. 2020 (https://arxiv.org/abs/2004.12265).

    **Arguments:**

    - `site`: the site to edit, such as `"z"` or `"resid_post[3]"`.
    - `value`: a number, or an array that broadcasts against the site.
    - `layer`, `pos`, `head`, `unit`, `query`, `key`: selectors, by default all entries.

    **Returns:** an `Edit`.

    ```python
    _, acts = ji.run(model, clean, capture=["z[1]"])
    patched, _ = ji.run(model, corrupt, edits=[ji.replace("z", acts["z[1]"], layer=1, head=3)])
    ```

    Law: `replace(site, acts[site])` of the same run changes nothing, exactly.
    """
    return _arithmetic(site, _replace, as_floats(value, "value"), where)


def add(site: str, value: ValueLike, **where: IndexLike | None) -> Edit:
    r"""$x \mapsto x + v$: adds a value, such as a steering direction `(d,)`.

    Activation addition, Turner et al. 2023 (https://arxiv.org/abs/2308.10248).

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `value`: a number, or an array that broadcasts against the site.

    **Returns:** an `Edit`.

    ```python
    steered = ji.intervene(model, [ji.add("resid_post", 4.0 * direction, layer=2)])
    ```

    Law: adding `u` and then `v` is adding `u + v`.
    """
    return _arithmetic(site, _add, as_floats(value, "value"), where)


def scale(site: str, factor: ValueLike, **where: IndexLike | None) -> Edit:
    r"""$x \mapsto c\,x$: multiplies by a factor.

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `factor`: a number, or an array that broadcasts against the site.

    **Returns:** an `Edit`.

    ```python
    quiet, _ = ji.run(model, tokens, edits=[ji.scale("mlp_out", 0.5, layer=0)])
    ```

    Law: a factor of 1 changes nothing, a factor of 0 is `zero`.
    """
    return _arithmetic(site, _scale, as_floats(factor, "factor"), where)


def zero(site: str, **where: IndexLike | None) -> Edit:
    r"""$x \mapsto 0$: zero ablation.

    **Arguments:** `site` and selectors, as in `ji.replace`.

    **Returns:** an `Edit`.

    ```python
    ablated, _ = ji.run(model, tokens, edits=[ji.zero("z", layer=1, head=3)])
    ```

    Law: the same as `replace(site, 0.0)`, and applying it twice is applying it once.
    """
    return _arithmetic(site, _zero, None, where)


def project_out(site: str, direction: ValueLike, **where: IndexLike | None) -> Edit:
    r"""$x \mapsto x - \sum_i (x \cdot q_i)\,q_i$: removes a direction, or a subspace, from a site.

    $q_1, \dots, q_n$ are an orthonormal basis of the span of the directions. For one direction this is
    $x - (x \cdot \hat v)\,\hat v$. Directional ablation, Arditi et al. 2024
    (https://arxiv.org/abs/2406.11717).

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `direction`: one direction `(d,)`, or n directions `(n, d)` that span a subspace. They need
      not be orthogonal, of length 1 or independent: a row of zeros changes nothing, and neither does a row that
      depends on the rows before it, up to `max(n, d)` roundings of its length. Axes before these two
      broadcast against the axes of the site before the last: `(pos, n, d)` is a subspace per position,
      `(pos, 1, d)` a direction per position, `(head, 1, k)` at `z` one per head, and
      `(layer, 1, 1, d)` one per layer (`(layer, 1, 1, 1, d)` for prompts `(batch, pos)`).

    **Returns:** an `Edit`. It computes in float32 at least, whatever the model's dtype.

    ```python
    without, _ = ji.run(model, tokens, edits=[ji.project_out("resid_post", direction)])
    ```

    Laws: applying it twice is applying it once; the result is orthogonal to every direction; any
    other basis of the same span gives the same result.
    """
    directions = as_floats(direction, "direction")
    several = directions if directions.ndim > 1 else directions[None]
    if directions.ndim == 0 or (concrete(directions) and not np.asarray(several).any((-2, -1)).all()):
        raise ValueError(
            "project_out needs a direction (d,), or several (n, d), that is not zero; "
            f"got {'a number' if directions.ndim == 0 else 'zeros'}."
        )
    return _arithmetic(site, without_span, directions, where)


def map(
    site: str,
    fn: FunctionLike,
    *args: PyTree,
    with_positions: BoolLike = False,
    **where: IndexLike | None,
) -> Edit:
    r"""$x \mapsto f(x, \text{args})$: applies any function that keeps the shape to the activation of a site.

    **Arguments:**

    - `site`, selectors: as in `ji.replace`.
    - `fn`: a function of `x` `(*batch, ...)` and `args`.
    - `args`: pytrees of arrays, or modules, whose arrays are leaves.
    - `with_positions`: True calls `fn` with `x`, `positions` and `args`. `positions` are int32
      `(*batch, pos)`: the number of each token within its prompt, from 0 (-1 at padding).
      At a site with `query` and `key` they are a pair: the positions of the queries and those of the keys.

    **Returns:** an `Edit`. Calls with the same function object share a compiled program, so give values that
    change from call to call as `args`.

    `ji.generate` calls the function on the whole prompt first, and then on one position at a time. A function
    that treats each position by itself gives the same result in both. If the function depends on the position, use
    `with_positions`. A function that mixes positions, such as a mean over them, sees only the current ones.

    ```python
    ji.map("pattern", lambda x, power: x**power, 2.0, layer=0)
    late = lambda x, positions: jnp.where(positions[..., None] >= 4, 0.0, x)
    ji.map("resid_post", late, layer=0, with_positions=True)
    ```

    Laws: the identity changes nothing. Generating with the edit is growing runs with the edit.
    """
    with_positions = as_bool(with_positions, "with_positions")
    seen = ("x", "positions") if with_positions else ("x",)
    names = (*seen, *(f"args[{i}]" for i in range(len(args))))
    check_function(fn, "fn", names, f"ji.map({site!r}, lambda {', '.join(seen)}: 0.5 * x)")
    aim, base, layers = selection(site, where)
    dynamic, static = eqx.partition((fn, args), eqx.is_array)
    leaves, structure = jax.tree.flatten(static)
    function = Function(tuple(leaves), structure)
    return Mapped(where=aim, site=base, layers=layers, value=dynamic, fn=function, positions=with_positions)


def _arithmetic(site: str, fn: Callable[[Array, Any], Array], value: Any, where: dict[str, Any]) -> Edit:
    aim, base, layers = selection(site, where)
    return Arithmetic(where=aim, site=base, layers=layers, value=value, fn=fn)
