"""The one program of attribution patching: what is captured, what leans, and along which path."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..core._blocks import context, layer_count
from ..core._edit import Edit
from ..core._edits import map as map_edit
from ..core._edits import replace
from ..core._intervene import Intervened, split_edits
from ..core._listing import survey
from ..core._run import run
from ..core._sites import is_per_layer
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ._attribution_drop import mean_over_drops
from ._attribution_qk import KEYS, QUERIES, key_effects, one_reader
from ._attribution_settings import Options
from ._gradients import Lean, cells, entries, lean, lean_gradients, positions


@on_mesh
@eqx.filter_jit
def attribute(
    inner: Any,
    own: tuple[Edit, ...],
    base: Array,
    source: Array,
    metric: Metric,
    mask: Any,
    index: list[dict[str, Any]],
    groups: list[Any],
    cells_of: tuple[tuple[str, tuple[str, ...]], ...],
    options: Options,
) -> tuple[Array, list[Array], Array | None]:
    """The metric (batch,), the effects (group, job, batch), and whether the gradient vanishes."""
    model: Any = Intervened(inner, own)
    shapes = survey(inner, base, own)
    count = layer_count(inner)
    needs = list(dict.fromkeys(site for site, _ in cells_of))
    fixed = [options.qk_fix and site in (*QUERIES, *KEYS) for site, _ in cells_of]
    ends = ["embed"] if options.path == "input" else []
    logits, there = run(model, source, capture=[*needs, *ends], mask=mask, logits=positions(metric))
    here: Any = {}
    if options.path is not None or any(fixed):
        extra = ["resid_pre", "scores", "pattern"] if any(fixed) else []
        along = [*needs, *ends] if options.path is not None else []
        capture = list(dict.fromkeys([*along, *extra]))
        _, here = run(model, base, capture=capture, mask=mask, logits=False)
    leans, readers = {}, {}
    for number, ((site, names), fix) in enumerate(zip(cells_of, fixed, strict=True)):
        anchor = here[site] if options.path is not None else None
        make: Any = _through_softmax if fix else _plain
        leans[str(number)], readers[str(number)] = make(
            model, base, site, names, there, here, anchor, mask, shapes, count
        )
    before = _frozen(shapes) if options.freeze_norms else []
    edits = {"before": before}

    def gradients(leans: dict[str, Lean], **more: Any) -> tuple[Array, Array, dict[str, Array]]:
        return lean_gradients(model, base, leans, metric, mask, **{**edits, **more})

    def at_cells(number: str, derivative: Array) -> Array:
        i = int(number)
        values, names = readers[number](derivative)
        return cells(values, names, index[i], groups[i])

    blind = None
    if options.path == "input":
        start, stop = here["embed"], there["embed"]

        def one(alpha: Array) -> Any:
            mixed = start + (alpha * (stop - start).astype(alpha.dtype)).astype(start.dtype)
            return gradients(leans, before=[replace("embed", mixed), *before])[2]

        grads = _mean_over(one, options.steps)
        value = metric.of(run(model, base, mask=mask, logits=positions(metric))[0])
    elif options.path == "site":
        grads = {name: _along_site(name, each, gradients, options.steps) for name, each in leans.items()}
        value = metric.of(run(model, base, mask=mask, logits=positions(metric))[0])
    elif options.drop:
        value, _, _ = gradients({})

        def dropped(after: Sequence[Edit]) -> dict[str, Array]:
            found = gradients(leans, after=after)[2]
            return {name: jnp.abs(at_cells(name, grad)) for name, grad in found.items()}

        means = mean_over_drops(dropped, shapes, count)
        return value.ravel(), [means[name] for name in leans], None
    else:
        value, out, grads = gradients(leans)
        blind = vanishes(metric, out, logits, value)
    effects = [at_cells(name, grads[name]) for name in leans]
    return value.ravel(), effects, blind


def _plain(
    model: Any,
    base: Array,
    site: str,
    names: tuple[str, ...],
    there: Any,
    here: Any,
    anchor: Array | None,
    mask: Any,
    shapes: Any,
    count: int,
) -> tuple[Lean, Any]:
    """The lean of a site, and how its derivative becomes values at entries."""
    layers = count if is_per_layer(site) else 1
    made = lean(site, there[site], anchor, names, shapes[site].shape, count)
    return made, lambda derivative: entries(derivative, site, names, layers)


def _through_softmax(
    model: Any,
    base: Array,
    site: str,
    names: tuple[str, ...],
    there: Any,
    here: Any,
    anchor: Array | None,
    mask: Any,
    shapes: Any,
    count: int,
) -> tuple[Lean, Any]:
    """The same for queries and keys, with the pattern that they alone would make."""
    shape = shapes["pattern"].shape
    heads = shapes[site].shape[-2]
    single = site in KEYS and "pos" in names
    what = "scores" if single else "pattern"
    other = one_reader(model, base, site, there[site], here["resid_pre"], what, mask)

    def shared(values: Array, axis: int) -> Array:
        """Query heads summed over those that share a key."""
        size = values.shape[axis]
        split = (*values.shape[:axis], heads, size // heads, *values.shape[axis + 1 :])
        return values.reshape(split).sum(axis + 1)

    if not single:
        keep = tuple({"pos": "query"}.get(name, name) for name in names)
        made = lean("pattern", other, here["pattern"], keep, shape, count)

        def by_row(derivative: Array) -> tuple[Array, tuple[str, ...]]:
            values, names_left = entries(derivative, "pattern", keep, count)
            if "head" in names_left:
                values = shared(values, 2)
            return values, tuple({"query": "pos"}.get(name, name) for name in names_left)

        return made, by_row

    # The derivative along ones is the gradient itself.
    ones = jnp.ones((1,) * (len(shape) + 1), other.dtype)
    made = lean("pattern", ones, 0 * ones, ("head", "query", "key"), shape, count)
    soft = jnp.issubdtype(base.dtype, jnp.floating)
    allowed = _allowed(model, base.shape[:-1] if soft else base.shape, mask)

    def by_key(derivative: Array) -> tuple[Array, tuple[str, ...]]:
        effect = key_effects(derivative, here["scores"], other, allowed)
        effect = effect.reshape(count, -1, *effect.shape[-2:])
        if "head" in names:
            return shared(effect, 2), ("head", "pos")
        return effect.sum(2), ("pos",)

    return made, by_key


def _allowed(model: Any, shape: tuple[int, ...], mask: Any) -> Any:
    return context(split_edits(model)[0], shape, mask)[1].mask


def _frozen(shapes: Any) -> list[Any]:
    """Edits that hold the denominators of norms constant under differentiation."""
    scales = ("ln1_scale", "ln2_scale", "ln_final_scale")
    return [map_edit(site, _constant) for site in scales if site in shapes]


def _constant(x: Array) -> Array:
    return lax.stop_gradient(x)


def _mean_over(one: Any, steps: int) -> Any:
    """The mean of a function of the path over the midpoints of `steps` steps, one at a time."""
    alphas = (jnp.arange(steps, dtype=jnp.float32) + 0.5) / steps
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, alphas[0]))
    total, _ = lax.scan(lambda total, alpha: (jax.tree.map(jnp.add, total, one(alpha)), None), total, alphas)
    return jax.tree.map(lambda leaf: leaf / steps, total)


def _along_site(name: str, each: Lean, gradients: Any, steps: int) -> Array:
    """The mean derivative along a lean from 0 to 1, each layer on its own."""

    def at(t: Array) -> Array:
        return gradients({name: eqx.tree_at(lambda edit: edit.t, each, t)})[2][name]

    if not is_per_layer(each.site):
        return _mean_over(lambda alpha: at(each.t + alpha.astype(each.t.dtype)), steps)

    def layer_alone(layer: Array) -> Array:
        def one(alpha: Array) -> Array:
            return at(each.t.at[layer].set(alpha.astype(each.t.dtype)))[layer]

        return _mean_over(one, steps)

    return lax.map(layer_alone, jnp.arange(each.t.shape[0], dtype=jnp.int32))


def vanishes(metric: Metric, here: Array, there: Array, value: Array) -> Array:
    """Whether the metric's own gradient explains none of its change between the two runs."""
    slope = jax.grad(lambda logits: metric.of(logits).sum())(here)
    seen = jnp.abs(slope * (there - here)).sum(dtype=value.dtype)
    return seen < 1e-3 * jnp.abs(metric.of(there) - value).sum()
