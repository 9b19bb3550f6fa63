r"""Edits: small pytrees that say what to change, where. $x \mapsto x'$ at a site.

Every constructor takes the same selectors: `layer`, `pos`, `head`, `unit` (the last axis) and, at
attention sites, `query` and `key`. Each is an int, several ints, a mask or a traced value; what
they leave out stays as it was:

$$x'_i = \begin{cases} f(x)_i & i \in \text{selection} \\ x_i & \text{otherwise.} \end{cases}$$

A layer given as Python ints costs nothing elsewhere; a layer given as a JAX array (or traced, or
vmapped) is one select at every layer of the site, and one compiled program serves all its values.
With `layer=None` a value broadcasts against the stacked shape `(layer, *batch, pos, ...)`, so that
`replace(site, acts[site])` changes nothing; with a layer, against the site's own shape. Axes are
matched from the last: `(n, d)` is one vector per position, whatever n is. Edits apply in the order
of their list, before captures of the same site.

Site, kind and Python layers are static; selectors and values are leaves: `jax.vmap` over an edit
is a sweep, `jax.grad` through one is attribution.
"""

import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._check import Shapes, as_array, as_bool, check_function, concrete, is_int
from ._edit import Aimed, Edit
from ._select import POSITIONS, describe, selection
from ._sites import axes_of, is_per_layer
from ._tap import Tap


class Pointwise(Aimed):
    """An edit at one site: `x` becomes `fn(x, value)` where the selection holds."""

    value: Any
    fn: Callable[..., Array] = eqx.field(static=True)
    positions: bool = eqx.field(static=True, default=False)
    "Whether `fn` is called with the positions of `x` behind it."

    @property
    def broadcasts(self) -> bool:
        """Whether the value is one array that broadcasts against the site."""
        return self.fn in (_replace, _add, _scale, _project_out)

    def _target(self, shape: tuple[int, ...], count: int) -> tuple[int, ...]:
        """The shape that the value broadcasts against."""
        everywhere = self.layers is None and self.where.layer is None and is_per_layer(self.site)
        return (count, *shape) if everywhere and len(self.extent) == len(shape) + 1 else shape

    @property
    def extent(self) -> tuple[int, ...]:
        """The value's shape along the site's axes: a set of directions `(..., n, d)` is as `(..., d)`."""
        shape = self.value.shape
        return (*shape[:-2], shape[-1]) if self.fn is _project_out and len(shape) > 1 else shape

    def per_layer(self, shapes: Shapes) -> Any:
        spec = jax.tree.map(lambda _: False, self)
        if not self.broadcasts or len(self.extent) <= shapes[self.site].ndim:
            return spec
        return eqx.tree_at(lambda edit: edit.value, spec, True)

    def check(self, shapes: Shapes, count: int) -> None:
        super().check(shapes, count)
        struct = shapes[self.site]
        if not self.broadcasts:
            seen = jax.eval_shape(lambda x: self._inputs(Tap(), x)[1:], struct)
            # The function itself, so that the second call finds what the first one traced.
            try:
                new = jax.eval_shape(self.fn, struct, *seen, self.value)
            except TypeError as error:
                if not (kind := re.search(r"type <class '(\w+)'>, which is not a valid", str(error))):
                    raise
                new, given = None, kind[1]
            else:
                given = getattr(new, "shape", type(new).__name__)
            if getattr(new, "shape", None) != struct.shape:
                raise ValueError(
                    f"{self}: the function must keep the shape {_axes(self.site, struct.shape)}; "
                    f"it returned {given}."
                )
            return
        shape = self.extent
        target = self._target(struct.shape, count)
        fits = len(shape) <= len(target) and all(
            size in (1, wanted) for size, wanted in zip(shape[::-1], target[::-1], strict=False)
        )
        whole = self.fn is not _project_out or shape[-1] == target[-1]
        if not fits or not whole:
            stacked = _axes(self.site, (count, *struct.shape), layer=True)
            axes = _axes(self.site, struct.shape)
            free = self.layers is None and self.where.layer is None and is_per_layer(self.site)
            raise ValueError(
                f"{self}: the value has the shape {tuple(self.value.shape)}, which does not broadcast to the "
                f"site's {axes}"
                + (f", nor stacked over layers to {stacked}" if free else "")
                + ". Selectors choose where it lands; they do not change the shape it must have."
                + (_SETS if self.fn is _project_out else "")
            )

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        value = self.value
        if self.broadcasts:
            if tap.columns is not None and _holds_positions(self.extent, site, x):
                return x, state
            if self.fn is not _project_out:
                value = jnp.broadcast_to(value, x.shape).astype(x.dtype)
        new = self.fn(*self._inputs(tap, x), value)
        if new.shape != x.shape:
            raise ValueError(
                f"{self}: generation shows a function one position at a time, here "
                f"{_axes(site, x.shape)}, and it returned {new.shape}. A function that depends on "
                "positions takes them as its second argument: ji.map(site, fn, with_positions=True)."
            )
        return self._select(tap, x, new.astype(x.dtype)), state

    def _inputs(self, tap: Any, x: Array) -> tuple[Any, ...]:
        """What `fn` sees of a site: the value, and its positions if it asked for them."""
        return (x, tap.positions(self.site, x)) if self.positions else (x,)

    def __repr__(self) -> str:
        return describe(self.fn.__name__.lstrip("_"), self.site, self.layers, self.where)


_SETS = (
    " n directions are (n, d), the subspace they span; axes before these two broadcast against the "
    "site's axes before the last, so sets of directions per position are (pos, n, d), and one "
    "direction per position is (pos, 1, d)."
)


def _axes(site: str, shape: tuple[int, ...], layer: bool = False) -> str:
    """A shape with its axes named: `(batch=2, pos=5, d=8)`."""
    names = list(axes_of(site))
    batch = len(shape) - len(names) - layer
    names = ["layer"] * layer + ["batch"] * batch + names
    return "(" + ", ".join(f"{n}={s}" for n, s in zip(names, shape, strict=True)) + ")"


def _holds_positions(shape: tuple[int, ...], site: str, x: Array) -> bool:
    """In a step of generation: whether a value is tied to the positions of the prompt."""
    axes = axes_of(site)
    tied = [i - len(axes) for i, axis in enumerate(axes) if axis in POSITIONS]
    return any(len(shape) >= -i and shape[i] not in (1, x.shape[i]) for i in tied)


def _replace(x: Array, value: Array) -> Array:
    return value


def _add(x: Array, value: Array) -> Array:
    return x + value


def _scale(x: Array, factor: Array) -> Array:
    return x * factor


def _zero(x: Array, value: None) -> Array:
    return jnp.zeros_like(x)


def _project_out(x: Array, directions: Array) -> Array:
    wide = np.promote_types(x.dtype, np.float32)
    x, directions = x.astype(wide), directions.astype(wide)
    return _without(x, _orthonormal(directions if directions.ndim > 1 else directions[None]))


def _without(x: Array, basis: Array) -> Array:
    """`x` `(..., d)` minus its part in the span of orthonormal (or zero) rows `(..., n, d)`."""
    inner = jnp.einsum("...d,...nd->...n", x, basis, precision="highest")
    return x - jnp.einsum("...n,...nd->...d", inner, basis, precision="highest")


def _orthonormal(directions: Array) -> Array:
    """An orthonormal basis of the rows' span `(..., n, d)`: Gram and Schmidt, each row twice.

    A row that lies in the span of those before it becomes zero. Unlike a QR or singular value
    decomposition this has a gradient at every set, and is a handful of products.
    """
    count, d = directions.shape[-2:]
    least = max(count, d) * float(jnp.finfo(directions.dtype).eps)
    rows = jnp.moveaxis(_unit(of_size_one(directions)), -2, 0)
    if count == 1:
        return jnp.moveaxis(rows, 0, -2)

    def step(basis: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
        number, row = given
        left = _without(_without(row, basis), basis)
        row = _unit(left, least)
        return jax.lax.dynamic_update_index_in_dim(basis, row, number, -2), None

    given = jnp.arange(count, dtype=jnp.int32), rows
    return jax.lax.scan(step, jnp.zeros_like(directions), given)[0]


def of_size_one(rows: Array) -> Array:
    """Directions whose largest entry is 1: squares of very small or large ones leave the range of floats."""
    largest = jax.lax.stop_gradient(jnp.abs(rows).max(-1, keepdims=True))
    return rows / jnp.where(largest == 0, 1, largest)


def _unit(rows: Array, least: float = 0.0) -> Array:
    """Rows of length 1; those no longer than `least` are zero."""
    squared = jnp.square(rows).sum(-1, keepdims=True)
    kept = ~(squared <= least**2)  # NaN stays NaN
    return jnp.where(kept, rows / jnp.sqrt(jnp.where(kept, squared, 1)), 0)


def replace(site: str, value: Any, **where: Any) -> Edit:
    r"""$x \mapsto v$: puts a value in place of what the model computed.

    Activation patching, Vig et al. 2020 (https://arxiv.org/abs/2004.12265).

    **Arguments:** `site`; `value`, a number or an array that broadcasts against the site (module
    docstring); selectors `layer pos head unit query key`.

    **Returns:** an `Edit`.

    ```python
    _, acts = ji.run(model, clean, capture=["z[1]"])
    patched, _ = ji.run(model, corrupt, edits=[ji.replace("z", acts["z[1]"], layer=1, head=3)])
    ```

    Law: `replace(site, acts[site])` of the same run changes nothing, exactly.
    """
    return _pointwise(site, _replace, _number(value, "value"), where)


def add(site: str, value: Any, **where: Any) -> Edit:
    r"""$x \mapsto x + v$: adds a value, such as a steering direction `(d,)`.

    Activation addition, Turner et al. 2023 (https://arxiv.org/abs/2308.10248).

    **Arguments:** `site`; `value`, a number or an array that broadcasts; selectors.

    **Returns:** an `Edit`.

    ```python
    steered = ji.intervene(model, [ji.add("resid_post", 4.0 * direction, layer=2)])
    ```

    Law: adding `u` and then `v` is adding `u + v`.
    """
    return _pointwise(site, _add, _number(value, "value"), where)


def scale(site: str, factor: Any, **where: Any) -> Edit:
    r"""$x \mapsto c\,x$: multiplies by a factor.

    **Arguments:** `site`; `factor`, a number or an array that broadcasts; selectors.

    **Returns:** an `Edit`.

    ```python
    quiet, _ = ji.run(model, tokens, edits=[ji.scale("mlp_out", 0.5, layer=0)])
    ```

    Law: a factor of 1 changes nothing, a factor of 0 is `zero`.
    """
    return _pointwise(site, _scale, _number(factor, "factor"), where)


def zero(site: str, **where: Any) -> Edit:
    r"""$x \mapsto 0$: zero ablation.

    **Arguments:** `site`; selectors.

    **Returns:** an `Edit`.

    ```python
    ablated, _ = ji.run(model, tokens, edits=[ji.zero("z", layer=1, head=3)])
    ```

    Law: the same as `replace(site, 0.0)`, and applying it twice is applying it once.
    """
    return _pointwise(site, _zero, None, where)


def project_out(site: str, direction: Any, **where: Any) -> Edit:
    r"""$x \mapsto x - \sum_i (x \cdot q_i)\,q_i$: removes a direction, or a subspace, from a site.

    $q_1, \dots, q_n$ are an orthonormal basis of the span of the directions; of one direction,
    $x - (x \cdot \hat v)\,\hat v$. Directional ablation, Arditi et al. 2024
    (https://arxiv.org/abs/2406.11717).

    **Arguments:** `site`; `direction` `(d,)`, or `(n, d)`: the subspace that n directions span,
    neither orthogonal nor of length 1 nor independent (one that depends on those before it, up to
    `max(n, d)` roundings of its length, adds nothing, and so does a zero row). Axes before these two
    broadcast against the site's axes before the last: `(pos, n, d)` is a subspace per position,
    `(pos, 1, d)` a direction per position, `(head, 1, k)` at `z` one per head, and
    `(layer, 1, 1, d)` one per layer (`(layer, 1, 1, 1, d)` of prompts `(batch, pos)`). Selectors.

    **Returns:** an `Edit`. It computes in float32 at least, whatever the model's dtype.

    ```python
    without, _ = ji.run(model, tokens, edits=[ji.project_out("resid_post", direction)])
    ```

    Laws: applying it twice is applying it once; what is left is orthogonal to every direction; any
    other basis of the same span gives the same.
    """
    direction = _number(direction, "direction")
    some = direction if direction.ndim > 1 else direction[None]
    if direction.ndim == 0 or (concrete(direction) and not np.asarray(some).any((-2, -1)).all()):
        raise ValueError(
            "project_out needs a direction (d,), or several (n, d), that is not zero; "
            f"got {'a number' if direction.ndim == 0 else 'zeros'}."
        )
    return _pointwise(site, _project_out, direction, where)


def map(
    site: str,
    fn: Callable[..., Array] | Any,
    *args: Any,
    with_positions: bool | Any = False,
    **where: Any,
) -> Edit:
    r"""$x \mapsto f(x, \text{args})$: any function of the site's value, shape kept.

    **Arguments:**

    - `site`; selectors.
    - `fn`, called with `x` `(*batch, ...)` and `args` (pytrees of arrays, or modules: their arrays
      are leaves).
    - `with_positions`: `fn` is called with `x`, `positions` and `args`. `positions` are int32
      `(*batch, pos)`: which real token of its prompt each entry of `x` is, from 0 (-1 at padding).
      At a site with `query` and `key` they are a pair, of the queries and of the keys.

    **Returns:** an `Edit`. Pass the same function object again to use the compiled program again;
    what changes from call to call goes into `args`.

    `ji.generate` shows a function the prompt first, then one position at a time. A function of
    each position alone means the same there; one that depends on where a position stands takes
    `with_positions`, and one that mixes positions (a mean over them) sees only those at hand.

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
    dynamic, static = eqx.partition((fn, args), eqx.is_array)
    leaves, structure = jax.tree.flatten(static)
    return _pointwise(site, _Mapped(tuple(leaves), structure), dynamic, where, with_positions)


class _Mapped:
    """The static half of `map`: equal when the function and the structure of its args are."""

    __name__ = "map"

    def __init__(self, leaves: tuple[Any, ...], structure: Any) -> None:
        self.key = (leaves, structure)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mapped) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, *inputs: Any) -> Any:
        *seen, dynamic = inputs
        leaves, structure = self.key
        static = jax.tree.unflatten(structure, leaves)
        fn, args = eqx.combine(dynamic, static)
        return fn(*seen, *args)


def _pointwise(
    site: str, fn: Callable[..., Array], value: Any, where: dict[str, Any], positions: bool = False
) -> Edit:
    aim, base, layers = selection(site, where)
    # Its `sites` is a property, which a type checker takes for a missing argument.
    return Pointwise(where=aim, site=base, layers=layers, value=value, fn=fn, positions=positions)  # pyright: ignore[reportCallIssue]


def _number(value: Any, what: str) -> Any:
    """A value as an array leaf: floats of any precision, and single numbers of any type.

    Numbers keep all their digits: the site's dtype decides, where the value meets it.
    """
    if isinstance(value, bool | int | float) or is_int(value):
        return np.asarray(value, np.float64)
    array = as_array(value)
    if isinstance(array, np.ndarray) and array.dtype == np.float64:
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"Activations are floats, so {what} must be: got dtype {array.dtype}. "
            f"Convert it: {what}.astype(jnp.float32)."
        )
    return array
