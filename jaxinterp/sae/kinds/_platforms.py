r"""A function of arrays whose form is chosen where it is lowered, kernels included.

`jax.lax.platform_dependent` lowers every form for every platform of an export, and a TPU's kernel lowers
for no other. Here a form is traced only for its own platform. No gradient flows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ...typing import JaxArray, PyTree

by_platform_p = Primitive("by_platform")
by_platform_p.multiple_results = True


@dataclasses.dataclass(frozen=True)
class Form:
    """One form of a function: equal ones compile once.

    - `function`: a function of a module, of arrays, with `options` by name.
    - `tree`: of its arguments; `axes`: of its leaves for each `vmap` around it, the inner first.
    """

    function: Callable[..., PyTree]
    options: tuple[tuple[str, Any], ...] = ()
    tree: Any = None
    axes: tuple[tuple[int | None, ...], ...] = ()

    def __call__(self, *leaves: JaxArray) -> list[JaxArray]:
        def flat(*leaves: JaxArray) -> list[JaxArray]:
            return jax.tree.leaves(
                self.function(*jax.tree.unflatten(self.tree, leaves), **dict(self.options))
            )

        for axes in self.axes:
            flat = jax.vmap(flat, in_axes=axes)
        return flat(*leaves)


def by_platform(default: Form, *args: PyTree, **forms: Form) -> PyTree:
    """`default.function(*args, **options)`, or the form of the platform that the program is compiled for.

    - `forms`: by "cpu", "cuda" or "tpu", with the same results. That of a TPU may be a kernel: it serves programs
      of one chip, and `default` those of several.
    """
    leaves, tree = jax.tree.flatten(args)
    of_args = lambda form: dataclasses.replace(form, tree=tree)
    named = tuple((name, of_args(form)) for name, form in sorted(forms.items()))
    out = _bound(*leaves, default=of_args(default), forms=named)
    shape = jax.eval_shape(lambda *args: default.function(*args, **dict(default.options)), *args)
    return jax.tree.unflatten(jax.tree.structure(shape), out)


def _bind(*leaves: JaxArray, default: Form, forms: tuple[tuple[str, Form], ...]) -> list[JaxArray]:
    return by_platform_p.bind(*leaves, default=default, forms=forms)


_bound = jax.jit(_bind, static_argnames=("default", "forms"))


def _shapes(*leaves: Any, default: Form, forms: Any) -> list[Any]:
    given = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    return [ShapedArray(one.shape, one.dtype) for one in jax.eval_shape(default, *given)]


def _batched(args: Any, axes: Any, *, default: Form, forms: Any) -> tuple[Any, tuple[int, ...]]:
    axes = tuple(axes)  # None: the same for all
    more = lambda form: dataclasses.replace(form, axes=(*form.axes, axes))
    named = tuple((name, more(form)) for name, form in forms)
    out = by_platform_p.bind(*args, default=more(default), forms=named)
    return out, (0,) * len(out)


def _pushed(primals: Any, tangents: Any, **options: Any) -> Any:
    out = by_platform_p.bind(*primals, **options)
    none = ad.Zero.from_primal_value  # pyright: ignore[reportAttributeAccessIssue]
    return out, [none(one) for one in out]


def _lower(platform: str) -> Callable[..., Any]:
    def lower(context: Any, *args: Any, default: Form, forms: Any) -> Any:
        form = dict(forms).get(platform, default)
        if platform == "tpu" and getattr(context.module_context.axis_context, "num_devices", 0) != 1:
            form = default  # the compiler cannot divide a kernel over devices
        return mlir.lower_fun(form, multiple_results=True)(context, *args)

    return lower


by_platform_p.def_impl(_bind)
by_platform_p.def_abstract_eval(_shapes)
batching.primitive_batchers[by_platform_p] = _batched
ad.primitive_jvps[by_platform_p] = _pushed
mlir.register_lowering(by_platform_p, _lower("default"))
for _platform in ("cpu", "cuda", "tpu"):
    mlir.register_lowering(by_platform_p, _lower(_platform), platform=_platform)
