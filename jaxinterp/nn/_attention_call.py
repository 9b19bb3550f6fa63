"""Attention as one operation of JAX, whose program is chosen where it is lowered.

In a program of one TPU or one GPU it is a kernel where that suits; everywhere else the plain form that it is given
here. Only lowering for a TPU or GPU traces a kernel. Three forms call each other under differentiation, and all three
work under `vmap`: `mix` is attention, `push` its derivative along tangents of queries, keys and values,
and `pull` the transpose of `push`. Derivatives of `push` and `pull` are those of the plain form.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float

attention_p = Primitive("attention")
attention_p.multiple_results = True


def attention(
    plain: Callable[..., Array],
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    real: Bool[Array, "*batch key"] | None,
    causal: bool,
) -> Float[Array, "*batch query head k"]:
    """`plain(q, k, v, real, causal)`, or a kernel that computes the same.

    **Arguments:**

    - `plain`: a function that does not change from call to call, for any number of batch axes. Its option `chunk_bytes`
      is how many bytes of scores it may hold at once.
    - `q`, `k`, `v`, `real`, `causal`: queries with their scale in them, keys and values, and which keys
      are read, as in `Reads`.
    """
    given = (q, k, v) if real is None else (q, k, v, real)
    return attention_p.bind(*given, plain=plain, form="mix", causal=causal, padded=real is not None)[0]


def _plain(*args: Array, plain: Any, form: str, causal: bool, padded: bool) -> tuple[Array, ...]:
    qkv, real, rest = args[:3], args[3] if padded else None, args[3 + padded :]
    mix = lambda q, k, v: plain(q, k, v, real, causal)
    if form == "push":
        return (jax.jvp(mix, qkv, rest)[1],)
    return jax.vjp(mix, *qkv)[1](*rest) if form == "pull" else (mix(*qkv),)


def _on_tpu(*args: Array, form: str, **options: Any) -> tuple[Array, ...]:
    from . import _tpu_kernel

    if form == "push" or args[0].dtype == jnp.float16:  # a TPU has no products of float16
        return _plain(*args, form=form, **options)
    real = args[3] if options["padded"] else None
    cotangent = args[-1] if form == "pull" else None
    return _tpu_kernel.attention(args[0], args[1], args[2], real, cotangent, causal=options["causal"])


def _on_gpu(*args: Array, form: str, plain: Any, **options: Any) -> tuple[Array, ...]:
    from . import _gpu_kernel

    real = args[3] if options["padded"] else None
    if form == "push" or not _gpu_kernel.suits(args[0], real):
        wider = functools.partial(plain, chunk_bytes=_gpu_kernel.CHUNK_BYTES)
        return _plain(*args, form=form, plain=wider, **options)
    cotangent = args[-1] if form == "pull" else None
    return _gpu_kernel.attention(args[0], args[1], args[2], real, cotangent, causal=options["causal"])


def _lowered(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A rule of lowering: the kernel in a program of one device, else the plain form, which the compiler can divide."""

    def rule(context: Any, *args: Any, **options: Any) -> Any:
        alone = getattr(context.module_context.axis_context, "num_devices", 0) == 1
        return mlir.lower_fun(kernel if alone else _plain, multiple_results=True)(context, *args, **options)

    return rule


def _lower_gpu(context: Any, *args: Any, **options: Any) -> Any:
    axes = context.module_context.axis_context
    if getattr(axes, "num_devices", 0) == 1 and axes.device_assignment is None:
        # cuDNN's call asks for the devices, and JAX names them only where it sees such a call while tracing.
        axes = dataclasses.replace(axes, device_assignment=tuple(jax.local_devices()[:1]))
        context = context.replace(module_context=context.module_context.replace(axis_context=axes))
    return _lowered(_on_gpu)(context, *args, **options)


def _shapes(*args: Any, form: str, padded: bool, **options: Any) -> tuple[Any, ...]:
    return tuple(args[:3]) if form == "pull" else (args[0],)


def _batched(args: Any, axes: Any, **options: Any) -> tuple[Any, tuple[int, ...]]:
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)

    def in_front(x: Array, axis: int | None) -> Array:
        return jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)

    out = attention_p.bind(*(in_front(x, axis) for x, axis in zip(args, axes, strict=True)), **options)
    return out, (0,) * len(out)


def _pushed(primals: Any, tangents: Any, *, form: str, padded: bool, **options: Any) -> Any:
    out = attention_p.bind(*primals, form=form, padded=padded, **options)
    floats = [i for i in range(len(primals)) if not (padded and i == 3)]
    along = [ad.instantiate_zeros(tangents[i]) for i in floats]
    if form == "mix":
        return out, attention_p.bind(*primals, *along, form="push", padded=padded, **options)

    def at(*values: Array) -> tuple[Array, ...]:
        args = list(primals)
        for i, value in zip(floats, values, strict=True):
            args[i] = value
        return _plain(*args, form=form, padded=padded, **options)

    return out, jax.jvp(at, tuple(primals[i] for i in floats), tuple(along))[1]


def _transposed(cotangents: Any, *args: Any, form: str, padded: bool, **options: Any) -> list[Any]:
    assert form == "push", "only the derivative along tangents is linear in its last arguments"
    first, (z,) = 3 + padded, cotangents
    if isinstance(z, ad.Zero):
        return [None] * len(args)
    pulled = attention_p.bind(*args[:first], z, form="pull", padded=padded, **options)
    linear = [ad.is_undefined_primal(x) for x in args[first:]]
    return [None] * first + [x if is_linear else None for x, is_linear in zip(pulled, linear, strict=True)]


attention_p.def_impl(_plain)
attention_p.def_abstract_eval(_shapes)
batching.primitive_batchers[attention_p] = _batched
ad.primitive_jvps[attention_p] = _pushed
ad.primitive_transposes[attention_p] = _transposed
mlir.register_lowering(attention_p, mlir.lower_fun(_plain, multiple_results=True))
mlir.register_lowering(attention_p, _lowered(_on_tpu), platform="tpu")
mlir.register_lowering(attention_p, _lower_gpu, platform="cuda")
